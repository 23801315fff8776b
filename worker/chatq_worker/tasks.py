"""The Celery tasks: decode, call one function, encode."""

from __future__ import annotations

import asyncio
from typing import Any

from celery import Celery
from celery.exceptions import Ignore, Retry

from chatq.contract.errors import ServerError
from chatq.contract.states import State
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq_worker.completion import DROPPED, Completer
from chatq_worker.coroutine_task import CoroutineTask
from chatq_worker.publisher import Publisher
from chatq_worker.status import StatusChecker
from chatq_worker.stopping import StopReasons

COMPLETE = "chatq.complete"
ASK = "chatq.ask"
HEAR = "chatq.hear"


class _Shown(Exception):
    """An error whose text is all that Flower shows of it."""

    def __repr__(self) -> str:
        return str(self)


class JobFailed(_Shown):
    """How Celery and Flower learn that a job failed; the record has the details."""


class JobWaits(_Shown):
    """How Celery and Flower learn that a job waits again: for a retry, a cool-down, or another worker."""


class Complete(CoroutineTask):
    """Runs a job: `chatq.complete(job id, connection id, token)`, under the job's id as task id."""

    name = COMPLETE
    throws = (JobFailed,)
    ignore_result = True

    def __init__(self, completer: Completer, publisher: Publisher, stops: StopReasons) -> None:
        self._completer = completer
        self._publisher = publisher
        self._stops = stops

    async def execute(self, job_id: str, connection: str, token: str) -> dict[str, Any]:
        outcome = await self._completer.complete(
            job_id, token, was_cancelled_by_caller=lambda: self._stops.by_caller(job_id)
        )
        if outcome.admitted:
            self._publisher.publish(outcome.admitted)
        match outcome.state:
            case State.SUCCEEDED:
                prompt_tokens, completion_tokens = outcome.usage or (0, 0)
                return {
                    "state": outcome.state,
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                }
            case State.FAILED:
                raise JobFailed(outcome.reason)
            case State.QUEUED | State.RETRYING:
                raise Retry(outcome.reason, exc=JobWaits(outcome.reason))
            case State.CANCELLED | State.EXPIRED:
                raise asyncio.CancelledError
            case _:
                assert outcome.state == DROPPED  # noqa: S101 - for the reader; there is no other
                raise Ignore


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
