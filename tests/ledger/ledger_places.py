"""The facts that the reference model keeps: jobs, lanes and batches, where each job is, and how it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ledger_budgets import Account, Charge
from ledger_driver import EntryOfJob
from ledger_limits import Amounts, Bucket, ModelLimits

from chatq.contract.token_estimate import longest_answer, prompt_size, weight
from chatq.ledger.call_facts import CallPrice, Spent

CLAIM_MS = 3000
RECHECK_MS = 1000
BEYOND_SLOTS = 8
SUSPECT, ALONE, APART, SUSPECTS_PER_WORKER = 2, 3, 4, 30
CLOSED_MS = 3000
CLAIMS_PER_WORKER, FIRST_CLAIMS, BEGIN_RECHECK_MS = 500, 8, 5
LONG_COOL_MS = 60_000
DAY_MS = 86_400_000
COUNTED = ("queued", "running", "succeeded", "failed", "cancelled", "expired")


@dataclass
class ModelJob:
    """A job from its enqueueing until it is forgotten."""

    entry: EntryOfJob
    flow: str
    number: int
    batch: str
    expires: int | None
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
    reserved: Amounts | None = None
    """What it holds of its lane's allowances."""
    charge: Charge | None = None
    """What it has reserved of budgets."""
    probe: int = 0
    """The time of setting in again, of its lane, in which it was let go as one of few; 0: in none."""
    via: str = ""
    """The fallback that makes its call."""
    streak: int | None = None
    limited: int | None = None
    moved: int = 0
    """The last move of its batch that it followed."""
    refused: int | None = None
    told: int = 0
    """Deltas of its answer that its caller was told."""

    @property
    def size(self) -> int:
        return prompt_size(self.entry.job)

    @property
    def cap(self) -> int:
        return longest_answer(self.entry.job.params)

    @property
    def cost(self) -> int:
        return weight(self.size, self.cap)

    @property
    def server(self) -> str:
        """The connection that makes its call."""
        return self.via or self.connection

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def connection(self) -> str:
        return self.flow.split("\x1f")[1]

    @property
    def model(self) -> str:
        return self.flow.split("\x1f")[2]

    @property
    def public_state(self) -> str:
        """The state as connections and batches count it."""
        return "queued" if self.state == "retrying" else self.state


@dataclass
class ModelLane:
    clock: int = 0
    inflight: int = 0
    cool: int = 0
    why: str = ""
    oks: int = 0
    fails: int = 0
    failed: int = 0
    kept: int = 0
    opened: int | None = None
    tries: int = 0
    window: int | None = None
    probes: int = 0
    ramp: int = 0
    out: bool = False
    tags: dict[str, int] = field(default_factory=dict)
    """Virtual start tag of each flow that has jobs."""


@dataclass
class ModelConnection:
    """What calls have told of a connection."""

    paused: str = ""
    """By whom: `operator`, `failure`, or nobody."""
    works: bool = False
    misses: int = 0
    resumed: int = 0
    proven: int | None = None


@dataclass
class ModelBatch:
    keep: int
    touched: int
    sealed: bool = False
    cancelled: bool = False
    paused: int | None = None
    to: tuple[str, str] | None = None
    """Connection and model that it was moved to last."""
    moves: int = 0
    moving: bool = False
    """Whether waiting jobs of it have not been moved yet."""
    swept: int = 0
    sweeping: bool = False
    ended: int | None = None
    jobs: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    flows: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    max_cost: int | None = None
    max_tokens: int | None = None
    used_up: tuple[str, int] | None = None
    """The budget that has not enough for the next job, and what there would have to be of it."""


@dataclass
class Places:
    """All facts of a ledger, and how a job gets from place to place. Times are ms of the test's own clock."""

    now: int
    rules: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    batches: dict[str, ModelBatch] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    window: dict[str, int] = field(default_factory=dict)
    """Of the workers that take jobs: neither draining nor dead."""
    stalled: set[str] = field(default_factory=set)
    """Of those, the ones that come to none of their messages."""
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
    limits: dict[str, ModelLimits] = field(default_factory=dict)
    """By lane; kept when the lane is forgotten."""
    connections: dict[str, ModelConnection] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)
    """Flows that have jobs, and whose connection or batch is paused, not configured, or being moved elsewhere."""
    diverted: dict[str, str] = field(default_factory=dict)
    """Flows that a fallback serves."""
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    """By `connection` or `batch`, and name."""
    prices: dict[tuple[str, str], CallPrice | None] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    """Connections that have spent their budget of the day, until when."""
    leader: tuple[str, int] | None = None
    run_id: str | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # Reading

    def at(self, *places: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.place in places]

    def room(self, worker: str) -> int:
        return self.slots[worker] - sum(job.worker == worker for job in self.at("claim", "held"))

    def suspects(self, worker: str) -> int:
        """How much of the suspicion that a worker may have it has."""
        return sum(suspicion(job.losses) for job in self.at("claim", "held") if job.worker == worker)

    def is_closed(self, worker: str) -> bool:
        """Whether a worker takes no other job, for one that is to be apart."""
        return self.suspects(worker) > SUSPECTS_PER_WORKER or self.closed.get(worker, 0) > self.now

    def account(self, kind: str, name: str) -> Account:
        return self.accounts.setdefault((kind, name), Account())

    def accounts_of(self, job: ModelJob) -> list[Account]:
        own = [self.account("connection", job.server)]
        return [*own, self.account("batch", job.batch)] if job.batch else own

    def lane(self, name: str) -> ModelLane:
        return self.lanes.setdefault(name, ModelLane())

    def lane_of(self, connection: str, model: str) -> str:
        account: str = self.rules.get(f"account:{connection}", connection)
        return account if account.startswith("@") else f"{account}/{model}"

    def connection(self, name: str) -> ModelConnection:
        return self.connections.setdefault(name, ModelConnection())

    def lane_limits(self, name: str) -> ModelLimits:
        limits = self.limits.setdefault(name, ModelLimits())
        limits.turn_day(self.now)
        return limits

    def buckets(self, name: str) -> list[Bucket]:
        return self.lane_limits(name).buckets(self.rules, account_of(name), self.now)

    def lane_of_fallback(self, connection: str, model: str) -> str:
        return self.lane_of(connection, self.rules.get(f"model:{connection}", model))

    def is_out(self, name: str) -> bool:
        lane = self.lane(name)
        if lane.cool > self.now:
            return lane.opened is not None or lane.out or lane.cool > self.now + LONG_COOL_MS
        return lane.window == 1 and lane.probes > 0

    def lane_for(self, flow: str) -> tuple[str, str] | None:
        """Where a flow is to be served now: lane and connection; None when it is to be parked."""
        _, connection, model, group, *_ = flow.split("\x1f")
        batch = self.batches.get(group.removeprefix("batch:")) if group.startswith("batch:") else None
        if batch and (batch.paused is not None or (batch.moving and (connection, model) != batch.to)):
            return None
        if "connections" in self.rules and f"account:{connection}" not in self.rules:
            return None
        paused = bool(self.connection(connection).paused)
        home = self.lane_of(connection, model)
        if not paused and not self.is_out(home):
            return None if connection in self.spent else (home, connection)
        for name in self.rules.get(f"fallback:{connection}", "").split():
            lane = self.lane_of_fallback(name, model)
            if not self.connection(name).paused and not self.is_out(lane) and name not in self.spent:
                return lane, name
        return None if paused or connection in self.spent else (home, connection)

    def place_now(self, flow: str) -> tuple[str, str] | None:
        """Where a flow is served now; None when it is parked or has no jobs."""
        name = self.lane_now(flow)
        return None if name is None else (name, self.diverted.get(flow, flow.split("\x1f")[1]))

    def lane_now(self, flow: str) -> str | None:
        return next((name for name, lane in self.lanes.items() if flow in lane.tags), None)

    def line(self, flow: str) -> list[ModelJob]:
        return sorted((job for job in self.at("line") if job.flow == flow), key=lambda job: job.number)

    def deadlines(self) -> list[int]:
        """Every moment at which the clock has something to do for a job, worker or batch."""
        moments = [job.due for job in self.at("claim", "later")]
        waiting, held = self.at("line", "later", "claim"), self.at("held")
        moments += [job.expires for job in waiting if job.expires is not None]
        moments += [job.expires for job in held if job.expires is not None and job.expires > self.now]
        moments += [*self.leases.values(), *self.ended.values(), *self.spent.values()]
        return moments + [batch.touched for batch in self.batches.values() if not batch.sealed]

    # Places

    def _place_in_line(self, job: ModelJob) -> None:
        job.place = "line"
        self._open_flow(job.flow)

    def _open_flow(self, flow: str) -> None:
        name = self.lane_now(flow)
        if name is None:
            self._put_flow(flow)
        else:
            self.asked[name] = self.now

    def _put_flow(self, flow: str) -> None:
        place = self.lane_for(flow)
        if place is None:
            self.parked.add(flow)
            return
        name, server = place
        priority, connection, *_ = flow.split("\x1f")
        lane = self.lane(name)
        lane.tags.setdefault(flow, lane.clock + 9 - int(priority))
        self.asked[name] = self.now
        if server != connection:
            self.diverted[flow] = server

    def _take_flow(self, flow: str) -> None:
        self.parked.discard(flow)
        name = self.lane_now(flow)
        if name is not None:
            del self.lane(name).tags[flow]
            self.diverted.pop(flow, None)
            self._tidy(name)

    def _move_flows(self, flows: list[str]) -> None:
        for flow in sorted(flows):
            place = self.place_now(flow)
            if (place or flow in self.parked) and self.lane_for(flow) != place:
                self._take_flow(flow)
                self._put_flow(flow)

    def all_flows(self) -> list[str]:
        """Every flow that is served anywhere, or parked."""
        return [*self.parked, *(flow for lane in self.lanes.values() for flow in lane.tags)]

    def _review(self, name: str) -> None:
        """Notes whether a lane is out of action now; moves flows when that is new."""
        lane, out = self.lane(name), self.is_out(name)
        if out != lane.out:
            lane.out = out
            self._move_flows(list(lane.tags) if out else self.all_flows())

    def _ramp_up(self, name: str) -> None:
        lane = self.lane(name)
        lane.window, lane.probes = 1, 0
        lane.ramp += 1
        self._review(name)

    def _place_later(self, job: ModelJob, due: int) -> None:
        job.place, job.due = "later", due

    def _unplace(self, job: ModelJob) -> None:
        was, job.place = job.place, ""
        if was == "line" and not self.line(job.flow):
            self._take_flow(job.flow)

    def _spend(self, job: ModelJob, spent: Spent | str) -> None:
        """Ends what a job has reserved of budgets, and counts what its call took."""
        charge, job.charge = job.charge, None
        for account in self.accounts_of(job):
            if charge is not None:
                account.hold(charge, -1)
            account.spend(spent, charge or Charge(0, 0), self.now)

    def _release(self, job: ModelJob) -> None:
        self._spend(job, "")
        if job.place == "claim":
            self._refund(job, was_sent=False)
        job.place = ""
        lane = self.lane(job.lane)
        if job.probe and job.probe == lane.ramp:
            lane.probes -= 1
            self._review(job.lane)
        lane.inflight -= 1
        if lane.inflight == 0:
            self._tidy(job.lane)

    def _tidy(self, name: str) -> None:
        """A lane without flows is not asked; one without calls in flight and anything to remember is forgotten."""
        lane = self.lane(name)
        if lane.tags:
            return
        self.hungry.pop(name, None)
        self.asked.pop(name, None)
        if lane.cool > self.now:
            self.asked[name] = lane.cool
        elif lane.out and not self.is_out(name):
            self.asked[name] = self.now
        elif lane.kept > self.now:
            self.asked[name] = lane.kept
        elif not lane.inflight:
            del self.lanes[name]

    def _refund(self, job: ModelJob, *, was_sent: bool) -> None:
        if job.reserved is None:
            return
        limits, buckets = self.lane_limits(job.lane), self.buckets(job.lane)
        taken = {kind: -cost for kind, cost in job.reserved.items()}
        limits.correct(buckets, taken, self.now, was_sent=was_sent)
        limits.day_used = max(0, limits.day_used - 1)
        limits.keep(buckets, self.now)

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
        job.token = job.worker = job.lane = job.via = ""
        job.reserved, job.probe = None, 0
        if self._is_cancelled(job):
            return self._finish(job, "cancelled")
        if job.told:
            return self._finish(job, "failed")
        self._count(job, state)
        self._follow(job)
        if job.expires is not None and job.expires <= self.now:
            return self._finish(job, "expired")
        if wait_ms:
            return self._place_later(job, self.now + wait_ms)
        return self._place_in_line(job)

    def _follow(self, job: ModelJob) -> bool:
        """Gives a job the connection and model that its batch was moved to; whether its flow is another now."""
        batch = self.batches.get(job.batch)
        if batch is None or batch.to is None or job.moved == batch.moves:
            return False
        priority, connection, model, *group = job.flow.split("\x1f")
        job.moved = batch.moves
        if (connection, model) == batch.to:
            return False
        self.counts[connection, "queued"] -= 1
        self.counts[batch.to[0], "queued"] += 1
        job.flow = "\x1f".join((priority, *batch.to, *group))
        batch.flows.add(job.flow)
        return True

    def _move(self, job: ModelJob) -> None:
        if job.place == "later":
            self._follow(job)
        elif job.place == "line":
            before = job.flow
            if self._follow(job):
                if not self.line(before):
                    self._take_flow(before)
                self._open_flow(job.flow)

    def _lose(self, job: ModelJob, *, apart: bool) -> None:
        self._spend(job, "?")
        self._release(job)
        job.attempts.append("worker_lost")
        was_alone = apart and job.losses >= ALONE
        job.losses += 1
        if self._is_cancelled(job):
            self._finish(job, "cancelled")
        elif job.told or self.rules.get(f"on_worker_lost:{job.connection}") == "fail" or was_alone:
            self._finish(job, "failed")
        else:
            if job.losses == SUSPECT:
                job.flow += "\x1flost"
                if job.batch:
                    self.batches[job.batch].flows.add(job.flow)
            self._wait_again(job, "queued")

    def _give_back(self, job: ModelJob) -> None:
        self._release(job)
        self._wait_again(job, job.state)


def suspicion(losses: int) -> int:
    if losses < APART:
        return 0 if losses < SUSPECT else 1 if losses < ALONE else SUSPECTS_PER_WORKER
    return SUSPECTS_PER_WORKER + 1


def account_of(lane: str) -> str:
    return lane if lane.startswith("@") else lane.partition("/")[0]
