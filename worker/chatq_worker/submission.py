"""Jobs that Celery clients without our package send: `send_task("chatq.submit", [job], task_id=...)`.

The Celery task id becomes the job's id, and its idempotency key unless it has one; so a message that comes twice makes
one job. Nobody waits for an answer, so a refusal becomes a failed record under that id.
Source: the public interface, section Python.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from chatq.contract.check import check
from chatq.contract.errors import BacklogFull, ChatQueueError, InvalidJob, JobConflict
from chatq.contract.job import Job
from chatq.contract.keys import JOB_ID
from chatq.contract.live_settings import LiveSettings
from chatq.contract.settings import CONNECTION_ID, Settings
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Enqueued
from chatq.ledger.server import AsyncServer
from chatq.traces import Traces


class Submission:
    """Takes in jobs for one worker."""

    def __init__(
        self, *, settings: LiveSettings, ledger: Ledger, server: AsyncServer, traces: Traces | None = None
    ) -> None:
        self._traces = traces
        self._settings = settings
        self._ledger = ledger
        self._server = server

    async def submit(self, job_id: str, data: object, traceparent: str = "") -> None:
        """Enqueue the job. `traceparent`: of who sent it. Raises `ChatQueueError` when it is refused; a record says so
        then, where there is none of that id."""
        if not JOB_ID.fullmatch(job_id):
            raise InvalidJob(
                "The task id cannot be a job's id.", remedy="Send it with a uuid as its task_id."
            )
        try:
            await self._enqueue(job_id, data, traceparent)
        except (InvalidJob, BacklogFull, JobConflict) as error:
            await self._refuse(job_id, data, error)
            raise

    async def _enqueue(self, job_id: str, data: object, traceparent: str) -> None:
        settings = self._settings.current
        if not isinstance(data, Mapping):
            raise InvalidJob(
                "The argument is not a job.", remedy='Send one: [{"connection": ..., "prompt": ...}].'
            )
        job = Job.parse({"idempotency_key": job_id, **data, "id": job_id})
        checked = check(job, settings)
        entries = [Entry.of(job, job_id, checked.request, checked.model, checked.connection.params)]
        traced = None if self._traces is None else self._traces.enqueue(entries, "", traceparent)
        call = self._ledger.enqueue(
            entries if traced is None else traced.entries,
            backlog_jobs=settings.bounds.backlog.jobs,
            backlog_bytes=int(settings.bounds.backlog.bytes),
        )
        try:
            enqueued = await self._server.run(call)
        except ChatQueueError as error:
            if traced is not None:
                traced.failed(error.code)
            raise
        if traced is not None:
            traced.done(enqueued)
        _must_be_taken(enqueued, settings, job_id)

    async def _refuse(self, job_id: str, data: object, error: ChatQueueError) -> None:
        told = {
            "code": error.code,
            "message": error.message,
            "retryable": error.retryable,
            "remedy": error.remedy,
        }
        ending = orjson.dumps({"warnings": [], "error": told})[1:-1]
        await self._server.run(self._ledger.refuse(job_id, _connection(data), ending))


def _must_be_taken(enqueued: Enqueued, settings: Settings, job_id: str) -> None:
    if enqueued.refused is not None:
        raise BacklogFull(
            f"The backlog is full (bounds.backlog allows {settings.bounds.backlog.jobs:,} jobs).",
            remedy="Send it again later, with another id.",
            retry_after_s=enqueued.retry_after_ms / 1000,
        )
    status, known = enqueued.jobs[0]
    if status == "conflict":
        raise JobConflict(
            f"The id, or the idempotency key, belongs to another job already, {known}.",
            remedy="Send the new job with an id and a key of its own.",
        )


def _connection(data: object) -> str:
    """The connection as the record may name it."""
    named = data.get("connection") if isinstance(data, Mapping) else None
    return named if isinstance(named, str) and CONNECTION_ID.fullmatch(named) else ""
