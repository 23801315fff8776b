"""The story of one job, top to bottom: begin, post-process, translate, call, read the answer, settle.

A Celery message brought job id, connection id and token. The ledger says whether the job is still this token's, and
gives the request; everything that is written goes back through the ledger, under the same token. Between the two the
job lives in this coroutine alone: nothing of its prompt or answer is logged, raised or returned.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar

import orjson

from chatq.contract.addresses import SIMULATOR
from chatq.contract.connection import Connection
from chatq.contract.errors import ServerError, ServerFull, ServerRefused, ServerUnreachable
from chatq.contract.job import unknown_fields
from chatq.contract.live_settings import LiveSettings
from chatq.contract.redaction import redacted
from chatq.contract.settings import Settings
from chatq.contract.states import State
from chatq.ledger.call_facts import MAYBE_CHARGED, NOT_CALLED, CallTook, LimitTold, Spent, TokensUsed
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Admitted, Begun
from chatq.ledger.server import AsyncServer
from chatq.logs import Field, fields
from chatq.traces import Traces
from chatq_worker.api_keys import read_key
from chatq_worker.attempt_trace import Call, trace_attempt
from chatq_worker.failures import CallFailed
from chatq_worker.limit_report import told_by, used_by_failure, used_by_success
from chatq_worker.mode_remedy import helpful_mode
from chatq_worker.model_remedy import nearest_of_last_check
from chatq_worker.preparation import prepare
from chatq_worker.prices import charged_by_failure, cost_usd
from chatq_worker.provider_client import ProviderClient
from chatq_worker.providers import ADAPTERS, Chat, Completion, Overheard, Request
from chatq_worker.recent_settlements import RecentSettlements
from chatq_worker.retry import Decision, decide
from chatq_worker.teller import Teller

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CANCELLED: Final[dict[str, Any]] = {
    "code": "cancelled",
    "message": "The job was cancelled while it ran.",
    "retryable": False,
    "remedy": "Enqueue it again if it was cancelled by mistake.",
}
_STOPPED: Final[dict[str, Any]] = {
    "code": "worker_lost",
    "message": "The worker had to stop before the call ended; the call may have been charged.",
    "retryable": False,
    "remedy": "The connection says retry.on_worker_lost: fail. Enqueue the job again if paying twice is acceptable.",
}

_STOPPED_MIDWAY: Final[dict[str, Any]] = {
    "code": "worker_lost",
    "message": "The worker had to stop after a part of the answer had been sent to the caller; the call may have been "
    "charged.",
    "retryable": False,
    "remedy": "Enqueue the job again if paying twice is acceptable.",
}
_MIDWAY: Final = " A part of the answer had been sent to the caller by then, so the job is not tried again."

_ELSEWHERE_S: Final = 1.0
"""Before a job that was handed on goes again: settings are taken up within about as long."""

DROPPED = "dropped"
"""The message was late or double: the job is someone else's by now, or settled."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the job here. `state` is a job state, or `DROPPED`.

    `admitted`: jobs that may go now that this one made room. `spent`: what the call used, where that is known.
    `latency_s`: of the call; 0: there was none. `reason`: why it failed or waits again, without anything of the prompt.
    `paused`: whether the connection is paused now.
    """

    state: str
    admitted: tuple[Admitted, ...] = ()
    spent: Spent | None = None
    latency_s: float = 0.0
    reason: str = ""
    paused: bool = False


class Completer:
    """Completes jobs for one worker."""

    def __init__(
        self,
        *,
        worker: str,
        settings: LiveSettings,
        ledger: Ledger,
        server: AsyncServer,
        provider: ProviderClient,
        on_paused: Callable[[str], None] = lambda _connection: None,
        is_key_elsewhere: Callable[[str], Awaitable[bool]],
        jitter: random.Random | None = None,
        traces: Traces | None = None,
    ) -> None:
        """`on_paused(connection)`: called when the provider refused the account and the connection is paused for it.
        `is_key_elsewhere(connection)`: asked when there is no key here: whether another worker has it."""
        self._traces = traces
        self._worker = worker
        self._settings = settings
        self._ledger = ledger
        self._server = server
        self._provider = provider
        self._on_paused = on_paused
        self._is_key_elsewhere = is_key_elsewhere
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._recent = RecentSettlements()

    async def settle_again(self) -> list[Admitted]:
        """Settle again what was settled in the last seconds: the server was restarted, and may have forgotten it.

        Returns the jobs that may go now.
        """
        admitted: list[Admitted] = []
        for call in self._recent.calls():
            admitted += (await self._server.run(call)).admitted
        return admitted

    async def complete(self, job_id: str, token: str, *, was_cancelled_by_caller: Any) -> Outcome:
        """Run one job to the end of this attempt.

        `was_cancelled_by_caller()`: asked when the coroutine is cancelled; True settles the job as cancelled, False
        hands it back in line (the worker stops). Does not raise for anything that a job, a provider or an absent server
        can do.
        """
        try:
            return await self._complete(job_id, token, was_cancelled_by_caller)
        except (ServerFull, ServerRefused, ServerUnreachable) as error:
            # Waited for until this worker stopped, which waits no longer.
            logger.warning(
                "job left to whoever finds our lease run out: %s", error.message, extra=fields(job=job_id)
            )
            return Outcome(DROPPED)

    async def _complete(self, job_id: str, token: str, was_cancelled_by_caller: Any) -> Outcome:
        begun, stopped = await _to_the_end(self._begin(job_id, token))
        if begun is None:
            return Outcome(DROPPED)
        attempt = _Attempt(job_id, token, begun, self._settings.current)
        if logger.isEnabledFor(logging.INFO):
            logger.info("job begins", extra=attempt.fields(state=State.RUNNING.value))
        if stopped:
            return await self._stopped(attempt, cancelled=was_cancelled_by_caller())
        try:
            completion = await self._call(attempt)
        except _NotHere as reason:
            return await self._hand_on(attempt, str(reason))
        except CallFailed as failure:
            return await self._failed(attempt, failure)
        except asyncio.CancelledError:
            return await self._stopped(attempt, cancelled=was_cancelled_by_caller())
        except Exception as error:
            # Only the kind of error is told: its text could hold a part of the prompt.
            logger.error(
                "fault in chatq: %s at %s", type(error).__name__, _where(error), extra=attempt.fields()
            )
            fault = CallFailed("internal", f"A fault in chatq: {type(error).__name__} at {_where(error)}.")
            return await self._failed(attempt, fault)
        return await self._succeeded(attempt, completion)

    async def _begin(self, job_id: str, token: str) -> Begun | None:
        return await self._server.run(self._ledger.begin(job_id, token, self._worker), patience_s=math.inf)

    async def _call(self, attempt: _Attempt) -> Completion:
        """Post-process, translate, call, read. Raises `CallFailed`, `_NotHere`."""
        if unknown := unknown_fields(attempt.request):
            raise _NotHere(f"this worker is of an older version and does not know {', '.join(unknown)}")
        connection = attempt.connection
        attempt.source = connection.source
        if connection.url == SIMULATOR:
            raise CallFailed(
                "connect_error",
                "The built-in simulator does not run.",
                remedy="Start it together with a worker: chatq up.",
                sent=False,
            )
        adapter = ADAPTERS.get(connection.source)
        if adapter is None:
            raise CallFailed(
                "invalid_request", f"The source {connection.source} is not built in yet.", sent=False
            )
        chat = attempt.chat = prepare(
            attempt.request,
            connection,
            model=attempt.begun.model,
            placeholder=attempt.settings.prompt_placeholder,
            fallback=attempt.begun.stands_in,
        )
        try:
            attempt.key = read_key(connection)
        except CallFailed:
            if await self._is_key_elsewhere(attempt.connection_id):
                raise _NotHere("this worker has no key of the connection, and others have one") from None
            raise
        prepared = adapter.request(chat, connection, attempt.key)
        attempt.warnings += prepared.warnings
        # To the moment that the ledger meant, however long the above took: where calls keep a pace, a late one is too
        # near to the next.
        await asyncio.sleep(attempt.call_at - time.monotonic())
        attempt.sent = True
        attempt.url = prepared.request.url
        attempt.called_ns = time.time_ns()
        started = time.perf_counter()
        try:
            answer = await self._provider.send(self._told_on(attempt, prepared.request), connection.timeout)
        finally:
            attempt.latency_s = time.perf_counter() - started
        attempt.http_status = answer.status
        attempt.told = told_by(connection.source, answer.headers)
        return adapter.read(answer, chat, connection)

    def _told_on(self, attempt: _Attempt, request: Request) -> Request:
        """The request, listened to where its caller wants to see the answer grow."""
        assembly, deltas = request.assembly, request.deltas
        if assembly is None or deltas is None:
            return request
        most = int(attempt.settings.bounds.answer_bytes)
        teller = Teller(self._server, self._ledger, attempt.job_id, attempt.token, most_bytes=most)
        attempt.teller = teller
        return replace(request, assembly=lambda: Overheard(assembly(), deltas(), teller.add))

    async def _succeeded(self, attempt: _Attempt, completion: Completion) -> Outcome:
        await attempt.end_telling(whole=True)
        attempt.completion = completion
        usage = completion.usage
        models = (completion.model, attempt.begun.model)
        cost = cost_usd(attempt.connection, models, usage, completion.cost_usd)
        result = {
            "text": completion.text,
            "reasoning": completion.reasoning,
            "tool_calls": completion.tool_calls,
            "finish_reason": completion.finish_reason,
            "model": completion.model,
            "provider_request_id": completion.provider_request_id,
            "usage": _present(asdict(usage)),
            "cost_usd": cost,
            "latency_s": round(attempt.latency_s, 4),
            "response": completion.response,
        }
        ending = {"warnings": [*attempt.warnings, *completion.warnings], "result": _present(result)}
        return await self._settle(
            attempt,
            Decision(State.SUCCEEDED, counted=True, outcome="ok"),
            ending=ending,
            used=used_by_success(attempt.source, attempt.chat, usage) if attempt.chat else "",
            spent=Spent(usage.prompt_tokens, usage.completion_tokens, cost),
            took=attempt.took,
        )

    async def _failed(self, attempt: _Attempt, failure: CallFailed) -> Outcome:
        midway = await attempt.end_telling(whole=False)
        connection = attempt.connection
        provider_message = redacted(failure.provider_message, attempt.key, connection.include_headers)
        decision = decide(
            failure,
            connection.retry,
            counted_before=attempt.begun.counted,
            since_first_call_s=attempt.begun.since_first_call_ms / 1000,
            jitter=self._jitter,
        )
        attempt.http_status = failure.http_status
        attempt.sent = failure.sent
        error: dict[str, Any] = {
            "code": failure.code,
            "message": failure.message + (_MIDWAY if midway else ""),
            "retryable": failure.retryable,
            "http_status": failure.http_status,
            "provider_message": provider_message,
            "provider_request_id": failure.provider_request_id,
            "remedy": await self._remedy(failure, attempt),
        }
        ending = {"warnings": attempt.warnings, "error": _present(error)}
        reason = f"{failure.code}: {failure.message}"
        outcome = await self._settle(
            attempt,
            decision,
            ending=ending,
            error_code=failure.code,
            used=used_by_failure(attempt.source, attempt.chat.model if attempt.chat else "", failure),
            spent=charged_by_failure(failure),
            pause={
                "code": failure.code,
                "message": f"{failure.message} {provider_message or ''}".rstrip(),
                "remedy": error["remedy"],
            },
            reason=reason,
            took=attempt.took,
        )
        if outcome.paused and outcome.state == State.QUEUED:
            self._on_paused(attempt.connection_id)
        return outcome

    async def _remedy(self, failure: CallFailed, attempt: _Attempt) -> str:
        """What to do about a failure. A model that does not exist: with the names that are most like it."""
        if failure.code != "model_not_found" or attempt.chat is None:
            return _remedy(failure, attempt)
        try:
            asked = self._server.run(self._ledger.statuses([attempt.connection_id]))
            (outcome,), _ = await _to_the_end(asked)
        except ServerError:
            outcome = None
        return failure.remedy + nearest_of_last_check(attempt.chat.model, outcome)

    async def _stopped(self, attempt: _Attempt, *, cancelled: bool) -> Outcome:
        """The call was broken off: its caller wants it, or the worker stops and hands the job back.

        A job that must never be paid for twice is not handed back once its call may have been sent.
        """
        midway = await attempt.end_telling(whole=False)
        error = decision = None
        if cancelled:
            error, decision = _CANCELLED, Decision(State.CANCELLED, counted=False)
        elif attempt.sent and attempt.connection.retry.on_worker_lost == "fail":
            error, decision = _STOPPED, Decision(State.FAILED, counted=False)
        if error is not None and decision is not None:
            return await self._settle(
                attempt,
                decision,
                ending={"warnings": attempt.warnings, "error": error},
                error_code=error["code"],
                maybe_charged=attempt.sent,
                used="" if attempt.sent else NOT_CALLED,
                spent=MAYBE_CHARGED if attempt.sent else "",
                reason=f"{error['code']}: {error['message']}",
            )
        return await self._settle(
            attempt,
            Decision(State.QUEUED, counted=False),
            ending={"warnings": attempt.warnings, "error": _STOPPED_MIDWAY} if midway else None,
            error_code="handed_back",
            maybe_charged=attempt.sent,
            used="" if attempt.sent else NOT_CALLED,
            spent=MAYBE_CHARGED if attempt.sent else "",
            reason="handed back: the worker stops",
        )

    async def _hand_on(self, attempt: _Attempt, reason: str) -> Outcome:
        """Another worker may be able to run the job."""
        return await self._settle(
            attempt,
            Decision(State.QUEUED, counted=False, outcome="astray", wait_s=_ELSEWHERE_S),
            used=NOT_CALLED,
            reason=f"handed on: {reason}",
        )

    async def _settle(
        self,
        attempt: _Attempt,
        decision: Decision,
        *,
        ending: Mapping[str, Any] | None = None,
        error_code: str | None = None,
        maybe_charged: bool = False,
        used: TokensUsed | str = "",
        pause: Mapping[str, str] | None = None,
        spent: Spent | str = "",
        reason: str = "",
        took: CallTook | None = None,
    ) -> Outcome:
        facts = {
            "http_status": attempt.http_status,
            "error_code": error_code,
            "maybe_charged": maybe_charged,
        }
        call = self._ledger.settle(
            attempt.job_id,
            attempt.token,
            decision.state,
            # A provider that could not be reached was sent nothing, and still one attempt is used up.
            attempt=_fragment(facts) if attempt.sent or decision.counted else b"",
            counted=decision.counted,
            ending=_fragment(ending or {}),
            outcome=decision.outcome,
            wait_s=decision.wait_s,
            cool_s=decision.cool_s,
            used=used,
            told=attempt.told,
            pause=_fragment(pause or {}),
            spent=spent,
            took=took,
        )
        settle_ns = time.time_ns()
        settled, _ = await _to_the_end(self._server.run(call, patience_s=math.inf))
        self._recent.remember(call)
        state = decision.state.value if settled.state == "again" else settled.state
        known = spent if isinstance(spent, Spent) else None
        if self._traces is not None and attempt.begun.walk is not None:
            trace_attempt(
                self._traces,
                attempt.begun.walk,
                attempt.job_id,
                attempt.begun,
                call=attempt.call,
                settle_ns=settle_ns,
                state=state,
                error=error_code,
                spent=known,
            )
        if settled.state == "stale":
            logger.warning(
                "the lease was lost meanwhile; this answer was not written", extra=attempt.fields()
            )
            return Outcome(DROPPED)
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "job %s: %s" if reason else "job %s",
                *((state, reason) if reason else (state,)),
                extra=attempt.fields(
                    state=state,
                    error=error_code,
                    http_status=attempt.http_status if error_code else None,
                    wait_ms=settled.wait_ms,
                    latency_ms=round(attempt.latency_s * 1000) or None,
                    prompt_tokens=None if known is None else known.prompt,
                    completion_tokens=None if known is None else known.answer,
                    cost_usd=None if known is None else known.cost_usd,
                ),
            )
        return Outcome(
            state, tuple(settled.admitted), known, attempt.latency_s, reason, paused=settled.paused
        )


class _NotHere(Exception):
    """This worker cannot run the job, another may: its version, or its config.yaml, is behind, or it has no key."""


class _Attempt:
    """One attempt at a job, as far as it has come. It ends under the settings that it began with."""

    def __init__(self, job_id: str, token: str, begun: Begun, settings: Settings) -> None:
        self.job_id = job_id
        self.token = token
        self.begun = begun
        self.settings = settings
        self.call_at = time.monotonic() + begun.wait_ms / 1000
        self.connection_id = begun.connection
        self.source = ""
        self.request: dict[str, Any] = orjson.loads(begun.request)
        self.chat: Chat | None = None
        self.key: str | None = None
        self.sent = False
        self.latency_s = 0.0
        self.http_status: int | None = None
        self.told: Iterable[LimitTold] = ()
        self.warnings: list[str] = []
        self.teller: Teller | None = None
        self.url = ""
        self.called_ns = 0
        self.completion: Completion | None = None

    @property
    def connection(self) -> Connection:
        """The connection that makes the call. Raises `_NotHere`."""
        found = self.settings.connections.get(self.connection_id)
        if found is None:
            raise _NotHere("this worker's config.yaml has no such connection")
        return found

    def fields(self, **more: Field) -> dict[str, Any]:
        """What every line of the log about it tells, and `more`."""
        begun = self.begun
        return fields(
            job=self.job_id,
            connection=begun.connection,
            batch=begun.batch,
            attempt=begun.attempt,
            model=begun.model,
            **more,
        )

    @property
    def call(self) -> Call | None:
        """Its call, for a trace; None: there was none."""
        if not self.called_ns:
            return None
        ended_ns = self.called_ns + int(self.latency_s * 1e9)
        return Call(self.source, self.url, self.called_ns, ended_ns, self.http_status, self.completion)

    @property
    def took(self) -> CallTook | None:
        """How long its call took, that has ended; None: there was none."""
        return CallTook(self.latency_s, self.begun.wait_ms / 1000) if self.latency_s else None

    async def end_telling(self, *, whole: bool) -> bool:
        """Tell no more of the answer after the last of it, if it is `whole`. Whether the caller may have seen any."""
        if self.teller is None:
            return False
        await _to_the_end(self.teller.end(whole=whole))
        return self.teller.spoke


def _remedy(failure: CallFailed, attempt: _Attempt) -> str:
    """What to do about a failure; a complaint about the order of roles names the mode that would have helped."""
    if failure.code == "invalid_request" and attempt.chat is not None:
        chat = attempt.chat
        mode = helpful_mode(failure.provider_message, chat.messages, has_tools=bool(chat.tools))
        if mode is not None:
            return f"Set post_processing: {mode} for the connection or the job; it puts the messages in that order."
    return failure.remedy_at(attempt.connection)


async def _to_the_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Await `work` even when this coroutine is cancelled meanwhile, however often; says whether it was.

    A call of the ledger whose reply nobody awaits would leave a job that nobody knows of.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while True:
        try:
            return await asyncio.shield(task), cancelled
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True


def _present(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _fragment(data: Mapping[str, Any]) -> bytes:
    """JSON without its braces, as the ledger's scripts compose it."""
    return orjson.dumps(data)[1:-1]


def _where(error: BaseException) -> str:
    """File and line of an error, without its text."""
    traceback = error.__traceback__
    if traceback is None:
        return "an unknown place"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno}"
