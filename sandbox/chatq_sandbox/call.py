"""The life of one chat call: received, checked, admitted, waited for, answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import orjson

from chatq_sandbox.answers import compose, job_of, job_of_unread
from chatq_sandbox.connection import Connection
from chatq_sandbox.counts import Tally
from chatq_sandbox.directives import DirectiveError, Directives, read_directives
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    HttpRequest,
    LimitReached,
    LimitState,
    Refused,
    Reply,
)
from chatq_sandbox.limits import Lane, Limits
from chatq_sandbox.misbehaviours import KINDS, Exchange, Misbehaviour, check_what, spoil
from chatq_sandbox.randomness import Draws
from chatq_sandbox.source import Source
from chatq_sandbox.wire import (
    KEEP_ALIVE,
    LAST_CHUNK,
    Close,
    Flood,
    Hang,
    Reset,
    Send,
    Step,
    Wait,
    body_bytes,
    chunk,
    events_head,
    events_steps,
    head,
    streamed,
    whole,
)

if TYPE_CHECKING:
    from chatq_sandbox.simulator import Simulator


class _Arrival(NamedTuple):
    """A request that has come in: who asks whom, and which job it belongs to."""

    simulator: Simulator
    connection: Connection
    source: Source
    key: str | None
    name: str
    job: Tally
    now: float


def begin(simulator: Simulator, source: Source, connection: Connection, request: HttpRequest) -> Call | None:
    """Take in a chat request: refuse it or answer it at once (None), or answer later.

    The order is the providers': key, JSON, fields and model, directives, quota, limits. What is refused costs
    no allowance, unless the source counts failed calls.
    """
    now = simulator.loop.time()
    key = source.dialect.presented_key(request.headers)
    chat = _read(source, key, request, now)
    name = job_of_unread(request.body) if isinstance(chat, Refused) else job_of(chat.messages)
    job = simulator.counts.job(name)
    simulator.counts.received(job)
    simulator.remember(source, name, request)
    arrival = _Arrival(simulator, connection, source, key, name, job, now)
    if isinstance(chat, Refused):
        _refuse(arrival, chat, next(iter(source.models), ""))
        return None
    wishes = _wishes(source, key, chat, now)
    if isinstance(wishes, Refused):
        _refuse(arrival, wishes, chat.model)
        return None

    number = job.admitted + 1
    draws = Draws(simulator.config.seed, name, number)
    answer = _answer(source, chat, name, number, draws, wishes)
    lane = source.lane(key, chat.model)
    limits = source.limits_of(chat.model)
    output_tokens = _output_charged(limits, chat, answer, source)
    reached = lane.admit(answer.prompt_tokens, output_tokens, now)
    if reached is not None:
        refused = _out_of_limits(source, reached, limits, lane.state(now, unix_s=time.time()))
        _refuse(arrival, refused, chat.model, counted=True)
        return None
    simulator.counts.admitted(job)
    state = lane.state(now, charged=answer.prompt_tokens + output_tokens, unix_s=time.time())

    rule = source.misbehaviour_for(wishes.misbehaviours, chat, number, draws, now)
    latency_s = (wishes.latency or source.config.latency).sample(draws)
    if rule is not None and KINDS[rule.name].at_once:
        latency_s = 0.0
    fed = 0 < source.keep_alive_s < latency_s and rule is None
    steps = _steps(source, key, chat, answer, rule, latency_s, state, headless=fed)
    call = Call(simulator, connection, job, lane, answer, steps, rule.name if rule else None)
    if latency_s <= 0:
        return None if call.answer(in_time=True) else call
    if fed:
        call.feed(*_feed(source, chat, answer, latency_s, state), source.keep_alive_s)
    call.timer = simulator.loop.call_later(latency_s, call.answer)
    return call


class Call:
    """An admitted call, from admission to the last byte."""

    __slots__ = (
        "_charged",
        "_completion_tokens",
        "_connection",
        "_ended",
        "_feeder",
        "_in_time",
        "_job",
        "_lane",
        "_misbehaviour",
        "_prompt_tokens",
        "_simulator",
        "_steps",
        "timer",
    )

    def __init__(
        self,
        simulator: Simulator,
        connection: Connection,
        job: Tally,
        lane: Lane,
        answer: Answer,
        steps: list[Step],
        misbehaviour: str | None,
    ) -> None:
        self._simulator = simulator
        self._connection = connection
        self._job = job
        self._lane = lane
        self._prompt_tokens, self._completion_tokens = answer.prompt_tokens, answer.completion_tokens
        self._charged = misbehaviour is None or KINDS[misbehaviour].charged
        self._steps = steps[::-1]
        self._misbehaviour = misbehaviour
        self._ended = self._in_time = False
        self._feeder: asyncio.TimerHandle | None = None
        self.timer: asyncio.TimerHandle | None = None

    def feed(self, opening: bytes, blank: bytes, every_s: float) -> None:
        """Keep the connection alive until the answer: send `opening` once and `blank` every so many seconds."""

        def send(data: bytes) -> None:
            self._connection.write(data)
            self._feeder = self._simulator.loop.call_later(every_s, send, blank)

        self._feeder = self._simulator.loop.call_later(every_s, send, opening + blank)

    def answer(self, in_time: bool = False) -> bool:
        """The model is done: send, unless answering is paused. True when everything was sent at once."""
        if self._simulator.paused:
            self._simulator.held.append(self)
            return False
        self._in_time = in_time
        if self._feeder is not None:
            self._feeder.cancel()
        if self._charged:
            self._simulator.counts.charged(self._job, self._prompt_tokens, self._completion_tokens)
        self._go_on()
        self._in_time = False
        return self._ended

    def abort(self) -> None:
        """The client has gone."""
        if not self._ended:
            self._ended = True
            for timer in (self.timer, self._feeder):
                if timer is not None:
                    timer.cancel()
            self._lane.release()
            self._simulator.counts.aborted(self._job)

    @property
    def gone(self) -> bool:
        """Whether there is nobody left to answer."""
        return self._ended

    def _go_on(self) -> None:
        connection, steps = self._connection, self._steps
        while steps and not self._ended:
            step = steps.pop()
            match step:
                case Send():
                    connection.write(step.data)
                case Wait():
                    self.timer = self._simulator.loop.call_later(step.seconds, self._go_on)
                    return
                case Flood():
                    if step.times > 1:
                        steps.append(Flood(step.data, step.times - 1))
                    connection.write(step.data)
                    if not connection.writable:
                        connection.call_when_writable(self._go_on)
                        return
                case Reset():
                    self._end()
                    connection.reset()
                    return
                case Close():
                    self._end()
                    connection.finished(close=True)
                    return
                case Hang():
                    return
        if not self._ended:
            self._end()
            # Nobody waits for the end of what was answered while the request was being taken in.
            if not self._in_time:
                connection.finished()

    def _end(self) -> None:
        self._ended = True
        self._lane.release()
        self._simulator.counts.ended(self._job, self._misbehaviour)


def _read(source: Source, key: str | None, request: HttpRequest, now: float) -> ChatRequest | Refused:
    dialect = source.dialect
    if source.is_loading(now):
        return Refused("loading", dialect.loading())
    if source.key_state(key) == "revoked":
        return Refused("bad_key", dialect.unauthorized(key))
    try:
        return dialect.read(request, _json(source, request.body), source.models)
    except Refused as refused:
        return refused


def _wishes(source: Source, key: str | None, chat: ChatRequest, now: float) -> Directives | Refused:
    asked = next((message.text for message in reversed(chat.messages) if message.role == "user"), "")
    try:
        wishes = _known(read_directives(asked), source)
    except DirectiveError as error:
        return Refused("bad_directive", source.dialect.bad_request(f"[simulator] {error}"))
    if source.key_state(key) == "out_of_quota":
        state = source.lane(key, chat.model).state(now, unix_s=time.time())
        return Refused("quota_exhausted", source.dialect.out_of_quota(state))
    return wishes


def _known(wishes: Directives, source: Source) -> Directives:
    for rule in wishes.misbehaviours:
        problem = check_what(rule, source.dialect.refusals)
        if problem:
            raise DirectiveError(problem)
    return wishes


def _json(source: Source, body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise Refused("bad_request", source.dialect.bad_request(message)) from None


def _answer(
    source: Source, chat: ChatRequest, job: str, number: int, draws: Draws, wishes: Directives
) -> Answer:
    lengths = source.config.answers
    return compose(
        chat,
        job,
        number,
        draws,
        wishes,
        tokens=lengths.tokens if wishes.tokens is None else wishes.tokens,
        reasoning_tokens=lengths.reasoning_tokens if wishes.reasoning is None else wishes.reasoning,
        created=int(time.time()),
    )


def _output_charged(limits: Limits, chat: ChatRequest, answer: Answer, source: Source) -> int:
    if limits.charge == "used":
        return answer.completion_tokens
    return source.config.answers.tokens if chat.max_tokens is None else chat.max_tokens


def _out_of_limits(source: Source, reached: LimitReached, limits: Limits, state: LimitState) -> Refused:
    if reached.what.endswith("_month"):
        return Refused("quota_exhausted", source.dialect.out_of_quota(state))
    reply = source.dialect.rate_limited(reached, state)
    return Refused("rate_limited", reply if limits.headers else reply._replace(headers=()))


def _steps(
    source: Source,
    key: str | None,
    chat: ChatRequest,
    answer: Answer,
    rule: Misbehaviour | None,
    latency_s: float,
    state: LimitState,
    *,
    headless: bool,
) -> list[Step]:
    dialect, spread_s = source.dialect, source.config.answers.stream_s
    events = dialect.stream(chat, answer) if chat.stream else None
    if rule is not None:
        reply = Reply(200, dialect.complete(chat, answer), _headers(source, chat, answer, latency_s, state))
        exchange = Exchange(dialect, chat, answer, key, state, latency_s, reply, events, spread_s, rule.what)
        return spoil(rule, exchange)
    if headless:
        if events is not None:
            return events_steps(events, spread_s)
        return [Send(chunk(body_bytes(Reply(200, dialect.complete(chat, answer)))) + LAST_CHUNK)]
    headers = _headers(source, chat, answer, latency_s, state)
    if events is not None:
        return streamed(Reply(200, None, headers), events, spread_s)
    return [Send(whole(Reply(200, dialect.complete(chat, answer), headers)))]


def _feed(
    source: Source, chat: ChatRequest, answer: Answer, latency_s: float, state: LimitState
) -> tuple[bytes, bytes]:
    """The head of an answer that is still being made, and what is sent meanwhile: comments in a stream, else
    empty lines."""
    reply = Reply(200, None, _headers(source, chat, answer, latency_s, state))
    return (events_head(reply), chunk(KEEP_ALIVE)) if chat.stream else (head(reply, None), chunk(b"\n"))


def _headers(
    source: Source, chat: ChatRequest, answer: Answer, latency_s: float, state: LimitState
) -> tuple[tuple[str, str], ...]:
    headers = source.dialect.answer_headers(answer.serial, latency_s, answer.prompt_tokens)
    if source.limits_of(chat.model).headers:
        headers += source.dialect.limit_headers(state)
    return headers


def _refuse(arrival: _Arrival, refused: Refused, model: str, *, counted: bool = False) -> None:
    """Say no. `counted`: the limits know of this request already."""
    simulator, connection, source, key, name, job, now = arrival
    dialect, state = source.dialect, None
    if (dialect.counts_failed_calls or dialect.tells_limits_on) and refused.kind != "bad_key":
        lane, limits = source.lane(key, model), source.limits_of(model)
        reached = lane.count_failed(now) if dialect.counts_failed_calls and not counted else None
        state = lane.state(now, unix_s=time.time())
        if reached is not None:
            refused = _out_of_limits(source, reached, limits, state)
        state = state if limits.headers else None
    simulator.counts.refused(job, refused.kind)
    # Negative: no admitted call has such a number, so no answer has this request id.
    serial = Draws(simulator.config.seed, name, -job.received).serial()
    connection.write(whole(dialect.signed(refused.reply, serial, 0.0, state)))
