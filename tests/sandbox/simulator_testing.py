"""A plain HTTP client for the simulator's tests: what comes back, as it came."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from chatq_sandbox.process import SimulatorProcess

KEY = "sim-openai-key"


class HttpAnswer(NamedTuple):
    """Status, headers (lower case) and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        """What the model said, in OpenAI's shape."""
        return str(self.json["choices"][0]["message"]["content"])


def send(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> HttpAnswer:
    """One request on its own connection."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return HttpAnswer(answer.status, found, answer.read())
    finally:
        connection.close()


class Client:
    """Asks a simulator's openai source."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self.simulator = simulator

    def chat(self, prompt: str = "hello", *, key: str | None = KEY, **fields: Any) -> HttpAnswer:
        """One chat call; `fields` go into the body (None takes one out)."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **fields}
        body = {name: value for name, value in body.items() if value is not None}
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return send(self.simulator.url, "POST", "/openai/v1/chat/completions", body, headers)

    def open(self, prompt: str = "hello", **fields: Any) -> socket.socket:
        """Send a chat call and do not wait for the answer."""
        body = orjson.dumps(
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **fields}
        )
        place = urlsplit(self.simulator.url)
        connected = socket.create_connection((place.hostname or "", place.port or 0), timeout=20)
        connected.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
        )
        return connected

    def configure(self, **settings: Any) -> None:
        """Replace the whole configuration."""
        self.simulator.control("PUT", "config", settings)


class SourceClient:
    """Asks one source. `body` is what a smallest valid request has beside its prompt."""

    def __init__(
        self, simulator: SimulatorProcess, source: str, path: str, body: dict[str, Any], **headers: str
    ) -> None:
        self.simulator = simulator
        self.source = source
        self.path = path
        self._body = body
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def chat(
        self,
        prompt: str = "hello",
        *,
        path: str | None = None,
        headers: dict[str, str | None] | None = None,
        **fields: Any,
    ) -> HttpAnswer:
        """One chat call; `fields` go into the body, `headers` to the headers (None takes one out)."""
        body = {"messages": [{"role": "user", "content": prompt}], **self._body, **fields}
        body = {name: value for name, value in body.items() if value is not LEAVE_OUT}
        return self.send("POST", path or self.path, body, headers)

    def get(self, path: str, headers: dict[str, str | None] | None = None) -> HttpAnswer:
        """A look-up."""
        return self.send("GET", path, None, headers)

    def send(
        self, method: str, path: str, body: Any, headers: dict[str, str | None] | None = None
    ) -> HttpAnswer:
        """Any request below the source's prefix."""
        merged = {**self._headers, **(headers or {})}
        sent = {name: value for name, value in merged.items() if value is not None}
        return send(self.simulator.url, method, f"/{self.source}{path}", body, sent)

    def configure(self, **settings: Any) -> None:
        """Replace the source's settings."""
        self.simulator.control("PUT", "config", {"sources": {self.source: settings}})


class _LeaveOut:
    """The type of `LEAVE_OUT`."""


LEAVE_OUT = _LeaveOut()
"""In place of a field: it is not sent. (None is sent as null.)"""
