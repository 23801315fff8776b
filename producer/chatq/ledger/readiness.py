"""Whether jobs that may go do go: the one judgement of `chatq status`, `chatq doctor`, health checks and `/readyz`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from chatq.contract.why import START_A_WORKER
from chatq.ledger.overview import Overview, WorkerFacts

OVERDUE_MS: Final = 10_000
"""For how long what is due may lie before the clock of the workers counts as stopped. Another worker takes a dead
leader's place within 3 s, and looks once a second."""


class Hindrance(NamedTuple):
    """Why jobs do not go, or not to every worker; and what to do."""

    message: str
    remedy: str


def hindrances(overview: Overview) -> list[Hindrance]:
    """What keeps jobs that may go from going, the worst first; nothing when all is well."""
    if not overview.workers:
        return [Hindrance("No worker is alive.", START_A_WORKER)]
    found = []
    if overview.overdue_ms >= OVERDUE_MS:
        found.append(
            Hindrance(
                f"Nobody lets jobs go: something has been due for {overview.overdue_ms / 1000:.0f} s.",
                "See the workers' logs. They let jobs go, one of them at a time; restart them if none does.",
            )
        )
    return found + [
        Hindrance(
            f"Worker {worker.id} begins nothing of what it is given, for {worker.stalled_ms / 1000:.0f} s now: its "
            "messages do not come.",
            "It connects to the broker anew by itself, and others get the jobs. Where that does not help, see its log, "
            "and restart it.",
        )
        for worker in overview.workers
        if worker.stalled_ms is not None
    ]


def is_ready(overview: Overview) -> bool:
    """Whether jobs that may go do go: some worker begins what it is given, and the clock goes."""
    return overview.overdue_ms < OVERDUE_MS and bool(hearing(overview.workers))


def hearing(workers: Sequence[WorkerFacts]) -> list[WorkerFacts]:
    """Those that begin what they are given."""
    return [worker for worker in workers if worker.stalled_ms is None]
