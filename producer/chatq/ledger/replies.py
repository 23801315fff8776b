"""What the ledger's scripts answer. Each `read_...` takes the reply of a script as Redis gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chatq.ledger.entry import served_by

EnqueueStatus = Literal["new", "same", "conflict"]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of an enqueue call. `jobs`: (status, id) for each entry, in order; empty when refused.

    `refused`: None, or 'full' (backlog; `backlog_jobs` and `backlog_bytes` are there now, and `retry_after_ms` is
    until a try is worth it), or 'no_batch'.
    """

    jobs: Sequence[tuple[EnqueueStatus, str]] = ()
    refused: Literal["full", "no_batch"] | None = None
    now_ms: int = 0
    backlog_jobs: int = 0
    backlog_bytes: int = 0
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a call to retry failed jobs. `jobs`: ids of the new ones; `cursor`: for the next call, None when
    there are no more. `refused` as in `Enqueued`."""

    jobs: Sequence[str] = ()
    cursor: int | None = None
    refused: Literal["full", "no_batch"] | None = None
    backlog_jobs: int = 0
    backlog_bytes: int = 0
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job that may go now: to this worker, under this token.

    `connection` makes the call, with `model`. `attempt`: counts from 1.
    """

    job_id: str
    connection: str
    token: str
    worker: str
    model: str = ""
    batch: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Admission:
    """The jobs that may go now, why no more may, and the milliseconds until a try is worth it."""

    admitted: Sequence[Admitted]
    reason: str
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Walk:
    """How a job that is traced came to begin. `traceparent`: as it was enqueued. Moments of Redis's clock."""

    traceparent: str
    waiting_since_ms: int
    """From when on it might go, had there been room."""
    admitted_ms: int
    begun_ms: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that this worker now holds. `request` is the JSON that `Job.request` made."""

    request: bytes
    connection: str
    model: str
    counted: int
    """Attempts that counted so far."""
    since_first_call_ms: int
    """Without the time in which its lane cooled down or its connection was paused."""
    wait_ms: int
    """To let pass before the call, so that calls keep the pace of their lane."""
    stands_in: bool
    """Whether `connection` is a fallback of the job's own."""
    batch: str
    """Empty: it is in none."""
    attempt: int
    """Counts from 1, those that did not count included."""
    walk: Walk | None
    """None: it is not traced."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did: the job's state now; 'again' and 'stale' changed nothing.

    `paused`: whether the connection that made the call is paused now. `wait_ms`: what a job that went back waits at
    least; None when it is final.
    """

    state: str
    paused: bool
    wait_ms: int | None
    admitted: Sequence[Admitted]


@dataclass(frozen=True, slots=True)
class Renewed:
    """`status`: 'registered', 'renewed', or 'lost'. `stop`: jobs held here that were asked to stop.

    `stalled`: whether the worker comes to none of its messages although jobs were given to it.
    """

    status: str
    stalled: bool
    stop: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ticked:
    """What is due. `leads`: whether this worker leads the clock."""

    leads: bool
    wait_ms: int
    dead_workers: Sequence[str] = ()
    due_lanes: Sequence[str] = ()


def text(value: bytes | str | int) -> str:
    """A part of a reply as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def named(flat: Sequence[bytes | str | int]) -> dict[str, str]:
    """Names and values that stand one after the other."""
    texts = [text(part) for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _admitted(parts: Sequence[bytes]) -> list[Admitted]:
    texts = [text(part) for part in parts]
    admitted = []
    for i in range(0, len(texts), 7):
        job_id, connection, token, worker, flow, made, model = texts[i : i + 7]
        own_model, batch = served_by(flow)
        admitted.append(Admitted(job_id, connection, token, worker, model or own_model, batch, int(made) + 1))
    return admitted


def read_settled(reply: Any) -> Settled:
    wait = reply[2] if len(reply) > 2 else b""
    return Settled(text(reply[0]), reply[1:2] == [b"1"], int(wait) if wait else None, _admitted(reply[3:]))


def read_page(reply: Any) -> tuple[int, bool, list[bytes]] | None:
    """See `Ledger.deltas`."""
    return (int(reply[0]), reply[1] == b"1", reply[2:]) if reply else None


def read_enqueued(ids: Sequence[str], reply: Any) -> Enqueued:
    status = text(reply[0])
    if status == "full":
        return Enqueued((), "full", 0, *map(int, reply[1:]))
    if status == "no_batch":
        return Enqueued(refused="no_batch")
    jobs: list[tuple[EnqueueStatus, str]] = [("new", job_id) for job_id in ids]
    for place, known, job_id in zip(reply[2::3], reply[3::3], reply[4::3], strict=True):
        jobs[int(place) - 1] = ("same" if known == b"same" else "conflict", text(job_id))
    return Enqueued(now_ms=int(reply[1]), jobs=jobs)


def read_retried(reply: Any) -> Retried:
    if reply[0] == b"full":
        return Retried((), None, "full", *map(int, reply[1:]))
    if reply[0] == b"no_batch":
        return Retried(refused="no_batch")
    cursor = None if reply[1] == b"1" else int(reply[0])
    return Retried(jobs=[text(item) for item in reply[2:]], cursor=cursor)


def the_one(replies: Sequence[Any]) -> Any:
    """The reply of a script that takes many, to one. Raises the error that it is instead."""
    (reply,) = replies
    if isinstance(reply, Exception):
        raise reply
    return reply


def read_admission(reply: Any) -> Admission:
    return Admission(_admitted(reply[2:]), text(reply[0]), int(reply[1]))


def read_renewed(reply: Any) -> Renewed:
    return Renewed(text(reply[0]), reply[1] != b"", [text(item) for item in reply[2:]])


def read_begun(reply: Any) -> Begun | None:
    if not reply:
        return None
    return Begun(
        reply[0],
        text(reply[1]),
        text(reply[2]),
        int(reply[3]),
        int(reply[4]),
        int(reply[5]),
        reply[6] == b"1",
        text(reply[7]),
        int(reply[8]) + 1,
        Walk(text(reply[9]), *map(int, reply[10:13])) if len(reply) > 9 else None,
    )


def read_ticked(reply: Any) -> Ticked:
    if reply[0] != b"1":
        return Ticked(leads=False, wait_ms=int(reply[1]))
    dead = int(reply[2])
    names = [text(item) for item in reply[3:]]
    return Ticked(leads=True, wait_ms=int(reply[1]), dead_workers=names[:dead], due_lanes=names[dead:])
