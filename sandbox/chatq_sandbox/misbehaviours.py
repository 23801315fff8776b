"""What can go wrong with a provider, by name: every misbehaviour that tests, demo and benchmarks can ask
for."""

from __future__ import annotations

import gzip as gzip_format
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatq_sandbox.dialects.base import Dialect
from chatq_sandbox.exchange import Allowance, Answer, ChatRequest, LimitReached, LimitState, Reply
from chatq_sandbox.section import nearest
from chatq_sandbox.wire import (
    CLOSE,
    HANG,
    KEEP_ALIVE,
    LAST_CHUNK,
    RESET,
    Flood,
    Send,
    Step,
    Wait,
    body_bytes,
    chunk,
    head,
    streamed,
    whole,
)

_DRIPS = 20
_KEEP_ALIVES = 10
_FLOOD_PIECE = 256 * 1024
# Long enough that the client has read what came before the connection broke.
_SETTLE = Wait(0.02)


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One thing that goes wrong, and when.

    `value`: see `KINDS`; None is the kind's default. `first`: only for the first N calls of a job that got
    past key, checks and limits. `share`: only for this share of those calls. `model`: only for calls to it.
    `from_s`, `for_s`: only from so many seconds after it was set up, for so long. `what`: which of the source's
    refusals; a source that has none of that name does not misbehave.
    """

    name: str
    value: float | None = None
    first: int | None = None
    share: float = 1.0
    model: str | None = None
    from_s: float = 0.0
    for_s: float | None = None
    what: str | None = None


class Exchange(NamedTuple):
    """A call whose right answer is known, to be spoilt. `events` is the answer as a stream, None when whole;
    `what` is the refusal that is asked for."""

    dialect: Dialect
    request: ChatRequest
    answer: Answer
    key: str | None
    limits: LimitState
    latency_s: float
    reply: Reply
    events: list[bytes] | None
    stream_s: float
    what: str | None = None

    def rendered(self, reply: Reply) -> list[Step]:
        """Another reply in place of the right one."""
        return [Send(whole(reply))]

    def refused(self, reply: Reply) -> list[Step]:
        """A refusal by the source itself, which names the request as its answers do."""
        signed = self.dialect.signed(reply, self.answer.serial, self.latency_s, self.limits)
        return self.rendered(signed)

    def halves(self) -> tuple[bytes, bytes, bytes]:
        """The right answer's head, and its body in two halves (of a stream: of its events)."""
        if self.events is not None:
            data = b"".join(
                Send(*step).data for step in streamed(self.reply, self.events, 0.0) if isinstance(step, Send)
            )
            split = data.index(b"\r\n\r\n") + 4
            opening, body = data[:split], data[split:]
        else:
            body = body_bytes(self.reply)
            opening = head(self.reply, len(body))
        middle = len(body) // 2
        return opening, body[:middle], body[middle:]


class Kind(NamedTuple):
    """One kind of misbehaviour. `value` says what the number means ('' takes none), within `low`..`high`;
    `what` says what the word means ('' takes none).

    `at_once`: it does not wait for the model's latency. `charged`: the model had done its work, so a provider
    would have it paid.
    """

    meaning: str
    build: Callable[[Exchange, float], list[Step]]
    value: str = ""
    default: float = 0.0
    low: float = 0.0
    high: float = 86400.0
    at_once: bool = False
    charged: bool = False
    what: str = ""


def _rate_limit(exchange: Exchange, value: float) -> list[Step]:
    stated = exchange.limits.requests
    requests = Allowance(stated.limit if stated else 60, 0, value)
    reached = LimitReached("requests", requests.limit, requests.limit, 1, value, exchange.request.model)
    return exchange.refused(
        exchange.dialect.rate_limited(reached, exchange.limits._replace(requests=requests))
    )


def _server_error(exchange: Exchange, value: float) -> list[Step]:
    return exchange.refused(exchange.dialect.server_error(int(value)))


def _overloaded(exchange: Exchange, value: float) -> list[Step]:
    reply = exchange.dialect.overloaded()
    if value:
        headers = tuple(pair for pair in reply.headers if pair[0] != "retry-after")
        reply = reply._replace(headers=(*headers, ("retry-after", f"{value:g}")))
    return exchange.refused(reply)


def _quota_exhausted(exchange: Exchange, _: float) -> list[Step]:
    return exchange.refused(exchange.dialect.out_of_quota(exchange.limits))


def _other_refusal(exchange: Exchange, _: float) -> list[Step]:
    return exchange.refused(exchange.dialect.refusals[exchange.what or ""])


def _bad_key(exchange: Exchange, _: float) -> list[Step]:
    return exchange.refused(exchange.dialect.unauthorized(exchange.key))


def _reset_before_answer(_: Exchange, __: float) -> list[Step]:
    return [RESET]


def _close_before_answer(_: Exchange, __: float) -> list[Step]:
    return [CLOSE]


def _reset_mid_body(exchange: Exchange, _: float) -> list[Step]:
    opening, first, _rest = exchange.halves()
    return [Send(opening + first), _SETTLE, RESET]


def _close_mid_body(exchange: Exchange, _: float) -> list[Step]:
    opening, first, _rest = exchange.halves()
    return [Send(opening + first), CLOSE]


def _silence(_: Exchange, __: float) -> list[Step]:
    return [HANG]


def _silence_mid_body(exchange: Exchange, _: float) -> list[Step]:
    opening, first, _rest = exchange.halves()
    return [Send(opening + first), HANG]


def _slow_drip(exchange: Exchange, value: float) -> list[Step]:
    opening, first, rest = exchange.halves()
    body = first + rest
    size = max(1, -(-len(body) // _DRIPS))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    steps: list[Step] = [Send(opening)]
    for piece in pieces:
        steps += (Wait(value / len(pieces)), Send(piece))
    return steps


def _blank_keep_alives(exchange: Exchange, value: float) -> list[Step]:
    if exchange.events is not None:
        blank = KEEP_ALIVE
        opening, first, rest = exchange.halves()
        ending = [Send(first + rest)]
    else:
        blank, opening = b"\n", head(exchange.reply, None)
        ending = [Send(chunk(body_bytes(exchange.reply)) + LAST_CHUNK)]
    steps: list[Step] = [Send(opening)]
    for _ in range(_KEEP_ALIVES):
        steps += (Send(chunk(blank)), Wait(value / _KEEP_ALIVES))
    return [*steps, *ending]


def _html_page(exchange: Exchange, value: float) -> list[Step]:
    status = int(value)
    page = (
        f"<html><head><title>{status} Gateway</title></head><body><h1>{status}</h1>cloudflare</body></html>\n"
    )
    return exchange.rendered(Reply(status, page.encode(), content_type="text/html; charset=utf-8"))


def _redirect(exchange: Exchange, value: float) -> list[Step]:
    target = (("location", "http://127.0.0.1:9/elsewhere"),)
    return exchange.rendered(Reply(int(value), b"", target, content_type="text/plain"))


def _truncated_json(exchange: Exchange, _: float) -> list[Step]:
    body = body_bytes(exchange.reply)
    return exchange.rendered(exchange.reply._replace(body=body[: len(body) // 2]))


def _empty_body(exchange: Exchange, _: float) -> list[Step]:
    return exchange.rendered(exchange.reply._replace(body=b""))


def _wrong_types(exchange: Exchange, _: float) -> list[Step]:
    return exchange.rendered(exchange.reply._replace(body=_twisted(exchange.reply.body)))


def _twisted(body: Any) -> Any:
    def twist(value: Any) -> Any:
        match value:
            case str():
                return 0
            case list():
                return {"0": value}
            case dict():
                return [value]
            case _:
                return "none"

    return {name: twist(value) for name, value in body.items()} if isinstance(body, dict) else twist(body)


def _error_in_200(exchange: Exchange, _: float) -> list[Step]:
    return exchange.refused(exchange.dialect.error_in_200(exchange.request, exchange.answer))


def _not_json_utf8(exchange: Exchange, _: float) -> list[Step]:
    body = body_bytes(exchange.reply)
    middle = len(body) // 2
    return exchange.rendered(
        exchange.reply._replace(body=body[:middle] + b"\xff\xfe\xc3\x28" + body[middle:])
    )


def _huge_answer(exchange: Exchange, value: float) -> list[Step]:
    marker = b"@huge@"
    answer = exchange.answer._replace(text=marker.decode(), tool_calls=())
    reply = exchange.dialect.complete(exchange.request, answer)
    before, after = body_bytes(Reply(200, reply)).split(marker, 1)
    times = max(1, -(-int(value) // _FLOOD_PIECE))
    opening = head(exchange.reply, len(before) + times * _FLOOD_PIECE + len(after))
    return [Send(opening + before), Flood(b"x" * _FLOOD_PIECE, times), Send(after)]


def _gzip(exchange: Exchange, _: float) -> list[Step]:
    packed = gzip_format.compress(body_bytes(exchange.reply), mtime=0)
    headers = (*exchange.reply.headers, ("content-encoding", "gzip"))
    return exchange.rendered(exchange.reply._replace(body=packed, headers=headers))


def _no_usage(exchange: Exchange, _: float) -> list[Step]:
    body = exchange.reply.body
    kept = (
        {name: value for name, value in body.items() if name != "usage"} if isinstance(body, dict) else body
    )
    return exchange.rendered(exchange.reply._replace(body=kept))


def _error_mid_stream(exchange: Exchange, _: float) -> list[Step]:
    if exchange.events is None:
        return _server_error(exchange, 500.0)
    kept = exchange.events[: max(1, len(exchange.events) // 2)]
    return streamed(exchange.reply, [*kept, exchange.dialect.error_event()], exchange.stream_s)


KINDS: dict[str, Kind] = {
    "rate_limit": Kind(
        "429 as if a limit had been reached", _rate_limit, "Retry-After in seconds", 1.0, at_once=True
    ),
    "server_error": Kind("the source's error body", _server_error, "status", 500, low=500, high=599),
    "overloaded": Kind(
        "the source's 'overloaded' (503, Claude 529)",
        _overloaded,
        "Retry-After in seconds; 0: the source's own",
    ),
    "refuse": Kind(
        "one of the source's other refusals", _other_refusal, what="the refusal's name", at_once=True
    ),
    "quota_exhausted": Kind("no money left, in the source's words", _quota_exhausted, at_once=True),
    "bad_key": Kind("the source's refusal of a wrong key", _bad_key, at_once=True),
    "reset_before_answer": Kind("connection reset instead of an answer", _reset_before_answer, charged=True),
    "close_before_answer": Kind("connection closed instead of an answer", _close_before_answer, charged=True),
    "reset_mid_body": Kind("connection reset in the middle of the body", _reset_mid_body, charged=True),
    "close_mid_body": Kind("connection closed in the middle of the body", _close_mid_body, charged=True),
    "silence": Kind("no answer until the client gives up", _silence, charged=True),
    "silence_mid_body": Kind("half of the body, then nothing more", _silence_mid_body, charged=True),
    "slow_drip": Kind("the right answer in 20 pieces", _slow_drip, "seconds in all", 10.0, charged=True),
    "blank_keep_alives": Kind(
        "blank lines (in a stream: comments), then the right answer",
        _blank_keep_alives,
        "seconds of blank lines",
        1.0,
        charged=True,
    ),
    "html_page": Kind("a gateway's HTML page", _html_page, "status", 502, low=200, high=599),
    "redirect": Kind("a redirect to another host", _redirect, "status", 302, low=301, high=308),
    "truncated_json": Kind("a complete HTTP answer with half of the JSON", _truncated_json, charged=True),
    "empty_body": Kind("200 with no body", _empty_body, charged=True),
    "wrong_types": Kind("every field of the answer has another type", _wrong_types, charged=True),
    "error_in_200": Kind("status 200 with an error inside", _error_in_200),
    "not_json_utf8": Kind("bytes that are not UTF-8 in the middle of the JSON", _not_json_utf8, charged=True),
    "huge_answer": Kind(
        "a valid answer with a very long text",
        _huge_answer,
        "bytes",
        64 * 2**20,
        low=1,
        high=2**40,
        charged=True,
    ),
    "gzip": Kind("the right answer, compressed whether the client accepts it or not", _gzip, charged=True),
    "no_usage": Kind("the right answer without usage", _no_usage, charged=True),
    "error_mid_stream": Kind("an error event in the middle of a stream (whole: 500)", _error_mid_stream),
}


def check_value(rule: Misbehaviour) -> str | None:
    """What is wrong with the rule's value, if anything."""
    kind, value = KINDS[rule.name], rule.value
    if value is None:
        return None
    if not kind.value:
        return f"{rule.name} takes no value, got {value:g}"
    if not kind.low <= value <= kind.high:
        return f"{rule.name} takes a {kind.value} from {kind.low:g} to {kind.high:g}, got {value:g}"
    return None


def check_what(rule: Misbehaviour, refusals: Collection[str]) -> str | None:
    """What is wrong with the refusal that the rule asks for, if anything; `refusals` are those there are."""
    kind = KINDS[rule.name]
    if not kind.what:
        return f"{rule.name} takes no name, got {rule.what!r}" if rule.what is not None else None
    if rule.what in refusals:
        return None
    known = nearest(str(rule.what), tuple(refusals)) if refusals else "this source has none"
    return f"{rule.name} takes {kind.what}, got {rule.what!r}; {known}"


def spoil(rule: Misbehaviour, exchange: Exchange) -> list[Step]:
    """What happens on the connection instead of the right answer."""
    kind = KINDS[rule.name]
    return kind.build(exchange, kind.default if rule.value is None else rule.value)
