"""What a caller can ask, as steps: see `steps.py`. `client.py` has the two classes that run them."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from chatq.contract.budget_words import used_up
from chatq.contract.check import check, unknown_connection
from chatq.contract.connection_limits import ConnectionLimits, read_limits
from chatq.contract.errors import (
    BacklogFull,
    BatchOver,
    BudgetUsedUp,
    ChatQueueError,
    ConnectionPaused,
    InvalidJob,
    JobConflict,
    JobNotFinal,
    NothingToRetry,
    NoWorker,
    UnknownBatch,
    UnknownConnection,
    UnknownJob,
    UnknownPrice,
    WaitTimeout,
)
from chatq.contract.job import Job
from chatq.contract.record import Batch, BatchBudget, JobRecord, rfc3339
from chatq.contract.settings import Backlog, Settings
from chatq.contract.spending import read_spending
from chatq.contract.states import State
from chatq.contract.status import ModelList, StatusOutcome, StatusState
from chatq.contract.why import START_A_WORKER, Why, explained
from chatq.ledger.call_facts import UNKNOWN_PRICE
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import AT_ONCE, Ledger
from chatq.ledger.overview import Overview
from chatq.ledger.readiness import hindrances, is_ready
from chatq.ledger.replies import Enqueued, Retried
from chatq.steps import Hear, Pause, Steps
from chatq.traces import traces

POLL_S: Final = 10.0
"""How often a wait looks at the record although nothing was announced. One who may have missed something is told so."""
PAUSED_S: Final = 1.0
"""How often one looks who does not wait through pauses: they are not announced."""
SETTINGS_AGE_S: Final = 5.0
ASK_AGAIN_S: Final = 10.0
TEST_PROMPT: Final = "Answer with the single word: ready"
TEST_TOKENS: Final = 64
"""Enough for a short answer of a model that reasons a little first."""
_BACKLOG_RETRY_S: Final = 2.0
"""The longest that a batch waits before it looks for room again."""
PRICE_PATIENCE_S: Final = 5.0
_PRICE_ASKED_EACH_S: Final = 0.1
_MOST_USD: Final = 1e9
_MOST_TOKENS: Final = 10**12
BACKLOG_PATIENCE_S: Final = 60.0
"""How long a batch waits for the backlog to shrink before it gives up."""


class Core:
    """The caller's questions to the ledger.

    `settings`: those that hold, or what tells those that hold now; with None the connections are those that the workers
    have published.
    """

    def __init__(self, *, settings: Settings | Callable[[], Settings] | None, prefix: str) -> None:
        self._given = settings
        self._published: Settings | None = None
        self._published_at = 0.0
        self._counts_dollars: tuple[str, bool] | None = None
        self._traces = traces()
        self.ledger = Ledger(prefix)

    # Settings and jobs

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
        return Entry(job, job.id or new_job_id(), checked.request, checked.model, checked.connection.params)

    # One job

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

    # Batches

    def open_batch(
        self,
        metadata: Mapping[str, str],
        *,
        batch_id: str | None = None,
        retry_of: str = "",
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> Steps[str]:
        """A new, empty batch; its id. One of this `batch_id` that is there already stays as it is.

        Raises `InvalidJob` for budgets that are none.
        """
        _check_budgets(max_cost, max_tokens)
        settings = yield from self.settings()
        batch_id = batch_id or new_batch_id()
        yield self.ledger.open_batch(
            batch_id,
            metadata,
            settings.results.keep,
            retry_of=retry_of,
            max_cost_usd=max_cost,
            max_tokens=max_tokens,
        )
        return batch_id

    def must_be_priced(self, batch_id: str, entries: Sequence[Entry]) -> Steps[None]:
        """Raises `UnknownPrice` when the batch has a budget in dollars, and the workers say that nobody knows what one
        of the models costs.

        Nothing is said where no worker does within `PRICE_PATIENCE_S`: then it is found when a job is to go.
        """
        if self._counts_dollars is None or self._counts_dollars[0] != batch_id:
            data = yield self.ledger.read_batch(batch_id)
            budget = None if data is None else Batch.model_validate_json(data).budget
            self._counts_dollars = (batch_id, budget is not None and budget.max_cost_usd is not None)
        if not self._counts_dollars[1]:
            return
        deadline = time.monotonic() + PRICE_PATIENCE_S
        for connection, model in dict.fromkeys((entry.job.connection, entry.model) for entry in entries):
            while (price := (yield self.ledger.price(connection, model))) == "":
                if time.monotonic() > deadline:
                    return
                yield Pause(_PRICE_ASKED_EACH_S)
            if price == UNKNOWN_PRICE:
                raise UnknownPrice(
                    f"Nobody knows what calls of {model} on connection {connection} cost, and the batch has a "
                    "max_cost.",
                    remedy="Give the connection a price (input_per_million, output_per_million) in config.yaml, or "
                    "leave max_cost out (max_tokens needs no price).",
                )

    def add_to_batch(self, batch_id: str, entries: Sequence[Entry]) -> Steps[None]:
        """Enqueue a chunk of a batch, in smaller parts while the backlog has no room for the whole.

        Raises `JobConflict` for a `custom_id` that stands for another job of the batch, `BacklogFull` when
        there has been no room for a single one in `BACKLOG_PATIENCE_S`. To be asked before: `must_be_priced`.
        """
        deadline = time.monotonic() + BACKLOG_PATIENCE_S
        while entries:
            part = entries
            while True:
                try:
                    enqueued = yield from self._enqueue(part, batch_id)
                    break
                except BacklogFull as error:
                    if len(part) > 1:
                        part = part[: len(part) // 2]
                        continue
                    if time.monotonic() > deadline:
                        raise
                    yield Pause(min(error.retry_after_s, _BACKLOG_RETRY_S))
                    part = entries
            if enqueued.refused == "no_batch":
                raise UnknownBatch(
                    f"Batch {batch_id} takes no more jobs: it was sealed, cancelled or deleted.",
                    remedy="Make a new batch for the rest.",
                )
            for entry, (status, job_id) in zip(part, enqueued.jobs, strict=True):
                if status == "conflict":
                    raise conflict(entry, job_id)
            entries = entries[len(part) :]
            deadline = time.monotonic() + BACKLOG_PATIENCE_S

    def seal(self, batch_id: str) -> Steps[Batch]:
        """Say that no more jobs come. Raises `UnknownBatch`."""
        yield self.ledger.seal(batch_id)
        return (yield from self.batch(batch_id))

    def batch(self, batch_id: str) -> Steps[Batch]:
        """A batch with its counts now. Raises `UnknownBatch`."""
        data = yield self.ledger.read_batch(batch_id)
        if data is None:
            raise unknown_batch(batch_id)
        return Batch.model_validate_json(data)

    def cancel_batch(self, batch_id: str) -> Steps[Batch]:
        """Cancel what is not final of a batch. Raises `UnknownBatch`."""
        while True:
            answer = yield self.ledger.cancel_batch(batch_id)
            if answer == "unknown":
                raise unknown_batch(batch_id)
            if answer != "more":
                return (yield from self.batch(batch_id))

    def give_up_batch(self, batch_id: str) -> Steps[None]:
        """Delete an open batch that nothing came into; cancel another."""
        if not (yield self.ledger.drop_batch(batch_id)):
            yield from self.cancel_batch(batch_id)

    def batches(self, most: int) -> Steps[list[Batch]]:
        """The batches that were made last, the newest first."""
        found = yield self.ledger.list_batches(most)
        return [Batch.model_validate_json(batch) for batch in found]

    def pause_batch(self, batch_id: str) -> Steps[Batch]:
        """Begin no more of a batch until it is resumed. Raises `UnknownBatch`, `BatchOver`."""
        answer = yield self.ledger.pause_batch(batch_id)
        return (yield from self._changed(batch_id, answer))

    def resume_batch(
        self, batch_id: str, *, max_cost: float | None = None, max_tokens: int | None = None
    ) -> Steps[Batch]:
        """Go on with a paused batch, with other budgets if they are given. Raises `UnknownBatch`, `BatchOver`,
        `BudgetUsedUp`, `InvalidJob`."""
        _check_budgets(max_cost, max_tokens)
        answer = yield self.ledger.resume_batch(batch_id, max_cost_usd=max_cost, max_tokens=max_tokens)
        batch = yield from self._changed(batch_id, answer)
        if answer == "used_up" and (told := used_up(batch)) is not None:
            raise BudgetUsedUp(f"Batch {batch_id} does not go on: {told[0]}.", remedy=told[1])
        return batch

    def move_batch(self, batch_id: str, connection: str, model: str | None) -> Steps[Batch]:
        """Move what is not final of a batch to another connection.

        `model`: default: that connection's. Raises `UnknownBatch`, `BatchOver`, `UnknownConnection`, `InvalidJob`.
        """
        settings = yield from self.settings(fresh=True)
        if connection not in settings.connections:
            raise unknown_connection(connection, settings)
        model = model or settings.connections[connection].model
        if not model:
            raise InvalidJob(
                f"Connection {connection} has no default model, and none was named.",
                remedy="Name the model that the batch shall go on with.",
            )
        answer = "more"
        while answer == "more":
            answer = yield self.ledger.move_batch(batch_id, connection, model)
        return (yield from self._changed(batch_id, answer))

    def _changed(self, batch_id: str, answer: str) -> Steps[Batch]:
        if answer == "unknown":
            raise unknown_batch(batch_id)
        if answer in {"ended", "cancelled"}:
            raise BatchOver(
                f"Batch {batch_id} {'has ended' if answer == 'ended' else 'was cancelled'}.",
                remedy="Nothing of it waits; chatq batch retry tries its failed jobs again.",
            )
        return (yield from self.batch(batch_id))

    def retry_batch(
        self,
        batch_id: str,
        code: str | None,
        connection: str | None,
        *,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        new_id: str | None = None,
    ) -> Steps[Batch]:
        """Try the failed jobs of a batch again, as a new batch; that. Raises `UnknownBatch`, `BacklogFull`,
        `BudgetUsedUp`, `NothingToRetry`.

        `new_id`: of the new batch; where it is there already, and takes jobs still, it takes those that are left.

        When the backlog fills up on the way, the new batch has those that found room; asking again takes the rest.
        """
        old = yield from self.batch(batch_id)
        if not old.counts.failed:
            raise nothing_to_retry(batch_id, code, connection)
        if old.budget is not None:
            max_cost, max_tokens = _left_of(old, old.budget, max_cost, max_tokens)
        new_id = yield from self.open_batch(
            old.metadata, batch_id=new_id, retry_of=batch_id, max_cost=max_cost, max_tokens=max_tokens
        )
        try:
            yield from self._retry(batch_id, new_id, code, connection)
        except BacklogFull:
            yield self.ledger.seal(new_id)
            raise
        if (yield self.ledger.drop_batch(new_id)):
            raise nothing_to_retry(batch_id, code, connection)
        return (yield from self.seal(new_id))

    def retry_failed(self, code: str | None, connection: str | None) -> Steps[int]:
        """Try the failed jobs that are in no batch again, as new jobs; their number. Raises `BacklogFull`."""
        return (yield from self._retry("", "", code, connection))

    def _retry(self, batch_id: str, new_id: str, code: str | None, connection: str | None) -> Steps[int]:
        backlog = (yield from self.settings()).bounds.backlog
        deadline = time.monotonic() + BACKLOG_PATIENCE_S
        count, cursor, most = 0, 0, AT_ONCE
        while True:
            retried: Retried = yield self.ledger.retry_failed(
                batch_id,
                new_id,
                cursor,
                backlog_jobs=backlog.jobs,
                backlog_bytes=int(backlog.bytes),
                code=code or "",
                connection=connection or "",
                most=most,
            )
            if retried.refused == "no_batch":
                raise unknown_batch(batch_id)
            if retried.refused == "full":
                if most > 1:
                    most //= 2
                    continue
                if time.monotonic() > deadline:
                    raise backlog_full(backlog, retried)
                yield Pause(min(retried.retry_after_ms / 1000, _BACKLOG_RETRY_S))
                most = AT_ONCE
                continue
            count += len(retried.jobs)
            deadline = time.monotonic() + BACKLOG_PATIENCE_S
            if retried.cursor is None:
                return count
            cursor = retried.cursor

    def let_go(self, batch_id: str, job_ids: Sequence[str]) -> Steps[int]:
        """Delete final jobs of a batch that did not fail; how many were there."""
        count: int = yield self.ledger.let_go(batch_id, job_ids)
        return count

    def results(
        self, batch_id: str, cursor: int, *, follow: bool, in_order: bool = False, wait_s: float = POLL_S
    ) -> Steps[tuple[int, bool, list[JobRecord]]]:
        """(next cursor, whether no more will come, records). With `follow` it waits until there is something, or
        `wait_s` are over.

        Raises `UnknownBatch`.
        """
        channel = self.ledger.keys.batch_done(batch_id)
        for listen_s in (None, 0.0, wait_s):
            if listen_s is not None:
                yield Hear(channel, listen_s)
            page = yield self.ledger.results(batch_id, cursor, in_order=in_order)
            if page is None:
                raise unknown_batch(batch_id)
            cursor, over, records = page
            if records or over or not follow:
                break
        return cursor, over, [JobRecord.model_validate_json(record) for record in records]

    # Connections

    def _ask(self, kind: str, connection: str, timeout: float) -> Steps[bytes]:
        """The answer of a worker. Raises `UnknownConnection`, `NoWorker`, `WaitTimeout` after `timeout` seconds."""
        yield from self._known(connection)
        question_id = new_job_id()
        question = orjson.dumps({"id": question_id, "kind": kind, "connection": connection})
        channel = self.ledger.keys.answered(question_id)
        deadline = time.monotonic() + timeout
        ask_again_at = 0.0
        yield Hear(channel, 0)
        while True:
            if time.monotonic() >= ask_again_at:
                # Whoever took the question may have died with it; asking twice costs one more check.
                if not (yield self.ledger.ask(question)):
                    raise NoWorker(
                        f"No worker is alive that could be asked about connection {connection}.",
                        remedy=START_A_WORKER,
                    )
                ask_again_at = time.monotonic() + ASK_AGAIN_S
            answer = yield self.ledger.answered(question_id)
            if answer is not None:
                return answer  # type: ignore[no-any-return]
            left = min(POLL_S, deadline - time.monotonic())
            if left <= 0:
                raise WaitTimeout(
                    f"No worker answered about connection {connection} within {timeout:g} s.",
                    remedy="Ask again with a longer timeout; see the workers' log if it stays silent.",
                )
            yield Hear(channel, left)

    def check(self, connection: str, timeout: float) -> Steps[StatusOutcome]:
        """Have a worker check a connection; the outcome. Raises as `_ask`."""
        return StatusOutcome.model_validate_json((yield from self._ask("check", connection, timeout)))

    def status(self, connection: str) -> Steps[StatusOutcome]:
        """The last outcome, not asked anew; state `unknown` when it was never checked. Raises `UnknownConnection`."""
        settings = yield from self.settings()
        if connection not in settings.connections:
            raise unknown_connection(connection, settings)
        (outcome,) = yield self.ledger.statuses([connection])
        if outcome is not None:
            return StatusOutcome.model_validate_json(outcome)
        return StatusOutcome(
            connection=connection,
            source=settings.connections[connection].source,
            state=StatusState.UNKNOWN,
            models=[],
            message="The connection was never checked.",
            remedy=f"Check it: chatq connections check {connection}",
        )

    def key_facts(self) -> Steps[dict[str, str]]:
        """For each connection what the leading worker says of its key: `none`, `set`, `missing`, or its end `...1234`.

        Empty when no worker ever led.
        """
        data = yield self.ledger.published()
        return {} if data is None else dict(orjson.loads(data).get("keys", {}))

    def model_list(self, connection: str, timeout: float) -> Steps[ModelList]:
        """The models that a connection offers; the worker asks the source when it knows no recent list. Raises as
        `_ask`."""
        answer = orjson.loads((yield from self._ask("models", connection, timeout)))
        return ModelList(tuple(answer["models"]), datetime.fromisoformat(answer["fetched_at"]))

    def test_message(
        self, connection: str, timeout: float, *, model: str | None = None, tenant: str | None = None
    ) -> Steps[JobRecord]:
        """Send one short message down the path of every job; the final record. `model`: default: the connection's.
        `tenant`: whose job it is.

        Raises as `enqueue` and `wait`; and `ConnectionPaused`, when the message was cancelled because it would wait for
        a paused connection.
        """
        job = Job(
            connection=connection,
            model=model,
            tenant=tenant,
            prompt=TEST_PROMPT,
            params={"max_tokens": TEST_TOKENS},
            priority=9,
            metadata={"made_by": "test message"},
        )
        record = yield from self.enqueue(job)
        try:
            return (yield from self.wait(record.id, timeout, through_pauses=False))
        except ConnectionPaused as paused:
            record = yield from self.cancel(record.id)
            if record.state is State.CANCELLED:
                raise ConnectionPaused(
                    f"{paused.message} The test message was cancelled.",
                    remedy=paused.remedy,
                    connection=connection,
                ) from None
        return (yield from self.wait(record.id, timeout))

    def _known(self, connection: str) -> Steps[None]:
        """Raises `UnknownConnection` unless the settings, ours or the latest published, have the connection."""
        settings = yield from self.settings()
        if connection not in settings.connections:
            settings = yield from self.settings(fresh=True)
        if connection not in settings.connections:
            raise unknown_connection(connection, settings)

    def pause(self, connection: str, message: str) -> Steps[None]:
        """Pause a connection until it is resumed. Raises `UnknownConnection`."""
        yield from self._known(connection)
        yield self.ledger.pause(connection, message=message)

    def resume(self, connection: str) -> Steps[bool]:
        """Resume a connection; False when it was not paused. Raises `UnknownConnection`."""
        yield from self._known(connection)
        return bool((yield self.ledger.resume(connection)))

    def limits(self, connection: str) -> Steps[ConnectionLimits]:
        """What limits a connection's calls, and how much of it is used now. Raises `UnknownConnection`."""
        yield from self._known(connection)
        pause, spending, lanes = yield self.ledger.limits(connection)
        return read_limits(connection, pause, spending, lanes)

    # The whole

    def overview(self) -> Steps[dict[str, Any]]:
        """The status of the whole, as the interface says. Beyond that, `ready`: whether jobs that may go do go,
        `hindrances`: what keeps them from it, and `elsewhere`: how many jobs wait for connections that the settings do
        not have; and of each connection: `next_probe_at` (of an open breaker), `served_by` (itself, or the
        fallback that stands in; None when it is paused and none does), `without_key` (the workers that cannot read its
        key), and `spending`: see `contract/spending.py`."""
        settings = yield from self.settings()
        names = list(settings.connections)
        overview: Overview = yield self.ledger.overview(names)
        outcomes = yield self.ledger.statuses(names)
        states = {
            name: orjson.loads(outcome)["state"] if outcome else str(StatusState.UNKNOWN)
            for name, outcome in zip(names, outcomes, strict=True)
        }
        return {
            "ready": is_ready(overview),
            "hindrances": [hindrance._asdict() for hindrance in hindrances(overview)],
            "workers": len(overview.workers),
            "slots": sum(worker.slots for worker in overview.workers),
            "running": sum(facts.running for facts in overview.connections.values()),
            "waiting": sum(facts.queued for facts in overview.connections.values()),
            "elsewhere": overview.elsewhere,
            "config_problems": overview.told("config_problems"),
            "needs_restart": overview.told("needs_restart"),
            "connections": {
                name: {
                    "source": settings.connections[name].source,
                    "waiting": facts.queued,
                    "running": facts.running,
                    "paused": None if facts.pause is None else orjson.loads(facts.pause),
                    "cooling_until": _moment(facts.cooling_until_ms),
                    "breaker": facts.breaker,
                    "next_probe_at": _moment(facts.next_probe_ms),
                    "served_by": facts.served_by,
                    "status": states[name],
                    "without_key": overview.without_key(name),
                    "spending": read_spending(facts.spending).model_dump(mode="json"),
                }
                for name, facts in overview.connections.items()
            },
        }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(datetime.fromtimestamp(ms / 1000, UTC))


def _check_budgets(max_cost: float | None, max_tokens: int | None) -> None:
    """Raises `InvalidJob` for what is no budget."""
    if max_cost is not None and not 0 < max_cost <= _MOST_USD:
        raise InvalidJob(
            f"max_cost is {max_cost}; expected more than 0 US dollars, and at most {_MOST_USD:,.0f}.",
            remedy="Name what the batch may cost, or leave it out: then nothing holds it.",
        )
    if max_tokens is not None and (isinstance(max_tokens, float) or not 0 < max_tokens <= _MOST_TOKENS):
        raise InvalidJob(
            f"max_tokens is {max_tokens}; expected a whole number from 1 to {_MOST_TOKENS:,}.",
            remedy="Name how many tokens the batch may take, or leave it out: then nothing holds it.",
        )


def _left_of(
    batch: Batch, budget: BatchBudget, max_cost: float | None, max_tokens: int | None
) -> tuple[float | None, int | None]:
    """Budgets for what is tried again of a batch: what is left of its own, where no others are named."""
    if max_cost is None and budget.max_cost_usd is not None:
        max_cost = budget.max_cost_usd - (batch.cost_usd or 0) - budget.maybe_charged_usd
    if max_tokens is None and budget.max_tokens is not None:
        max_tokens = budget.max_tokens - batch.usage.total_tokens - budget.maybe_charged_tokens
    for name, left in (("max_cost", max_cost), ("max_tokens", max_tokens)):
        if left is not None and left <= 0:
            raise BudgetUsedUp(
                f"Nothing is left of the {name} of batch {batch.id} to try its failed jobs again with.",
                remedy=f"Name a budget for them: chatq batch retry {batch.id} --{name.replace('_', '-')} N",
            )
    return max_cost, max_tokens


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


def new_batch_id() -> str:
    """A fresh batch id."""
    return f"batch_{secrets.token_hex(12)}"


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
    job = entry.job
    if job.idempotency_key:
        what = f'The idempotency key "{job.idempotency_key}"'
    elif job.custom_id:
        what = f'The custom_id "{job.custom_id}"'
    else:
        what = f"The id {entry.id}"
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


def nothing_to_retry(batch_id: str, code: str | None = None, connection: str | None = None) -> NothingToRetry:
    """None of its jobs is left to try again; `code`, `connection`: of those that were meant."""
    named = {"with the error": code, "of connection": connection}
    meant = "".join(f" {words} {name}" for words, name in named.items() if name)
    return NothingToRetry(
        f"Of batch {batch_id} no job{meant} has failed that was not tried again already.",
        remedy=f"See how its jobs ended: chatq batch results {batch_id}",
    )


def unknown_batch(batch_id: str) -> UnknownBatch:
    """No such batch."""
    return UnknownBatch(
        f"There is no batch {batch_id!r:.140}.",
        remedy="Check the id and the Redis it was enqueued on; finished batches are deleted after results.keep.",
    )
