"""Serving the front: uvicorn, told to be patient with nobody, and to end in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import ConfigError, Place, Problem, Settings
from chatq.http.access import Access
from chatq.http.application import application
from chatq.http.front import Front
from chatq.http.webhooks import read_secret
from chatq.ledger.locate import locator
from chatq.ledger.server import Server
from chatq.traces import traces

HEAD_S: Final = 30.0
"""How long the head of a connection's first request may take to come."""
_KEEP_ALIVE_S: Final = 75
"""How long a connection is kept between requests: longer than proxies keep theirs."""
_END_S: Final = 5
"""What answers have left to be sent when the front ends."""
_BACKLOG: Final = 2048
_YOUNG_OBJECTS: Final = 50_000


class FrontNotStarted(ChatQueueError):
    """The HTTP front cannot listen where it should."""

    code = "front_not_started"


def serve(settings: Settings, *, host: str | None = None, port: int | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. Says on standard output where, once it does.

    Raises `ConfigError`, `FrontNotStarted`, `ServerError`.
    """
    host = host if host is not None else settings.http.host
    port = port if port is not None else settings.http.port
    access = Access.of(settings, host)
    if settings.http.webhooks.hosts:
        read_secret(settings.http.webhooks)
    with contextlib.closing(Server(locator(settings.redis))) as server:
        server.client()  # what is wrong with Redis is told before anybody asks
    try:
        app, front = application(settings, access)
    except OSError as error:
        what = f"the folder {settings.http.folder} cannot be written: {error.strerror}"
        raise ConfigError([Problem(Place("the HTTP front"), "http.folder", what)]) from None
    bound = _bound(host, port)
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_END_S,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=None,
    )
    _spare_garbage_collector()
    server_of_ours = _Server(config, front, bound)
    with contextlib.closing(bound):
        server_of_ours.run(sockets=[bound])
    if (traced := traces()) is not None:
        traced.flush()
    return 0 if server_of_ours.started else 1


def _spare_garbage_collector() -> None:
    """Have it look seldom, and not at what was there at the start.

    With Python's own thresholds a third of the time went there while a thousand clients waited, whose tasks stay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 10)


class _Server(uvicorn.Server):
    """Sends those who wait away before it ends, and says where it listens."""

    def __init__(self, config: uvicorn.Config, front: Front, bound: socket.socket) -> None:
        super().__init__(config)
        self._front = front
        self._bound = bound
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            host, port = self._bound.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            shown = f"http://{shown}:{port}"
            print(f"A page for people on {shown}/, HTTP on {shown}/v1", flush=True)  # noqa: T201 - who started it reads

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._front.closing.set)
        # uvicorn's own would raise the signal once more at the end: then the exit code is no 0.
        self.should_exit, self.force_exit = True, self.should_exit


class _Impatient(HttpToolsProtocol):
    """Closes a connection whose first request does not come."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, transport.close)

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `FrontNotStarted`."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise FrontNotStarted(
            f"The HTTP front cannot listen on {host}, port {port}: {error.strerror or error}.",
            remedy="Stop what listens there (another `chatq up` or `chatq serve`?), or choose another port: http.port "
            f"in config.yaml, CHATQ_HTTP__PORT={port + 1}, or chatq serve --port {port + 1}."
            if taken
            else "Check http.host and http.port in config.yaml, or --host and --port.",
        ) from None
    return bound
