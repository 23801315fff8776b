"""One HTTP/1.1 connection: bytes in, requests out one after the other, bytes of answers back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from httptools import HttpParserError, HttpRequestParser, parse_url

from chatq_sandbox.exchange import HttpRequest, Reply
from chatq_sandbox.wire import CONTINUE, whole

_LINGER_RESET = struct.pack("ii", 1, 0)


class Pending(Protocol):
    """An answer that is still being made."""

    def abort(self) -> None:
        """The client has gone."""


class Handler(Protocol):
    """Who answers the requests."""

    request_bytes: int
    connections: set[Connection]

    def too_large(self, path: str) -> Reply:
        """The refusal of a request whose body has more than `request_bytes`."""

    def handle(self, connection: Connection, request: HttpRequest) -> Pending | None:
        """Answer with `connection.write`, now (None), or later and then call `connection.finished`."""


class Connection(asyncio.Protocol):
    """A keep-alive connection. Pipelined requests wait for the one before them."""

    __slots__ = (
        "_backlog",
        "_body",
        "_handler",
        "_headers",
        "_keep_alive",
        "_on_drain",
        "_parser",
        "_pending",
        "_size",
        "_transport",
        "_url",
        "writable",
    )

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = HttpRequestParser(self)
        self._transport: Any = None
        self._backlog: deque[tuple[HttpRequest, bool]] | None = None
        self._pending: Pending | None = None
        self._on_drain: Callable[[], None] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._url = b""
        self._size = 0
        self._keep_alive = True
        self.writable = True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._handler.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connections.discard(self)
        self._transport = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if self._transport is not None:
                self.write(whole(Reply(400, b"not HTTP/1.1\n", (("connection", "close"),), "text/plain")))
                self.close()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        on_drain, self._on_drain = self._on_drain, None
        if on_drain is not None:
            on_drain()

    # httptools

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = []
        self._url = b""
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if b"expect" in self._headers:
            self.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= self._handler.request_bytes:
            self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self._parser
        url = self._url
        if b"?" in url or not url.startswith(b"/"):
            parsed = parse_url(url)
            path, query = parsed.path or b"/", parsed.query or b""
        else:
            path, query = url, b""
        request = HttpRequest(
            parser.get_method().decode(),
            path.decode("latin-1"),
            query.decode("latin-1"),
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
        )
        keep_alive = parser.should_keep_alive()
        if self._size > self._handler.request_bytes:
            refusal = self._handler.too_large(request.path)
            self.write(whole(refusal._replace(headers=(*refusal.headers, ("connection", "close")))))
            self.close()
        elif self._pending is not None or self._backlog:
            self._backlog = self._backlog or deque()
            self._backlog.append((request, keep_alive))
        else:
            self._begin(request, keep_alive)

    # For the handler

    def write(self, data: bytes) -> None:
        """Send bytes; nothing when the client has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call once when the client has read enough for more to be written."""
        self._on_drain = callback

    def finished(self, *, close: bool = False) -> None:
        """The answer that was still being made has been written."""
        self._pending = None
        if close or not self._keep_alive:
            self.close()
        while self._backlog and not self._busy():
            self._begin(*self._backlog.popleft())

    def close(self) -> None:
        """Close after what was written has gone out."""
        if self._transport is not None:
            self._backlog = None
            self._transport.close()

    def reset(self) -> None:
        """Drop the connection so that the client sees a TCP reset."""
        transport, self._pending = self._transport, None
        if transport is not None:
            connected = transport.get_extra_info("socket")
            if connected is not None:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            transport.abort()

    def _busy(self) -> bool:
        return self._pending is not None or self._transport is None

    def _begin(self, request: HttpRequest, keep_alive: bool) -> None:
        self._keep_alive = keep_alive
        pending = self._handler.handle(self, request)
        if pending is None:
            if not keep_alive:
                self.close()
        else:
            self._pending = pending
