"""The provider simulator: every source on one port, without a network and without keys.

    python -m chatq_sandbox.simulator --port 0 --config FILE --seed N

or inside a program: `async with Simulator(config) as simulator: simulator.url`.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

import orjson

from chatq_sandbox import call as chat_call
from chatq_sandbox.config import SimulatorConfig, merged
from chatq_sandbox.connection import Connection, Pending
from chatq_sandbox.control import PREFIX, Control
from chatq_sandbox.counts import Counts
from chatq_sandbox.dialects.base import CHAT, Dialect
from chatq_sandbox.dialects.registry import DIALECTS, ROOT
from chatq_sandbox.exchange import HttpRequest, LookUp, Reply
from chatq_sandbox.randomness import Draws
from chatq_sandbox.source import Source
from chatq_sandbox.wire import whole

_BACKLOG = 8192
_REFUSALS = {name: tuple(dialect.refusals) for name, dialect in DIALECTS.items()}


class Simulator:
    """A running simulator. `config` is a mapping as `config.py` describes it.

    `url` is the base of everything: `{url}/openai/v1`, `{url}/v1` (openai as well), `{url}/_sim/`.

    Raises:
        ConfigError: when the configuration is wrong.
        OSError: on entering, when the port cannot be had.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.settings: dict[str, Any] = dict(config or {})
        self.config = SimulatorConfig.from_mapping(self.settings, _REFUSALS)
        self.request_bytes = self.config.request_bytes
        self.counts = Counts()
        self.sources: dict[str, Source] = {}
        self.connections: set[Connection] = set()
        self.paused = False
        self.held: list[chat_call.Call] = []
        self.loop: asyncio.AbstractEventLoop
        self.url = ""
        self._host, self._port = host, port
        self._control = Control(self)
        self._server: asyncio.Server | None = None
        self._exact: dict[str, tuple[Source, str]] = {}
        self._patterns: list[tuple[str, Source, str]] = []
        self._remembered: deque[tuple[str, str, HttpRequest]] = deque(maxlen=self.config.remember_requests)

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        now = self.loop.time()
        for name, dialect in DIALECTS.items():
            self._mount(dialect, Source(dialect, self.config.source(name), now))
        self._server = await self.loop.create_server(
            lambda: Connection(self), self._host, self._port, backlog=_BACKLOG
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self.connections):
            connection.reset()
        await self._server.wait_closed()

    def configure(self, change: Mapping[str, Any]) -> None:
        """Lay a change over the configuration (a JSON merge patch); a wrong one changes nothing.

        Raises:
            ConfigError: when the configuration would be wrong.
        """
        self.replace_config(merged(self.settings, change))

    def replace_config(self, settings: dict[str, Any]) -> None:
        """Take a whole new configuration; a wrong one changes nothing.

        Raises:
            ConfigError: when the configuration is wrong.
        """
        config = SimulatorConfig.from_mapping(settings, _REFUSALS)
        self.settings, self.config = settings, config
        self.request_bytes = config.request_bytes
        if self._remembered.maxlen != config.remember_requests:
            self._remembered = deque(self._remembered, maxlen=config.remember_requests)
        for name, source in self.sources.items():
            source.configure(config.source(name), self.loop.time())

    def pause(self) -> None:
        """Answer nothing from now on; calls are taken in and held."""
        self.paused = True

    def resume(self) -> int:
        """Answer again, those that were held first; how many they were."""
        self.paused = False
        held, self.held = [call for call in self.held if not call.gone], []
        for call in held:
            call.answer()
        return len(held)

    def reset(self) -> None:
        """Forget counts, lanes, remembered requests, key states and added misbehaviours; answer again."""
        on_change, self.counts = self.counts.on_change, Counts()
        self.counts.on_change = on_change
        self._remembered.clear()
        for source in self.sources.values():
            source.reset()
        self.resume()

    def remember(self, source: Source, job: str, request: HttpRequest) -> None:
        """Keep a chat request for those who ask later what was really sent."""
        if self._remembered.maxlen:
            self._remembered.append((source.dialect.source, job, request))

    def remembered(self) -> list[dict[str, Any]]:
        """The latest chat requests, oldest first; keys are masked, a body that is not JSON is shown as
        text."""
        return [
            {
                "source": source,
                "job": job,
                "method": request.method,
                "path": request.path,
                "headers": {
                    name.decode("latin-1"): _shown(name, value) for name, value in request.headers.items()
                },
                "body": _decoded(request.body),
            }
            for source, job, request in self._remembered
        ]

    def handle(self, connection: Connection, request: HttpRequest) -> Pending | None:
        """Answer one request, now or later; a failure of the simulator itself is a 500 that says so, and
        counted."""
        try:
            found = self._exact.get(f"{request.method} {request.path}")
            if found is not None and found[1] == CHAT:
                return chat_call.begin(self, found[0], connection, request)
            if request.path.startswith(PREFIX):
                return self._control.handle(connection, request)
            connection.write(whole(self._looked_up(found, request)))
        except Exception:
            self.counts.bugs += 1
            traceback.print_exc(file=sys.stderr)
            connection.write(
                whole(Reply(500, {"error": {"message": "the simulator itself has failed; see its log"}}))
            )
        return None

    def _looked_up(self, found: tuple[Source, str] | None, request: HttpRequest) -> Reply:
        rest = ""
        if found is None:
            name = f"{request.method} {request.path}"
            for start, source, endpoint in self._patterns:
                if name.startswith(start) and len(name) > len(start):
                    found, rest = (source, endpoint), name.removeprefix(start)
                    break
            else:
                return self._dialect_for(request.path).not_found(request.method, request.path)
        source, endpoint = found
        dialect = source.dialect
        self.counts.look_ups += 1
        serial = Draws(self.config.seed, "look-up", self.counts.look_ups).serial()
        return dialect.signed(self._look_up_reply(source, endpoint, request, rest), serial, 0.0, None)

    def _look_up_reply(self, source: Source, endpoint: str, request: HttpRequest, rest: str) -> Reply:
        dialect = source.dialect
        status = source.config.look_up_error
        if source.is_loading(self.loop.time()):
            return dialect.loading()
        if status is not None:
            failed = dialect.server_error(status) if status >= 500 else dialect.not_found("GET", request.path)
            return failed._replace(status=status)
        key = dialect.presented_key(request.headers)
        state = source.key_state(key)
        if state == "revoked" and endpoint not in dialect.open_endpoints:
            return dialect.unauthorized(key)
        return dialect.look_up(
            LookUp(endpoint, request, rest, source.models, state != "revoked", state == "valid")
        )

    def too_large(self, path: str) -> Reply:
        """The refusal of a request with too large a body."""
        dialect = self._dialect_for(path)
        return dialect.signed(dialect.too_large(), Draws(self.config.seed, path, 0).serial(), 0.0, None)

    def _dialect_for(self, path: str) -> Dialect:
        names = sorted(self.sources, key=len, reverse=True)
        name = next((name for name in names if path.startswith(f"/{name}/")), ROOT)
        return self.sources[name].dialect

    def _mount(self, dialect: Dialect, source: Source) -> None:
        self.sources[dialect.source] = source
        prefixes = (f"/{dialect.source}", "") if dialect.source == ROOT else (f"/{dialect.source}",)
        for route, endpoint in dialect.routes.items():
            method, path = route.split(" ")
            for prefix in prefixes:
                if path.endswith("*"):
                    self._patterns.append((f"{method} {prefix}{path[:-1]}", source, endpoint))
                else:
                    self._exact[f"{method} {prefix}{path}"] = (source, endpoint)


def _shown(name: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    return f"***{text[-4:]}" if name in (b"authorization", b"x-api-key", b"api-key") else text


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


if __name__ == "__main__":
    from chatq_sandbox.command import main

    sys.exit(main())
