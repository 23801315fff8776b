"""A real HTTP server that does what a connection can meet beside providers: pages, redirects, bombs, long lists.

The first word of the path says what it does (`/html/v1/models`); what it was asked is kept in `asked`.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

ODD_KEY: Final = "odd-canary-5c1e8f20b7d94a63e1"
"""The key of the connections that lead here; every key is welcome."""
LONG_LIST: Final = 100_000
PAGES: Final = 3
HUGE_BYTES: Final = 50_000_000

_CHAT: Final = {
    "id": "chat-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


class OddProvider:
    """Listens on a free port within its `with` block."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.words = "It cannot be"
        """What `quotes` begins with."""
        self.gone = threading.Event()
        """Set at the end: lets go of whom it kept waiting."""
        odd = self

        class Handler(_Handler):
            provider = odd

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.gone.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked_below(self, place: str) -> list[Asked]:
        """The requests to one of its places."""
        return [asked for asked in self.asked if asked.path.startswith(f"/{place}/")]


class _Handler(BaseHTTPRequestHandler):
    provider: ClassVar[OddProvider]
    protocol_version = "HTTP/1.1"
    body = ""

    def log_message(self, *_: object) -> None:
        """Say nothing: what is odd here, a handshake in place of a request too, is meant."""

    def do_GET(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def _do(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.body = self.rfile.read(length).decode("utf-8", "replace")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.provider.asked.append(Asked(self.command, self.path, headers))
        _, place, *rest = urlsplit(self.path).path.split("/")
        try:
            _PLACES.get(place, _nothing)(self, "/".join(rest))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def say(self, status: int, body: Any, *, kind: str = "application/json", **headers: str) -> None:
        """Answer; what is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    @property
    def key(self) -> str:
        """The key that came along."""
        return self.headers.get("authorization", self.headers.get("x-api-key", "")).removeprefix("Bearer ")


def _nothing(handler: _Handler, _: str) -> None:
    handler.say(404, b"404 page not found\n", kind="text/plain")


def _html(handler: _Handler, _: str) -> None:
    handler.say(200, b"<!doctype html><title>Router</title>", kind="text/html")


def _empty_text(handler: _Handler, _: str) -> None:
    message = {"role": "assistant", "content": ""}
    handler.say(200, {**_CHAT, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def _no_list(handler: _Handler, path: str) -> None:
    if path == "v1/chat/completions":
        handler.say(200, _CHAT)
    else:
        handler.say(404, {"detail": "Not Found"})


def _good(handler: _Handler, path: str) -> None:
    """An API below /v1, and nothing beside it."""
    if path == "v1/models":
        handler.say(200, {"object": "list", "data": [{"id": "m"}, {"id": "gpt-5-mini"}, {"id": "other"}]})
    else:
        _no_list(handler, path)


def _page_beside_v1(handler: _Handler, path: str) -> None:
    if path.startswith("v1/"):
        _good(handler, path)
    else:
        _html(handler, path)


def _long_list(handler: _Handler, _: str) -> None:
    handler.say(200, {"data": [{"id": f"model-{number}"} for number in range(LONG_LIST)]})


def _pages(handler: _Handler, _: str) -> None:
    """Anthropic's list, a model on each page."""
    after = parse_qs(urlsplit(handler.path).query).get("after_id", ["claude-0"])[0]
    number = int(after.removeprefix("claude-")) + 1
    row = {"type": "model", "id": f"claude-{number}"}
    handler.say(200, {"data": [row], "has_more": number < PAGES, "first_id": row["id"], "last_id": row["id"]})


def _endless_pages(handler: _Handler, path: str) -> None:
    after = parse_qs(urlsplit(handler.path).query).get("after_id", ["claude-0"])[0]
    row = {"type": "model", "id": f"claude-{int(after.removeprefix('claude-')) + 1}"}
    handler.say(200, {"data": [row], "has_more": True, "first_id": row["id"], "last_id": row["id"]})


def _redirect(handler: _Handler, path: str) -> None:
    handler.say(307, b"", location=f"{handler.provider.url}/caught/{path}")


def _silent(handler: _Handler, _: str) -> None:
    handler.provider.gone.wait(30)
    handler.close_connection = True


def _bomb(handler: _Handler, _: str) -> None:
    handler.say(200, gzip.compress(b'{"data": "' + b" " * HUGE_BYTES + b'"}', 9), content_encoding="gzip")


def _huge(handler: _Handler, _: str) -> None:
    handler.say(200, b'{"data": "' + b" " * HUGE_BYTES + b'"}')


def _echo_refusal(handler: _Handler, _: str) -> None:
    handler.say(
        401, {"error": {"message": f"No such key: {handler.key} (it begins with {handler.key[:12]})"}}
    )


def _echo_headers(handler: _Handler, _: str) -> None:
    """Quotes the team and what comes with the authorization, as a gateway does that tells what it did not like."""
    team, login = handler.headers.get("x-team", ""), handler.headers.get("authorization", "")
    handler.say(403, {"error": {"message": f"Team {team} may not, with {login}: {login[-12:]} is unknown"}})


def _quotes(handler: _Handler, _: str) -> None:
    """Refuses, and quotes all that it was sent."""
    handler.say(
        400, {"error": {"message": f"{handler.provider.words}, in {handler.body}, key {handler.key}"}}
    )


def _fails(body: bytes, **headers: str) -> Callable[[_Handler, str], None]:
    return lambda handler, _: handler.say(200, body, **headers)


_PLACES: Final[dict[str, Callable[[_Handler, str], None]]] = {
    "html": _html,
    "no-list": _no_list,
    "good": _good,
    "page-beside-v1": _page_beside_v1,
    "long-list": _long_list,
    "pages": _pages,
    "endless-pages": _endless_pages,
    "empty-text": _empty_text,
    "redirect": _redirect,
    "caught": _good,
    "silent": _silent,
    "bomb": _bomb,
    "huge": _huge,
    "echo-refusal": _echo_refusal,
    "echo-headers": _echo_headers,
    "quotes": _quotes,
    "bad-utf8": _fails(b'{"data": [{"id": "\xff\xfe"}]}'),
    "nan": _fails(b'{"data": [{"id": NaN}]}'),
    "not-gzip": _fails(b"{}", content_encoding="gzip"),
    "half-gzip": _fails(gzip.compress(b'{"data": []}' * 100)[:-20], content_encoding="gzip"),
    "brotli": _fails(b"\x0b\x02\x80{}\x03", content_encoding="br"),
    "deep": _fails(b"[" * 100_000),
}


def places() -> Iterator[str]:
    """What it can do."""
    yield from _PLACES
