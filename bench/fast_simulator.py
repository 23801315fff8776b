"""A provider that costs next to nothing, in a process of its own: what is measured beside it waits for no simulator.

It reads of a request what it needs to find the end, and answers every POST with the same chat completion, after the
latency that the path names: `/latency/0.2/v1/chat/completions` answers after 200 ms, any other path at once. It counts
calls. What `chatq_sandbox` simulates beside that, dialects, limits, misbehaviours, it does not know.

Run as a program it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from typing import Any, Self

import uvloop

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "local-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "This is the answer of a provider. " * 6},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 125, "completion_tokens": 48, "total_tokens": 173},
    }
).encode()


def response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


RESPONSE = response(ANSWER)


class Counts:
    """Of the calls since the last reset; `first_s`: when the first came, by the machine's monotonic clock."""

    def __init__(self) -> None:
        self.received = self.in_flight = self.max_in_flight = 0
        self.first_s: float | None = None

    def begun(self) -> None:
        if self.first_s is None:
            self.first_s = time.monotonic()
        self.received += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)


class Connection(asyncio.Protocol):
    """One client's connection: one request at a time, as every client of ours does it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counts: Counts) -> None:
        self._loop, self._counts = loop, counts
        self._head = b""
        self._missing = 0
        self._latency_s = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, body = self._head[:end].lower(), len(self._head) - end - 4
            self._head = b""
            if not head.startswith(b"post /"):
                self._control(head)
                return
            before, _, after = head.partition(b"content-length:")
            if not after:
                raise ValueError("a request without content-length")
            self._missing = int(after.partition(b"\r\n")[0]) - body
            latency = before.partition(b"\r\n")[0].partition(b"/latency/")[2].partition(b"/")[0]
            self._latency_s = float(latency or 0)
        if self._missing == 0:
            self._counts.begun()
            if self._latency_s:
                self._loop.call_later(self._latency_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        self._counts.in_flight -= 1
        if not self._transport.is_closing():
            self._transport.write(RESPONSE)

    def _control(self, head: bytes) -> None:
        if head.startswith(b"get /reset "):
            self._counts.__init__()  # type: ignore[misc]
        if head.startswith((b"get /reset ", b"get /counts ")):
            body: dict[str, Any] = vars(self._counts)
        else:
            body = {"object": "list", "data": [{"id": "local-model", "object": "model"}]}
        self._transport.write(response(json.dumps(body).encode()))


async def serve() -> None:
    loop, counts = asyncio.get_running_loop(), Counts()
    server = await loop.create_server(lambda: Connection(loop, counts), "127.0.0.1", 0, backlog=10_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(
        target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True
    ).start()
    await ended.wait()


class FastSimulator:
    """The program as a context; `url` while it runs."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self._port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @staticmethod
    def path(latency_s: float) -> str:
        """The base path of connections whose calls take so long."""
        return f"/latency/{latency_s:g}/v1"

    def counts(self) -> dict[str, Any]:
        """As `Counts` has them."""
        return self._get("/counts")

    def reset(self) -> None:
        self._get("/reset")

    def _get(self, path: str) -> dict[str, Any]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


if __name__ == "__main__":
    uvloop.run(serve())
