"""A provider's rate limits: what a key may ask of a model, counted exactly."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import floor
from typing import Literal, Protocol

from chatq_sandbox.exchange import Allowance, LimitName, LimitReached, LimitState

BucketShape = Literal["second", "minute", "window"]
Charge = Literal["reserved", "used"]

_MINUTE_S = 60.0
# Floats add up to a hair more than the exact sum; a client that waited as long as it was told must get
# through.
_HAIR_S = 1e-7
_STEP_S = 0.1
_STEPS_A_MINUTE = 600
_COUNTED: tuple[LimitName, ...] = (
    "requests",
    "tokens",
    "input_tokens",
    "output_tokens",
    "requests_month",
    "tokens_month",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may ask of one model. None: no such limit; for the last three: as the source does it.

    `tokens_per_minute` counts prompt and answer together, the next two each by itself. What is asked in a month
    does not come back while the simulator runs: then the key is out of quota. `bucket`: how much may go at once,
    a `second`'s worth or a whole `minute`'s, refilled continuously, or the limit in any `window` of 60 s.
    `charge`: what a call takes out of the tokens: `reserved` is the prompt and the whole of max_tokens, with no
    refund; `used` the prompt and what the answer really has. `headers`: whether answers tell the limits, and
    refusals when to come back. `penalty_s`: after the limit was reached everything is refused for so long.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    requests_per_month: int | None = None
    tokens_per_month: int | None = None
    concurrency: int | None = None
    headers: bool = True
    bucket: BucketShape | None = None
    charge: Charge | None = None
    penalty_s: float | None = None


class _Counter(Protocol):
    """What counts one limit. A cost is 1 for a request, else tokens; times are the event loop's."""

    limit: int

    def wait_s(self, cost: int, now: float) -> float | None:
        """Seconds until `cost` may go: 0 is now, None is never."""

    def take(self, cost: int, now: float) -> None:
        """Take `cost` out, whatever is in it."""

    def remaining(self, now: float) -> int:
        """What could go now at once; never below 0."""

    def reset_s(self, now: float) -> float:
        """Seconds until all of it is there again."""


class Bucket:
    """A token bucket with continuous refill, kept as GCRA: one number, the moment at which it is full again.

    `second` holds a sixtieth of the limit (at least one), `minute` the whole of it. Something bigger than the
    bucket goes when the bucket is full and leaves a debt; bigger than the limit it never goes.
    """

    __slots__ = ("_burst_s", "_full_at", "_interval_s", "limit")

    def __init__(self, limit: int, shape: Literal["second", "minute"]) -> None:
        self.limit = limit
        self._interval_s = _MINUTE_S / limit
        self._burst_s = _MINUTE_S if shape == "minute" else max(1.0, self._interval_s)
        self._full_at = 0.0

    def wait_s(self, cost: int, now: float) -> float | None:
        if cost > self.limit:
            return None
        owed_s = max(self._full_at - now, 0.0)
        room_s = max(self._burst_s - cost * self._interval_s, 0.0)
        return owed_s - room_s if owed_s > room_s + _HAIR_S else 0.0

    def take(self, cost: int, now: float) -> None:
        self._full_at = max(self._full_at, now) + cost * self._interval_s

    def remaining(self, now: float) -> int:
        return max(0, floor((self._burst_s - self.reset_s(now) + _HAIR_S) / self._interval_s))

    def reset_s(self, now: float) -> float:
        return max(self._full_at - now, 0.0)


class Window:
    """At most the limit in any 60 s: what was taken comes back 60 s later, all of it at once."""

    __slots__ = ("_sum", "_taken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def wait_s(self, cost: int, now: float) -> float | None:
        if cost > self.limit:
            return None
        self._expire(now)
        over = self._sum + cost - self.limit
        wait_s = 0.0
        for moment, amount in self._taken:
            if over <= 0:
                break
            over -= amount
            wait_s = moment + _MINUTE_S - now
        return wait_s

    def take(self, cost: int, now: float) -> None:
        self._taken.append((now, cost))
        self._sum += cost

    def remaining(self, now: float) -> int:
        self._expire(now)
        return max(0, self.limit - self._sum)

    def reset_s(self, now: float) -> float:
        self._expire(now)
        return self._taken[-1][0] + _MINUTE_S - now if self._taken else 0.0

    def _expire(self, now: float) -> None:
        while self._taken and self._taken[0][0] + _MINUTE_S <= now + _HAIR_S:
            self._sum -= self._taken.popleft()[1]


class MonthAllowance:
    """What does not come back: no run of the simulator lasts a month."""

    __slots__ = ("_taken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0

    def wait_s(self, cost: int, now: float) -> float | None:
        return None if self._taken + cost > self.limit else 0.0

    def take(self, cost: int, now: float) -> None:
        self._taken += cost

    def remaining(self, now: float) -> int:
        return max(0, self.limit - self._taken)

    def reset_s(self, now: float) -> float:
        return 0.0


class MinutePeak:
    """The most that went in any 60 s, in steps of 0.1 s: never more than the true figure."""

    __slots__ = ("_steps", "_sum", "highest")

    def __init__(self) -> None:
        self._steps: deque[list[int]] = deque()
        self._sum = 0
        self.highest = 0

    def add(self, amount: int, now: float) -> None:
        """Count `amount` at the moment `now` (seconds)."""
        step = int(now / _STEP_S)
        steps = self._steps
        if steps and steps[-1][0] == step:
            steps[-1][1] += amount
        else:
            steps.append([step, amount])
            while steps[0][0] <= step - _STEPS_A_MINUTE:
                self._sum -= steps.popleft()[1]
        self._sum += amount
        self.highest = max(self.highest, self._sum)


class Lane:
    """What one key asks of one model, or of several that share their limits: the allowances, the calls in
    flight, and the highest minute seen."""

    __slots__ = (
        "_banned_until",
        "_counters",
        "_penalty_s",
        "admitted",
        "concurrency",
        "in_flight",
        "max_in_flight",
        "model",
        "peak_requests",
        "peak_tokens",
        "refused",
    )

    def __init__(self, model: str) -> None:
        self.model = model
        self.concurrency: int | None = None
        self.in_flight = self.max_in_flight = self.admitted = self.refused = 0
        self.peak_requests, self.peak_tokens = MinutePeak(), MinutePeak()
        self._counters: tuple[tuple[int, LimitName, _Counter], ...] = ()
        self._penalty_s = self._banned_until = 0.0

    def set_limits(self, limits: Limits) -> None:
        """Set new limits with full buckets."""

        stated = (
            limits.requests_per_minute,
            limits.tokens_per_minute,
            limits.input_tokens_per_minute,
            limits.output_tokens_per_minute,
            limits.requests_per_month,
            limits.tokens_per_month,
        )
        self._counters = tuple(
            (place, name, _counter(name, limit, limits.bucket or "second"))
            for place, (name, limit) in enumerate(zip(_COUNTED, stated, strict=True))
            if limit is not None
        )
        self.concurrency = limits.concurrency
        self._penalty_s, self._banned_until = limits.penalty_s or 0.0, 0.0

    def admit(self, prompt_tokens: int, output_tokens: int, now: float) -> LimitReached | None:
        """Reserve one request of so many tokens, all allowances or none; says what stands in the way
        otherwise."""
        tokens = prompt_tokens + output_tokens
        costs = (1, tokens, prompt_tokens, output_tokens, 1, tokens)
        reached = self._reached(costs, now)
        if reached is not None:
            return self._refused(reached, now)
        for place, _, counter in self._counters:
            counter.take(costs[place], now)
        self.admitted += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.peak_requests.add(1, now)
        self.peak_tokens.add(tokens, now)
        return None

    def count_failed(self, now: float) -> LimitReached | None:
        """Count a request that the source refuses, where it counts those too; says what stands in its way."""
        reached = self._reached((1, 0, 0, 0, 0, 0), now)
        if reached is not None:
            return self._refused(reached, now)
        for _, name, counter in self._counters:
            if name == "requests":
                counter.take(1, now)
        return None

    def release(self) -> None:
        """One admitted call has ended."""
        self.in_flight -= 1

    def state(self, now: float, *, charged: int = 0, unix_s: float = 0.0) -> LimitState:
        """The allowances as they are now."""
        found: dict[str, Allowance] = {
            name: Allowance(counter.limit, counter.remaining(now), counter.reset_s(now))
            for _, name, counter in self._counters
        }
        return LimitState(
            found.get("requests"),
            found.get("tokens"),
            found.get("input_tokens"),
            found.get("output_tokens"),
            found.get("requests_month"),
            found.get("tokens_month"),
            charged,
            unix_s,
        )

    def _reached(self, costs: tuple[int, ...], now: float) -> LimitReached | None:
        if now < self._banned_until:
            limit = next((counter.limit for _, name, counter in self._counters if name == "requests"), 0)
            return LimitReached("requests", limit, limit, 1, self._banned_until - now, self.model)
        if self.concurrency is not None and self.in_flight >= self.concurrency:
            return LimitReached("concurrency", self.concurrency, self.in_flight, 1, 1.0, self.model)
        for place, name, counter in self._counters:
            wait_s = counter.wait_s(costs[place], now)
            if wait_s != 0.0:
                used = counter.limit - counter.remaining(now)
                return LimitReached(name, counter.limit, used, costs[place], wait_s, self.model)
        return None

    def _refused(self, reached: LimitReached, now: float) -> LimitReached:
        self.refused += 1
        if self._penalty_s and reached.wait_s is not None and now >= self._banned_until:
            self._banned_until = now + self._penalty_s
            return reached._replace(wait_s=self._penalty_s)
        return reached


def _counter(name: LimitName, limit: int, shape: BucketShape) -> _Counter:
    if name.endswith("_month"):
        return MonthAllowance(limit)
    return Window(limit) if shape == "window" else Bucket(limit, shape)
