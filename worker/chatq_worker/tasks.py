"""The Celery tasks: decode, call one function, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Retry
from celery.worker.request import Request

from chatq.contract.dollars import dollars
from chatq.contract.errors import ChatQueueError, ServerError
from chatq.contract.redaction import scrubbed
from chatq.contract.states import State
from chatq.ledger.call_facts import Spent
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq_worker.completion import DROPPED, Completer
from chatq_worker.coroutine_task import CoroutineTask
from chatq_worker.publisher import Publisher
from chatq_worker.status import StatusChecker
from chatq_worker.stopping import StopReasons
from chatq_worker.submission import Submission

COMPLETE = "chatq.complete"
ASK = "chatq.ask"
HEAR = "chatq.hear"
SUBMIT = "chatq.submit"


class _Shown(Exception):
    """An error whose text is all that Flower shows of it."""

    def __init__(self, text: str) -> None:
        super().__init__(scrubbed(text))

    def __repr__(self) -> str:
        return str(self)


class JobFailed(_Shown):
    """How Celery and Flower learn that a job failed; the record has the details."""


class JobWaits(_Shown):
    """How Celery and Flower learn that a job waits again: for a retry, a cool-down, or another worker."""


class JobReport:
    """What Flower shows as a job's result: the repr of `facts`.

    No dict itself: Celery takes one apart for its repr, which takes as long as all else that it does at a job's end.
    """

    __slots__ = ("_facts",)

    def __init__(self, **facts: Any) -> None:
        self._facts = facts

    def __repr__(self) -> str:
        return repr(self._facts)


class Complete(CoroutineTask):
    """Runs a job: `chatq.complete(job id, connection id, token)`, under the job's id as task id."""

    name = COMPLETE
    throws = (JobFailed,)
    ignore_result = True

    def __init__(self, completer: Completer, publisher: Publisher, stops: StopReasons) -> None:
        self._completer = completer
        self._publisher = publisher
        self._stops = stops

    async def execute(self, job_id: str, connection: str, token: str) -> JobReport:
        outcome = await self._completer.complete(
            job_id, token, was_cancelled_by_caller=lambda: self._stops.by_caller(job_id)
        )
        if outcome.admitted:
            self._publisher.publish(outcome.admitted)
        match outcome.state:
            case State.SUCCEEDED:
                spent = outcome.spent or Spent(0, 0, None)
                return JobReport(
                    state=str(outcome.state),
                    prompt_tokens=spent.prompt,
                    completion_tokens=spent.answer,
                    cost=dollars(spent.cost_usd),
                    latency_s=round(outcome.latency_s, 3),
                )
            case State.FAILED:
                raise JobFailed(outcome.reason)
            case State.QUEUED | State.RETRYING:
                raise Retry(outcome.reason, exc=JobWaits(outcome.reason))
            case State.CANCELLED if _was_told_to_stop():
                raise asyncio.CancelledError
            case State.CANCELLED | State.EXPIRED:
                # It came back, after a failed call perhaps, and was not wanted any more.
                raise JobFailed(f"{outcome.state}: {outcome.reason}")
            case _:
                assert outcome.state == DROPPED  # noqa: S101 - for the reader; there is no other
                raise Ignore


def _was_told_to_stop() -> bool:
    """Whether this coroutine was cancelled: Celery takes it for revoked only then."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class WithoutArguments(Request):  # type: ignore[misc]  # celery has no types
    """A request whose arguments are shown to nobody, neither in logs nor to who inspects the worker."""

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._argsrepr, self._kwargsrepr = "(...)", "{}"

    def info(self, safe: bool = False) -> dict[str, Any]:
        shown: dict[str, Any] = super().info(safe=True)
        return shown


class Submit(CoroutineTask):
    """Takes in a job of a Celery client, `chatq.submit(job)`, under the id that the job shall have.

    See `submission.py`.

    Without events: Flower shows the job, whose task has the same id.
    """

    name = SUBMIT
    Request = WithoutArguments
    throws = (JobFailed,)
    ignore_result = True
    send_events = False

    def __init__(self, submission: Submission) -> None:
        self._submission = submission

    @classmethod
    def running_id(cls, task_id: str) -> str:
        return f"{SUBMIT}/{task_id}"

    def work(self, request: Mapping[str, Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
        parent = request.get("traceparent")  # as OpenTelemetry's instrumentation of Celery sends it
        keys = {**request["kwargs"], "traceparent": parent if isinstance(parent, str) else ""}
        return partial(self.execute, *request["args"], **keys)

    async def execute(self, job: object, *, traceparent: str) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the reader
        job_id = task.get_name().removeprefix(f"{SUBMIT}/")
        try:
            await self._submission.submit(job_id, job, traceparent)
        except ChatQueueError as error:
            raise JobFailed(error.code) from None
        return {"state": State.QUEUED}


class Ask(CoroutineTask):
    """Answers a question about a connection: `chatq.ask(question id, kind, connection)`."""

    name = ASK
    ignore_result = True

    def __init__(self, checker: StatusChecker) -> None:
        self._checker = checker

    async def execute(self, question_id: str, kind: str, connection: str) -> dict[str, Any]:
        return {"state": await self._checker.answer(question_id, kind, connection)}


class Hear(CoroutineTask):
    """A message of the worker to itself has come: `chatq.hear(id)`. It concerns no job, and Flower shows it not."""

    name = HEAR
    ignore_result = True
    send_events = False

    def __init__(self, worker: str, ledger: Ledger, server: AsyncServer) -> None:
        self._worker = worker
        self._ledger = ledger
        self._server = server

    async def execute(self, _id: str) -> None:
        try:
            await self._server.run(self._ledger.hear(self._worker))
        except ServerError:
            raise Ignore from None  # the next renewal asks again


def register(app: Celery, *tasks: CoroutineTask) -> None:
    """Make the tasks known to the app."""
    for task in tasks:
        app.register_task(task)
