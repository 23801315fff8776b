"""One job: enqueueing it, asking about it, waiting for it; and the settings that hold for the caller."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from chatq.contract.check import check
from chatq.contract.errors import (
    BacklogFull,
    ChatQueueError,
    ConnectionPaused,
    JobConflict,
    JobNotFinal,
    UnknownConnection,
    UnknownJob,
    WaitTimeout,
)
from chatq.contract.job import Job
from chatq.contract.record import JobRecord
from chatq.contract.settings import Backlog, Settings
from chatq.contract.states import State
from chatq.contract.why import Why, explained
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Enqueued, Retried
from chatq.steps import Hear, Steps
from chatq.traces import traces

POLL_S: Final = 10.0
"""How often a wait looks at the record although nothing was announced. One who may have missed something is told so."""
PAUSED_S: Final = 1.0
"""How often one looks who does not wait through pauses: they are not announced."""
SETTINGS_AGE_S: Final = 5.0


class Jobs:
    """What is asked about one job. `settings` as in `Core`."""

    def __init__(self, *, settings: Settings | Callable[[], Settings] | None, prefix: str) -> None:
        self._given = settings
        self._published: Settings | None = None
        self._published_at = 0.0
        self._traces = traces()
        self.ledger = Ledger(prefix)

    def settings(self, *, fresh: bool = False) -> Steps[Settings]:
        """The settings that hold for this caller. Raises `UnknownConnection` when no worker published any yet."""
        if (at_hand := self._at_hand()) is not None:
            return at_hand
        age = time.monotonic() - self._published_at
        if self._published is None or age > SETTINGS_AGE_S or (fresh and age > 0.2):
            data = yield self.ledger.published()
            if data is None:
                raise UnknownConnection(
                    "No worker has published its connections on this Redis yet.",
                    remedy="Start a worker (chatq worker), or give ChatQueue the config.yaml.",
                )
            self._published = Settings.from_public(orjson.loads(data))
            self._published_at = time.monotonic()
        return self._published

    def _at_hand(self) -> Settings | None:
        """The settings that this caller was given."""
        return self._given() if callable(self._given) else self._given

    def entry(self, job: Job) -> Steps[Entry]:
        """A job made ready: held against its connection. Raises `InvalidJob`."""
        # Of a million jobs each comes here, and a generator within a generator is not for nothing.
        settings = self._at_hand() or (yield from self.settings())
        if job.connection not in settings.connections:
            settings = yield from self.settings(fresh=True)
        checked = check(job, settings)
        return Entry.of(
            job, job.id or new_job_id(), checked.request, checked.model, checked.connection.params
        )

    def enqueue(self, job: Job, *, traceparent: str = "") -> Steps[JobRecord]:
        """Enqueue one job; its record. `traceparent`: of who asked for it. Raises `InvalidJob`, `JobConflict`,
        `BacklogFull`, `ServerError`."""
        entry = yield from self.entry(job)
        enqueued = yield from self._enqueue([entry], traceparent=traceparent)
        status, job_id = enqueued.jobs[0]
        if status == "same":
            return (yield from self.get(job_id))
        if status == "conflict":
            raise conflict(entry, job_id)
        return JobRecord(
            id=job_id,
            connection=job.connection,
            state=State.QUEUED,
            attempts=[],
            created_at=datetime.fromtimestamp(enqueued.now_ms / 1000, UTC),
            started_at=None,
            finished_at=None,
            custom_id=job.custom_id,
            tenant=job.tenant,
            metadata=job.metadata,
        )

    def _enqueue(
        self, entries: Sequence[Entry], batch_id: str = "", traceparent: str = ""
    ) -> Steps[Enqueued]:
        settings = yield from self.settings()
        backlog = settings.bounds.backlog
        traced = None
        if self._traces is not None:
            traced = self._traces.enqueue(entries, batch_id, traceparent)
            entries = traced.entries
        enqueued: Enqueued
        try:
            enqueued = yield self.ledger.enqueue(
                entries, backlog_jobs=backlog.jobs, backlog_bytes=int(backlog.bytes), batch_id=batch_id
            )
        except ChatQueueError as error:
            if traced is not None:
                traced.failed(error.code)
            raise
        if traced is not None:
            traced.done(enqueued)
        if enqueued.refused == "full":
            raise backlog_full(backlog, enqueued)
        return enqueued

    def get(self, job_id: str) -> Steps[JobRecord]:
        """The record of a job now. Raises `UnknownJob`."""
        (record,) = yield self.ledger.read([job_id])
        if record is None:
            raise unknown_job(job_id)
        return JobRecord.model_validate_json(record)

    def why(self, job_id: str) -> Steps[Why]:
        """Why a job does not run now. Raises `UnknownJob`."""
        facts = yield self.ledger.why(job_id)
        if facts is None:
            raise unknown_job(job_id)
        return explained(job_id, facts)

    def wait(self, job_id: str, timeout: float | None, *, through_pauses: bool = True) -> Steps[JobRecord]:
        """The final record of a job. Raises `UnknownJob`, `WaitTimeout` after `timeout` seconds; without
        `through_pauses`, `ConnectionPaused` when the job is seen to wait for a paused connection."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll_s = POLL_S if through_pauses else PAUSED_S
        channel = self.ledger.keys.done(job_id)
        yield Hear(channel, 0)
        while True:
            record = yield from self.get(job_id)
            if record.final:
                return record
            left = poll_s if deadline is None else min(poll_s, deadline - time.monotonic())
            if left <= 0:
                why = yield from self.why(job_id)
                raise WaitTimeout(
                    f"Job {job_id} is {record.state} after {timeout:g} s. {one_line(why.message)}",
                    remedy=f"{why.remedy or 'It goes on.'} Wait or get it again; or ask: chatq why {job_id}",
                )
            heard = yield Hear(channel, left)
            if not heard and not through_pauses:
                yield from self._not_behind_a_pause(job_id)

    def _not_behind_a_pause(self, job_id: str) -> Steps[None]:
        """Raises `ConnectionPaused` when the job waits for a paused connection."""
        why = yield from self.why(job_id)
        if why.reason == "paused":
            message = f"Job {job_id} waits. {one_line(why.message)}"
            raise ConnectionPaused(message, remedy=why.remedy or "", connection=why.connection)

    def deltas(self, job_id: str, position: int) -> Steps[tuple[int, bool, list[list[dict[str, Any]]]]]:
        """(next position, whether no more will come, deltas) of a job's answer. It waits until there is something, or
        `POLL_S` are over. A delta is a list of choices as in OpenAI's chunks.

        Raises `UnknownJob`.
        """
        channel = self.ledger.keys.done(job_id)
        for listen_s in (None, 0.0, POLL_S):
            if listen_s is not None:
                yield Hear(channel, listen_s)
            page = yield self.ledger.deltas(job_id, position)
            if page is None:
                raise unknown_job(job_id)
            next_position, over, deltas = page
            if deltas or over:
                break
        return next_position, over, [orjson.loads(delta) for delta in deltas]

    def cancel(self, job_id: str) -> Steps[JobRecord]:
        """Cancel a job; its record now. A running one is final when its worker has stopped it.

        Raises `UnknownJob`. A final job stays as it is.
        """
        if (yield self.ledger.cancel(job_id)) == "unknown":
            raise unknown_job(job_id)
        return (yield from self.get(job_id))

    def delete(self, job_id: str) -> Steps[None]:
        """Delete a final job's data now. Raises `UnknownJob`, `JobNotFinal`."""
        answer = yield self.ledger.delete(job_id)
        if answer == "unknown":
            raise unknown_job(job_id)
        if answer != "deleted":
            raise JobNotFinal(f"Job {job_id} is {answer}.", remedy="Cancel it, or wait until it is final.")


def one_line(sentences: str) -> str:
    """Sentences that stand one a line."""
    return sentences.replace("\n", " ")


def backlog_full(allowed: Backlog, found: Enqueued | Retried) -> BacklogFull:
    """No room for more."""
    wait_s = math.ceil(found.retry_after_ms / 1000)
    return BacklogFull(
        f"The backlog is full: {found.backlog_jobs:,} jobs and {found.backlog_bytes:,} bytes wait or run "
        f"(bounds.backlog allows {allowed.jobs:,} and {int(allowed.bytes):,}). Nothing was enqueued.",
        remedy=f"Try again in {wait_s} s, or raise bounds.backlog in config.yaml.",
        retry_after_s=wait_s,
    )


_fresh_ids: Final[list[str]] = []
os.register_at_fork(after_in_child=_fresh_ids.clear)


def new_job_id() -> str:
    """A fresh job id: 128 random bits. They are drawn by hundreds, because each draw lets go of the interpreter."""
    while True:
        try:
            return _fresh_ids.pop()
        except IndexError:
            drawn = os.urandom(16 * 256).hex()
            _fresh_ids.extend(drawn[start : start + 32] for start in range(0, len(drawn), 32))


def conflict(entry: Entry, job_id: str) -> ChatQueueError:
    """The id, idempotency key or custom_id of `entry` is another job's."""
    if entry.idempotency_key:
        what = f'The idempotency key "{entry.idempotency_key}"'
    elif entry.custom_id:
        what = f'The custom_id "{entry.custom_id}"'
    else:
        what = "The id"
    return JobConflict(
        f"{what} belongs to another job already, {job_id}; only the same job may be enqueued under it again.",
        remedy="Give the new job a key or id of its own.",
    )


def unknown_job(job_id: str) -> UnknownJob:
    """No such job."""
    return UnknownJob(
        f"There is no job {job_id!r:.140}.",
        remedy="Check the id and the Redis it was enqueued on; finished jobs are deleted after results.keep.",
    )
