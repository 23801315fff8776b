"""Why a running job's coroutine is being cancelled: its caller wants it, or the worker has to let it go."""

from __future__ import annotations

from enum import StrEnum

from chatq_worker.pool import CancelReason, CoroutinePool


class StopReason(StrEnum):
    """Reasons that we give the pool, beside its own."""

    CANCELLED = "cancelled"
    """The caller cancelled the job."""
    HANDED_BACK = "handed back"
    """The worker stops before the job could end."""
    LOST = "lost"
    """The worker's lease ran out: the job belongs to someone else by now."""


class StopReasons:
    """Reads the reason of a cancellation from the pool. On the loop only."""

    def __init__(self) -> None:
        self.pool: CoroutinePool | None = None

    def by_caller(self, job_id: str) -> bool:
        """Whether the job is to end as cancelled. A revoke from Flower is a cancel."""
        reason = self.pool.cancel_reason(job_id) if self.pool else None
        return reason in {StopReason.CANCELLED, CancelReason.REVOKED}
