"""A provider that enforces its limits exactly, and workers that call it as the ledger lets them, in virtual time.

The scripts are the real ones, and the limits those of the simulator. What lies between, the transport of messages
and calls, is a queue of events with delays drawn from a seed, so an hour takes seconds and every run is the same.
The workers do as the real ones: a clock admits when there is something to admit, `settle` admits the next, and a call
waits as long as `begin` says.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger_driver import LedgerDriver, attempt

from chatq.ledger.call_facts import NOT_CALLED, LimitTold, TokensUsed
from chatq.ledger.replies import Admitted
from chatq_sandbox.exchange import Allowance, LimitReached
from chatq_sandbox.limits import Lane, Limits

LANE = "alpha/m"
MESSAGE_S = (0.001, 0.05)
"""From admission to begin: the message, and the turn of the worker's loop."""
CALL_S = (0.0, 0.005)
"""From begin, or the end of the wait that it asks for, to the provider's door."""
REFUSAL_S = 0.02
CLOCK_S = (0.02, 1.0)
"""The clock of the leading worker looks again no sooner and no later than this."""
LEASE_S = 10.0
_KINDS = ("requests", "tokens", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Work:
    """One job: tokens of its prompt as the provider counts them, and the prompt's bytes; tokens of its answer; `cap`:
    the longest answer that it asks for (0: does not say)."""

    prompt_tokens: int = 10
    answer_tokens: int = 10
    prompt_bytes: int = 35
    cap: int = 0

    def costs(self, charge: str) -> tuple[int, int]:
        """Tokens in and out that the provider counts."""
        return self.prompt_tokens, self.cap if charge == "reserved" else self.answer_tokens


@dataclass(frozen=True, slots=True)
class Wire:
    """How the provider talks. `latency_s`: of an answer, give or take a fifth. `headers`: answers and refusals tell the
    limits. `retry_after`: refusals say when to come back."""

    latency_s: float = 0.2
    headers: bool = False
    retry_after: bool = True
    refuse_from_s: float = math.inf
    """From this moment on one call is refused for `refuse_for_s`, whatever its limits."""
    refuse_for_s: float = 0.0


@dataclass(slots=True)
class Pace:
    """What came of a run. Times are seconds from its start."""

    least_s: float
    ended_s: float = 0.0
    succeeded: int = 0
    failed: int = 0
    attempts_used: int = 0
    """By jobs that were refused."""
    calls: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    """When calls were at the provider's door, and when they were turned away there."""

    @property
    def ratio(self) -> float:
        """The time it took, by the least that it can take."""
        return self.ended_s / self.least_s

    def refused_share(self, *, after_s: float = 0.0) -> float:
        """The refused calls by all calls, from this moment on."""
        calls = sum(moment >= after_s for moment in self.calls)
        return sum(moment >= after_s for moment in self.refusals) / max(1, calls)

    @property
    def longest_silence_s(self) -> float:
        """Seconds between two calls that followed one another."""
        return max(after - before for before, after in itertools.pairwise(self.calls))


class PacedProvider:
    """A provider and its workers. `run` does all the work and measures it."""

    def __init__(
        self,
        ledger: LedgerDriver,
        limits: Limits,
        wire: Wire,
        *,
        workers: int = 1,
        slots: int = 10_000,
        seed: int = 1,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._wire = wire
        self._workers = [f"w{number}" for number in range(workers)]
        self._slots = slots
        self._random = random.Random(seed)
        self._door = Lane("m")
        self._door.set_limits(limits)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._start_ms = ledger.now
        self._now = 0.0
        self._clock_at = math.inf
        self._refuses_one = math.isfinite(wire.refuse_from_s)
        self._work: dict[str, Work] = {}
        self._left = 0
        self._pace = Pace(0.0)

    def run(self, work: Sequence[Work], **rules: Any) -> Pace:
        """Do all the work, which is there at once. `rules`: what the settings tell of the lane, `name=value`."""
        named = {f"{name}:alpha": value for name, value in rules.items()}
        self._ledger.run(self._ledger.ledger.publish(repr(named), b"{}", named))
        self._pace = Pace(self._least_s(work))
        self._left = len(work)
        for number, one in enumerate(work):
            self._work[f"j{number}"] = one
        self._enqueue()
        for worker in self._workers:
            self._ledger.worker(worker, slots=self._slots)
            self._at(LEASE_S, lambda worker=worker: self._renew(worker))  # type: ignore[misc]
        self._look_at(0.0)
        while self._left:
            moment, _, event = heapq.heappop(self._events)
            self._now = moment
            ms = self._start_ms + math.floor(moment * 1000)
            if ms != self._ledger.now:
                self._ledger.pass_s((ms - self._ledger.now) / 1000)
            event()
        return self._pace

    def _enqueue(self) -> None:
        entries = [
            self._ledger.entry(
                id=name,
                prompt="x" * max(1, one.prompt_bytes - 16),
                params={"max_tokens": one.cap} if one.cap else {},
            )
            for name, one in self._work.items()
        ]
        for start in range(0, len(entries), 500):
            self._ledger.enqueue(*entries[start : start + 500])

    def _least_s(self, work: Sequence[Work]) -> float:
        """The least that the work can take: what exceeds the full bucket has to come first, then one call."""
        limits, charge = self._limits, self._limits.charge or "used"
        inputs, outputs = map(sum, zip(*(one.costs(charge) for one in work), strict=True))
        least_s = 0.0
        for limit, total in (
            (limits.requests_per_minute, len(work)),
            (limits.tokens_per_minute, inputs + outputs),
            (limits.input_tokens_per_minute, inputs),
            (limits.output_tokens_per_minute, outputs),
        ):
            if limit is not None:
                # A window's worth at once is not asked for: it would be a gamble where a refusal costs minutes.
                at_once = {"second": max(1.0, limit / 60), "minute": limit}.get(
                    limits.bucket or "second", 1.0
                )
                least_s = max(least_s, (total - at_once) * 60 / limit)
        return least_s + self._wire.latency_s

    # Events

    def _at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        self._at(self._now + seconds, event)

    def _renew(self, worker: str) -> None:
        self._ledger.renew(worker)
        self._after(LEASE_S, lambda: self._renew(worker))

    def _look_at(self, moment: float) -> None:
        """The clock looks at this moment."""
        self._clock_at = moment
        self._at(moment, self._look)

    def _look(self) -> None:
        ticked = self._ledger.tick("w0")
        wait_s = ticked.wait_ms / 1000
        for lane in ticked.due_lanes:
            reason = "more"
            while reason == "more":
                admission = self._ledger.run(self._ledger.ledger.admit(lane, 100))
                self._send(admission.admitted)
                reason = admission.reason
            if reason != "empty":
                wait_s = min(wait_s, admission.wait_ms / 1000)
        least, most = CLOCK_S
        self._look_at(self._now + min(most, max(least, wait_s)))

    def _send(self, admitted: Sequence[Admitted]) -> None:
        for job in admitted:
            self._after(self._random.uniform(*MESSAGE_S), lambda job=job: self._begin(job))  # type: ignore[misc]

    def _begin(self, job: Admitted) -> None:
        begun = self._ledger.run(self._ledger.ledger.begin(job.job_id, job.token, job.worker))
        if begun is None:  # the lane cools down
            return
        wait_s = begun.wait_ms / 1000 + self._random.uniform(*CALL_S)
        self._after(wait_s, lambda: self._arrive(job, begun.counted))

    def _arrive(self, job: Admitted, counted: int) -> None:
        """The call is at the provider's door."""
        self._pace.calls.append(self._now)
        work = self._work[job.job_id]
        if self._refuses_one and self._now >= self._wire.refuse_from_s:
            self._refuses_one = False
            reached: LimitReached | None = LimitReached("requests", 0, 0, 1, self._wire.refuse_for_s, "m")
        else:
            reached = self._door.admit(*work.costs(self._limits.charge or "used"), self._now)
        told = self._told()
        if reached is not None:
            assert reached.wait_s is not None, f"{job.job_id} is too large"
            self._pace.refusals.append(self._now)
            cool_s = self._cool_s(reached.wait_s)
            self._after(REFUSAL_S, lambda: self._refused(job, counted, cool_s, told))
        else:
            latency_s = self._wire.latency_s * self._random.uniform(0.8, 1.2)
            self._after(latency_s, lambda: self._answered(job, work, told))

    def _cool_s(self, wait_s: float) -> float:
        """As the worker reads a refusal: see `retry.py`."""
        if not self._wire.retry_after:
            return 1.0
        return math.ceil(wait_s * 1000) / 1000 if self._wire.headers else float(math.ceil(wait_s))

    def _told(self) -> list[LimitTold]:
        if not self._wire.headers:
            return []
        state = self._door.state(self._now)
        allowances: list[tuple[str, Allowance | None]] = [(kind, getattr(state, kind)) for kind in _KINDS]
        return [
            LimitTold(
                kind, allowance.limit, allowance.remaining, 60.0, math.ceil(allowance.reset_s * 1000) / 1000
            )
            for kind, allowance in allowances
            if allowance is not None
        ]

    def _refused(self, job: Admitted, counted: int, cool_s: float, told: list[LimitTold]) -> None:
        failed = counted + 1 >= 6
        settled = self._ledger.settle(
            job,
            "failed" if failed else "retrying",
            attempt=attempt(code='"rate_limited"', status="429"),
            counted=True,
            outcome="limited",
            wait_s=self._random.uniform(0.0, 2.0**counted),
            cool_s=cool_s,
            used=NOT_CALLED,
            told=told,
        )
        self._pace.attempts_used += settled.state != "queued"
        if settled.state == "failed":
            self._pace.failed += 1
            self._ended()
        self._send(settled.admitted)

    def _answered(self, job: Admitted, work: Work, told: list[LimitTold]) -> None:
        self._door.release()
        inputs, outputs = work.costs(self._limits.charge or "used")
        used = TokensUsed(inputs, outputs, work.prompt_tokens, work.answer_tokens)
        settled = self._ledger.settle(job, used=used, told=told)
        assert settled.state == "succeeded", settled
        self._pace.succeeded += 1
        self._ended()
        self._send(settled.admitted)

    def _ended(self) -> None:
        self._pace.ended_s = self._now
        self._left -= 1
