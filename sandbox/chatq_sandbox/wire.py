"""How an answer becomes bytes on a connection, and what else can be done to one."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

import orjson

from chatq_sandbox.exchange import EVENT_STREAM, Reply


class Send(NamedTuple):
    """Write these bytes."""

    data: bytes


class Wait(NamedTuple):
    """Do nothing for so long."""

    seconds: float


class Flood(NamedTuple):
    """Write `data` so many times, as fast as the client reads it."""

    data: bytes
    times: int


class Reset(NamedTuple):
    """Drop the connection with a TCP reset."""


class Close(NamedTuple):
    """Close the connection in an orderly way, after what was written."""


class Hang(NamedTuple):
    """Answer nothing until the client gives up."""


Step = Send | Wait | Flood | Reset | Close | Hang

CLOSE, RESET, HANG = Close(), Reset(), Hang()

# Not in the standard library's list: Cohere's and ai21's own, and Claude's overload.
_OWN_REASONS = {498: "Invalid Token", 499: "Client Closed Request", 529: "Overloaded", 530: "Origin Error"}
_STATUS_LINES = {
    **{status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus},
    **{status: f"HTTP/1.1 {status} {reason}\r\n" for status, reason in _OWN_REASONS.items()},
}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
KEEP_ALIVE = b": keep-alive\n\n"


def body_bytes(reply: Reply) -> bytes:
    """The reply's body as it goes out."""
    return reply.body if isinstance(reply.body, bytes) else orjson.dumps(reply.body)


def head(reply: Reply, length: int | None, *extra: tuple[str, str]) -> bytes:
    """Status line and headers; `length` None means a chunked body."""
    lines = [_STATUS_LINES.get(reply.status) or f"HTTP/1.1 {reply.status} Unknown\r\n", "content-type: "]
    lines.append(reply.content_type)
    lines.append(
        "\r\ntransfer-encoding: chunked\r\n" if length is None else f"\r\ncontent-length: {length}\r\n"
    )
    lines.extend(f"{name}: {value}\r\n" for name, value in reply.headers)
    lines.extend(f"{name}: {value}\r\n" for name, value in extra)
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def whole(reply: Reply) -> bytes:
    """The whole answer in one piece."""
    body = body_bytes(reply)
    return head(reply, len(body)) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: bytes, name: str = "") -> bytes:
    """One server-sent event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def events_head(reply: Reply) -> bytes:
    """Status line and headers of an event stream."""
    opening = Reply(reply.status, b"", (*reply.headers, ("cache-control", "no-cache")), EVENT_STREAM)
    return head(opening, None)


def events_steps(events: list[bytes], over_s: float, opening: bytes = b"") -> list[Step]:
    """The body of an event stream after `opening`, its events spread evenly over `over_s` seconds."""
    if not over_s or len(events) < 2:
        return [Send(opening + b"".join(map(chunk, events)) + LAST_CHUNK)]
    pause = Wait(over_s / (len(events) - 1))
    steps: list[Step] = [Send(opening + chunk(events[0]))]
    for piece in events[1:]:
        steps += (pause, Send(chunk(piece)))
    steps.append(Send(LAST_CHUNK))
    return steps


def streamed(reply: Reply, events: list[bytes], over_s: float) -> list[Step]:
    """An event stream, its events spread evenly over `over_s` seconds."""
    return events_steps(events, over_s, events_head(reply))
