"""Batches: opening, filling and sealing them, their results, and what can be done to them meanwhile."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final

from chatq.contract.budget_words import used_up
from chatq.contract.check import unknown_connection
from chatq.contract.errors import (
    BacklogFull,
    BatchOver,
    BudgetUsedUp,
    InvalidJob,
    NothingToRetry,
    UnknownBatch,
    UnknownPrice,
)
from chatq.contract.record import Batch, BatchBudget, JobRecord
from chatq.core.jobs import POLL_S, Jobs, backlog_full, conflict
from chatq.ledger.call_facts import UNKNOWN_PRICE
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import AT_ONCE
from chatq.ledger.replies import Retried
from chatq.steps import Hear, Pause, Steps

BACKLOG_PATIENCE_S: Final = 60.0
"""How long a batch waits for the backlog to shrink before it gives up."""
_BACKLOG_RETRY_S: Final = 2.0
"""The longest that a batch waits before it looks for room again."""
PRICE_PATIENCE_S: Final = 5.0
_PRICE_ASKED_EACH_S: Final = 0.1
_MOST_USD: Final = 1e9
_MOST_TOKENS: Final = 10**12


class Batches(Jobs):
    """What is asked about batches."""

    _counts_dollars: tuple[str, bool] | None = None
    """The batch that was asked about last, and whether it has a budget in dollars."""

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
        for connection, model in dict.fromkeys((entry.connection, entry.model) for entry in entries):
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


def new_batch_id() -> str:
    """A fresh batch id."""
    return f"batch_{secrets.token_hex(12)}"


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
