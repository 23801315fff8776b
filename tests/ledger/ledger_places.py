"""The facts that the reference model keeps: jobs, lanes and batches, where each job is, and how it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chatq.ledger.ledger import Entry

CLAIM_MS = 3000
RECHECK_MS = 1000
BEYOND_SLOTS = 8
MAX_LOSSES = 5
DAY_MS = 86_400_000
COUNTED = ("queued", "running", "succeeded", "failed", "cancelled", "expired")


@dataclass
class ModelJob:
    """A job from its enqueueing until it is forgotten."""

    entry: Entry
    flow: str
    number: int
    batch: str
    expires: int | None
    cost: int
    place: str = ""
    state: str = "queued"
    due: int = 0
    begun: int = 0
    token: str = ""
    worker: str = ""
    lane: str = ""
    counted: int = 0
    losses: int = 0
    cancel: bool = False
    started: bool = False
    attempts: list[str] = field(default_factory=list)
    """What each attempt ended with: an error code, or `ok`."""

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def connection(self) -> str:
        return self.entry.job.connection

    @property
    def public_state(self) -> str:
        """The state as connections and batches count it."""
        return "queued" if self.state == "retrying" else self.state


@dataclass
class ModelLane:
    clock: int = 0
    inflight: int = 0
    cool: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    """Virtual start tag of each flow that has jobs."""


@dataclass
class ModelBatch:
    keep: int
    touched: int
    sealed: bool = False
    cancelled: bool = False
    swept: int = 0
    sweeping: bool = False
    ended: int | None = None
    jobs: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    flows: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Places:
    """All facts of a ledger, and how a job gets from place to place. Times are ms of the test's own clock."""

    now: int
    rules: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    batches: dict[str, ModelBatch] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    """Of the workers that take jobs: neither draining nor dead."""
    messages: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When each worker came to a message last, and the highest number of a token among them."""
    lanes: dict[str, ModelLane] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    """When the clock asks a lane again."""
    hungry: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    """When what is final is forgotten: `job:ID`, `batch:ID`."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Jobs by connection and state, forgotten ones included."""
    leader: tuple[str, int] | None = None
    run_id: str | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # Reading

    def at(self, *places: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.place in places]

    def room(self, worker: str) -> int:
        return self.slots[worker] - sum(job.worker == worker for job in self.at("claim", "held"))

    def lane(self, name: str) -> ModelLane:
        return self.lanes.setdefault(name, ModelLane())

    def lane_of(self, connection: str, model: str) -> str:
        account: str = self.rules.get(f"account:{connection}", connection)
        return account if account.startswith("@") else f"{account}/{model}"

    def line(self, flow: str) -> list[ModelJob]:
        return sorted((job for job in self.at("line") if job.flow == flow), key=lambda job: job.number)

    def deadlines(self) -> list[int]:
        """Every moment at which the clock has something to do for a job, worker or batch."""
        moments = [job.due for job in self.at("claim", "later")]
        waiting, held = self.at("line", "later", "claim"), self.at("held")
        moments += [job.expires for job in waiting if job.expires is not None]
        moments += [job.expires for job in held if job.expires is not None and job.expires > self.now]
        moments += [*self.leases.values(), *self.ended.values()]
        return moments + [batch.touched for batch in self.batches.values() if not batch.sealed]

    # Places

    def _place_in_line(self, job: ModelJob) -> None:
        job.place = "line"
        self._open_flow(job.flow)

    def _open_flow(self, flow: str) -> None:
        priority, connection, model, _ = flow.split("\x1f")
        name = self.lane_of(connection, model)
        lane = self.lane(name)
        lane.tags.setdefault(flow, lane.clock + 9 - int(priority))
        self.asked[name] = self.now

    def _place_later(self, job: ModelJob, due: int) -> None:
        job.place, job.due = "later", due

    def _unplace(self, job: ModelJob) -> None:
        was, job.place = job.place, ""
        if was == "line" and not self.line(job.flow):
            name = self.lane_of(job.connection, job.entry.model)
            self.lane(name).tags.pop(job.flow, None)
            self._tidy(name)

    def _release(self, job: ModelJob) -> None:
        job.place = ""
        lane = self.lane(job.lane)
        lane.inflight -= 1
        if lane.inflight == 0:
            self._tidy(job.lane)

    def _tidy(self, name: str) -> None:
        """A lane without flows is not asked; one without calls in flight and cool-down as well is forgotten."""
        lane = self.lane(name)
        if lane.tags:
            return
        self.hungry.pop(name, None)
        self.asked.pop(name, None)
        if lane.inflight:
            return
        if lane.cool > self.now:
            self.asked[name] = lane.cool
        else:
            del self.lanes[name]

    # Ends

    def _count(self, job: ModelJob, state: str) -> None:
        was = job.public_state
        job.state = state
        self.counts[job.connection, was] -= 1
        self.counts[job.connection, job.public_state] += 1
        if job.batch:
            self.batches[job.batch].counts[was] -= 1
            self.batches[job.batch].counts[job.public_state] += 1

    def _finish(self, job: ModelJob, state: str) -> None:
        self._count(job, state)
        job.place = "end"
        if job.batch:
            self.batches[job.batch].order.append(job.id)
            self._end_batch_if_over(job.batch)
        else:
            self.ended[f"job:{job.id}"] = self.now + int(self.rules.get("keep_ms", 7 * DAY_MS))

    def _end_batch_if_over(self, name: str) -> None:
        batch = self.batches[name]
        if batch.sealed and not (batch.counts["queued"] or batch.counts["running"]) and batch.ended is None:
            batch.ended = self.now
            self.ended[f"batch:{name}"] = self.now + batch.keep

    def _is_cancelled(self, job: ModelJob) -> bool:
        return job.cancel or bool(job.batch and self.batches[job.batch].cancelled)

    def _wait_again(self, job: ModelJob, state: str, wait_ms: int = 0) -> None:
        job.token = job.worker = job.lane = ""
        if self._is_cancelled(job):
            return self._finish(job, "cancelled")
        self._count(job, state)
        if job.expires is not None and job.expires <= self.now:
            return self._finish(job, "expired")
        if wait_ms:
            return self._place_later(job, self.now + wait_ms)
        return self._place_in_line(job)

    def _lose(self, job: ModelJob) -> None:
        self._release(job)
        job.attempts.append("worker_lost")
        job.losses += 1
        if self._is_cancelled(job):
            self._finish(job, "cancelled")
        elif self.rules.get(f"on_worker_lost:{job.connection}") == "fail" or job.losses >= MAX_LOSSES:
            self._finish(job, "failed")
        else:
            self._wait_again(job, "queued")

    def _give_back(self, job: ModelJob) -> None:
        self._release(job)
        self._wait_again(job, job.state)
