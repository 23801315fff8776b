"""The life of one chat call: received, checked, admitted, waited for, answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson

from chatq_sandbox.answers import compose, job_of, job_of_unread
from chatq_sandbox.config import Limits
from chatq_sandbox.connection import Connection
from chatq_sandbox.counts import Tally
from chatq_sandbox.directives import NONE, DirectiveError, Directives, read_directives
from chatq_sandbox.exchange import Answer, ChatRequest, HttpRequest, LimitState, Refused, Reply
from chatq_sandbox.limits import Lane
from chatq_sandbox.misbehaviours import KINDS, Exchange, Misbehaviour, spoil
from chatq_sandbox.randomness import Draws
from chatq_sandbox.source import Source
from chatq_sandbox.wire import Close, Flood, Hang, Reset, Send, Step, Wait, streamed, whole

if TYPE_CHECKING:
    from chatq_sandbox.simulator import Simulator

_Refusal = tuple[str, Reply]
"""What it is counted as, and what is said."""


def begin(simulator: Simulator, source: Source, connection: Connection, request: HttpRequest) -> Call | None:
    """Take in a chat request: refuse it or answer it at once (None), or answer later.

    The order is the providers': key, JSON, fields and model, directives, quota, limits. What is refused costs
    no allowance.
    """
    key = source.dialect.presented_key(request.headers)
    chat, wishes, refusal = _read(source, key, request)
    name = job_of(chat.messages) if chat else job_of_unread(request.body)
    job = simulator.counts.job(name)
    simulator.counts.received(job)
    simulator.remember(source, name, request)
    if chat is None or refusal is not None:
        _refuse(simulator, connection, source, name, job, refusal)
        return None

    now = simulator.loop.time()
    number = job.admitted + 1
    draws = Draws(simulator.config.seed, name, number)
    answer = _answer(source, chat, name, number, draws, wishes)
    lane = source.lane(key, chat.model)
    limits = source.limits_of(chat.model)
    reached = lane.admit(answer.prompt_tokens + _output_charged(limits, chat, answer, source), now)
    if reached is not None:
        reply = source.dialect.rate_limited(reached, lane.state(now))
        reply = reply if limits.headers else reply._replace(headers=())
        _refuse(simulator, connection, source, name, job, ("rate_limited", reply))
        return None
    simulator.counts.admitted(job)

    rule = source.misbehaviour_for(wishes.misbehaviours, chat, number, draws, now)
    latency_s = (wishes.latency or source.config.latency).sample(draws)
    if rule is not None and KINDS[rule.name].at_once:
        latency_s = 0.0
    steps = _steps(source, key, chat, answer, rule, latency_s, lane.state(now))
    call = Call(simulator, connection, job, lane, answer, steps, rule.name if rule else None)
    if latency_s <= 0:
        return None if call.answer(in_time=True) else call
    call.timer = simulator.loop.call_later(latency_s, call.answer)
    return call


class Call:
    """An admitted call, from admission to the last byte."""

    __slots__ = (
        "_charged",
        "_completion_tokens",
        "_connection",
        "_ended",
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
        self.timer: asyncio.TimerHandle | None = None

    def answer(self, in_time: bool = False) -> bool:
        """The model is done: send, unless answering is paused. True when everything was sent at once."""
        if self._simulator.paused:
            self._simulator.held.append(self)
            return False
        self._in_time = in_time
        if self._charged:
            self._simulator.counts.charged(self._job, self._prompt_tokens, self._completion_tokens)
        self._go_on()
        self._in_time = False
        return self._ended

    def abort(self) -> None:
        """The client has gone."""
        if not self._ended:
            self._ended = True
            if self.timer is not None:
                self.timer.cancel()
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


def _read(
    source: Source, key: str | None, request: HttpRequest
) -> tuple[ChatRequest | None, Directives, _Refusal | None]:
    refusal = source.key_refusal(key)
    if refusal is not None and refusal[0] == "bad_key":
        return None, NONE, refusal
    try:
        chat = source.dialect.read(request, _json(source, request.body), source.models)
    except Refused as refused:
        return None, NONE, (refused.kind, refused.reply)
    asked = next((message.text for message in reversed(chat.messages) if message.role == "user"), "")
    try:
        return chat, read_directives(asked), refusal
    except DirectiveError as error:
        return chat, NONE, ("bad_directive", source.dialect.bad_request(f"[simulator] {error}"))


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


def _steps(
    source: Source,
    key: str | None,
    chat: ChatRequest,
    answer: Answer,
    rule: Misbehaviour | None,
    latency_s: float,
    state: LimitState,
) -> list[Step]:
    dialect = source.dialect
    source_headers = headers = dialect.answer_headers(answer.serial, latency_s)
    if source.limits_of(chat.model).headers:
        headers += dialect.limit_headers(state)
    events = dialect.stream(chat, answer) if chat.stream else None
    if rule is not None:
        reply = Reply(200, dialect.complete(chat, answer), headers)
        spread_s = source.config.answers.stream_s
        return spoil(
            rule, Exchange(dialect, chat, answer, key, state, source_headers, reply, events, spread_s)
        )
    if events is not None:
        return streamed(Reply(200, None, headers), events, source.config.answers.stream_s)
    return [Send(whole(Reply(200, dialect.complete(chat, answer), headers)))]


def _refuse(
    simulator: Simulator,
    connection: Connection,
    source: Source,
    name: str,
    job: Tally,
    refusal: _Refusal | None,
) -> None:
    kind, reply = refusal or ("bad_request", source.dialect.bad_request("not read"))
    simulator.counts.refused(job, kind)
    # Negative: no admitted call has such a number, so no answer has this request id.
    serial = Draws(simulator.config.seed, name, -job.received).serial()
    headers = source.dialect.answer_headers(serial, 0.0)
    connection.write(whole(reply._replace(headers=(*headers, *reply.headers))))
