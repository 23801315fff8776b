"""Batches as the page shows them: those that this front made, and, to who sees everything, those of the command and of
`ChatQueue` too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from chatq.contract.budget_words import amount, used_up
from chatq.contract.errors import UnknownBatch
from chatq.contract.record import Batch
from chatq.http.access import Caller
from chatq.http.batch_store import ENDED, BatchRecord
from chatq.http.errors import NotFound
from chatq.http.front import Front
from chatq.http.page.batch_pace import BatchPace
from chatq.http.page.connection_view import Tone

MOST: Final = 50
"""Batches on a page."""
_TONES: Final[Mapping[str, Tone]] = {
    "completed": "good",
    "running": "good",
    "ended": "good",
    "finalizing": "good",
    "paused": "off",
    "cancelled": "off",
    "budget used up": "warn",
    "being cancelled": "warn",
    "expired": "warn",
    "failed": "bad",
}


@dataclass(frozen=True, slots=True)
class BatchView:
    """One batch."""

    id: str
    state: str
    created_at: datetime
    ended_at: datetime | None
    total: int
    succeeded: int
    failed: int
    others: int
    """Cancelled or expired."""
    running: int
    waiting: int
    rate: float | None
    """Jobs a second; None: not known, or it has ended."""
    tokens: int
    cost_usd: float | None
    uncosted: int
    budgets: Sequence[str]
    used_up: tuple[str, str] | None
    """What of its budgets is used up, and the remedy."""
    metadata: Mapping[str, str]
    errors: Sequence[Mapping[str, Any]]
    """Of lines that were refused: `line`, `code`, `message`."""
    has_output: bool
    has_errors: bool
    retry_of: str | None
    of_front: bool
    can_pause: bool
    can_resume: bool
    can_cancel: bool
    can_retry: bool

    @property
    def tone(self) -> Tone:
        return _TONES.get(self.state, "off")

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.others

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done, if it goes on like this."""
        if self.is_over or not self.rate or self.done >= self.total:
            return None
        return (self.total - self.done) / self.rate

    @property
    def cost_in_all_usd(self) -> float | None:
        """What it will have cost, if the rest costs what was done on average."""
        if self.is_over or self.cost_usd is None or not self.succeeded:
            return None
        return self.cost_usd / self.succeeded * self.total


async def batches(front: Front, caller: Caller, pace: BatchPace) -> list[BatchView]:
    """Those that are the caller's, the newest first."""
    records, _ = await asyncio.to_thread(front.batches.page, caller, after=None, limit=MOST)
    kept: dict[str, Batch] = {}
    if caller.sees_all:
        kept = {batch.id: batch for batch in await front.ask(front.core.batches(MOST))}
    views = []
    for record in records:
        batch = kept.pop(record.id, None)
        if batch is None and record.status not in ENDED:
            batch = await _kept(front, record.id)
        views.append(_view(record, batch, pace))
    views += [_view(None, batch, pace) for batch in kept.values()]
    return sorted(views, key=lambda view: view.created_at, reverse=True)[:MOST]


async def batch(front: Front, caller: Caller, pace: BatchPace, batch_id: str) -> BatchView:
    """One of them. Raises `NotFound`."""
    record = await record_of(front, caller, batch_id)
    found = await _kept(front, batch_id)
    if record is None and found is None:
        raise _no_batch(batch_id)
    return _view(record, found, pace)


async def record_of(front: Front, caller: Caller, batch_id: str) -> BatchRecord | None:
    """A batch of this front that is the caller's; None: it is none of this front, and the caller sees everything.

    Raises `NotFound`.
    """
    try:
        return await asyncio.to_thread(front.batches.get, batch_id, caller)
    except NotFound:
        if caller.sees_all:
            return None
        raise _no_batch(batch_id) from None


def _no_batch(batch_id: str) -> NotFound:
    return NotFound(
        f"There is no batch {batch_id!r:.80}.",
        remedy="Check the id; batches are forgotten after results.keep.",
    )


async def _kept(front: Front, batch_id: str) -> Batch | None:
    try:
        return await front.ask(front.core.batch(batch_id))
    except UnknownBatch:
        return None


def _view(record: BatchRecord | None, batch: Batch | None, pace: BatchPace) -> BatchView:
    counts = None if batch is None else batch.counts
    ended_at = _ended_at(record, batch)
    if counts is not None and batch is not None:
        total = max(counts.total, 0 if record is None or ended_at else record.total)
        succeeded, failed = counts.succeeded, counts.failed
        others = counts.cancelled + counts.expired
        running, waiting = counts.running, counts.queued
        tokens, cost, uncosted = batch.usage.total_tokens, batch.cost_usd, batch.uncosted
        metadata, budget, told = batch.metadata, batch.budget, used_up(batch)
    else:
        assert record is not None  # noqa: S101 - there is one of the two
        total, succeeded, failed = record.total, record.completed, record.failed
        others = total - succeeded - failed if record.status in ENDED else 0
        running = 0
        waiting = total - succeeded - failed - others
        tokens = 0 if record.usage is None else record.usage["total_tokens"]
        cost, metadata, budget, told = record.cost_usd, record.metadata, None, None
        uncosted = record.completed if cost is None else 0
    budgets = []
    if budget is not None:
        named = (("max_cost", budget.max_cost_usd), ("max_tokens", budget.max_tokens))
        budgets = [amount(name, most) for name, most in named if most is not None]
    is_paused = batch is not None and batch.paused_at is not None
    is_cancelled = (batch is not None and batch.cancel_requested) or (
        record is not None and record.status == "cancelling"
    )
    state = _state(record, batch, is_paused=is_paused, is_cancelled=is_cancelled, is_used_up=told is not None)
    began_s = batch.created_at.timestamp() if batch is not None else None
    done = succeeded + failed + others
    goes = ended_at is None and batch is not None and not is_paused
    return BatchView(
        id=record.id if record is not None else batch.id if batch is not None else "",
        state=state,
        created_at=_moment(record.created_at) if record is not None else batch.created_at,  # type: ignore[union-attr]
        ended_at=ended_at,
        total=total,
        succeeded=succeeded,
        failed=failed,
        others=others,
        running=running,
        waiting=waiting,
        rate=pace.rate(batch.id, done, time.time(), began_s) if goes and batch is not None else None,
        tokens=tokens,
        cost_usd=cost,
        uncosted=uncosted,
        budgets=budgets,
        used_up=told if is_paused else None,
        metadata=metadata,
        errors=[] if record is None else record.errors,
        has_output=record is not None and record.status in ENDED and record.output_file_id is not None,
        has_errors=record is not None and record.status in ENDED and record.error_file_id is not None,
        retry_of=record.retry_of if record is not None else batch.retry_of if batch is not None else None,
        of_front=record is not None,
        can_pause=batch is not None and not batch.ended and not is_cancelled and not is_paused,
        can_resume=batch is not None and not batch.ended and not is_cancelled and is_paused,
        can_cancel=ended_at is None and not is_cancelled,
        can_retry=batch is not None and failed > 0,
    )


def _state(
    record: BatchRecord | None, batch: Batch | None, *, is_paused: bool, is_cancelled: bool, is_used_up: bool
) -> str:
    if record is not None and record.status in ENDED:
        return record.status
    if batch is not None and batch.ended:
        return "finalizing" if record is not None else "cancelled" if is_cancelled else "ended"
    if is_cancelled:
        return "being cancelled"
    if is_paused:
        return "budget used up" if is_used_up else "paused"
    if record is not None and record.status in {"validating", "finalizing"}:
        return record.status
    return "running" if batch is None or batch.sealed else "being enqueued"


def _ended_at(record: BatchRecord | None, batch: Batch | None) -> datetime | None:
    if record is None:
        return None if batch is None else batch.ended_at
    if record.status not in ENDED:
        return None
    return _moment(record.moments.get(f"{record.status}_at", record.created_at))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
