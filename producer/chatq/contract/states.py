"""The states of a job, as a table; the ledger's scripts and every check read the same names.

Source: the job record in the public interface. `queued` means waiting, also after a 429 or a lost worker,
and lasts until a worker has begun. `retrying` means waiting after an attempt that counted.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """One word per job state; the string is what callers read in records."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
"""States that never change again."""

WAITING: Final = frozenset({State.QUEUED, State.RETRYING})
"""States in which a job has a place in line, or a moment at which it gets one."""

CHANGES: Final[dict[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.EXPIRED, State.FAILED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.QUEUED, State.RETRYING},
    ),
    State.RETRYING: frozenset({State.RUNNING, State.CANCELLED, State.EXPIRED, State.FAILED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""The allowed changes: from a state to each state it may become."""
