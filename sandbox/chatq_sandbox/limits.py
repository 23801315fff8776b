"""A provider's rate limits: what a key may ask of a model, counted exactly."""

from __future__ import annotations

from collections import deque
from math import floor
from typing import Literal

from chatq_sandbox.exchange import LimitReached, LimitState

BucketShape = Literal["second", "minute"]

# Floats add up to a hair more than the exact sum; a client that waited as long as it was told must get
# through.
_HAIR_S = 1e-7
_STEP_S = 0.1
_STEPS_A_MINUTE = 600


class Bucket:
    """A token bucket with continuous refill, kept as GCRA: one number, the moment at which it is full again.

    `second` holds a sixtieth of the limit (at least one), `minute` the whole of it. Something bigger than the
    bucket goes when the bucket is full and leaves a debt; bigger than the limit it never goes.
    """

    __slots__ = ("_burst_s", "_full_at", "_interval_s", "limit")

    def __init__(self, limit: int, shape: BucketShape) -> None:
        self.limit = limit
        self._interval_s = 60.0 / limit
        self._burst_s = 60.0 if shape == "minute" else max(1.0, self._interval_s)
        self._full_at = 0.0

    def wait_s(self, cost: int, now: float) -> float | None:
        """Seconds until `cost` may go: 0 is now, None is never."""
        if cost > self.limit:
            return None
        owed_s = max(self._full_at - now, 0.0)
        room_s = max(self._burst_s - cost * self._interval_s, 0.0)
        return owed_s - room_s if owed_s > room_s + _HAIR_S else 0.0

    def take(self, cost: int, now: float) -> None:
        """Take `cost` out, whatever is in it."""
        self._full_at = max(self._full_at, now) + cost * self._interval_s

    def remaining(self, now: float) -> int:
        """What could go now at once; never below 0."""
        return max(0, floor((self._burst_s - self.reset_s(now) + _HAIR_S) / self._interval_s))

    def reset_s(self, now: float) -> float:
        """Seconds until the bucket is full."""
        return max(self._full_at - now, 0.0)


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
    """What one key asks of one model: the allowances, the calls in flight, and the highest minute seen."""

    __slots__ = (
        "_banned_until",
        "_penalty_s",
        "_requests",
        "_tokens",
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
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._penalty_s = self._banned_until = 0.0

    def set_limits(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        concurrency: int | None,
        shape: BucketShape,
        penalty_s: float,
    ) -> None:
        """Set new limits with full buckets."""
        self._requests = Bucket(requests_per_minute, shape) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, shape) if tokens_per_minute else None
        self.concurrency = concurrency
        self._penalty_s, self._banned_until = penalty_s, 0.0

    def admit(self, tokens: int, now: float) -> LimitReached | None:
        """Reserve one request of `tokens`, all allowances or none; says what stands in the way otherwise."""
        reached = self._reached(tokens, now)
        if reached is not None:
            self.refused += 1
            if self._penalty_s and now >= self._banned_until:
                self._banned_until = now + self._penalty_s
                return reached._replace(wait_s=self._penalty_s)
            return reached
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)
        self.admitted += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.peak_requests.add(1, now)
        self.peak_tokens.add(tokens, now)
        return None

    def release(self) -> None:
        """One admitted call has ended."""
        self.in_flight -= 1

    def state(self, now: float) -> LimitState:
        """The allowances as they are now."""
        requests, tokens = self._requests, self._tokens
        return LimitState(
            requests.limit if requests else None,
            requests.remaining(now) if requests else 0,
            requests.reset_s(now) if requests else 0.0,
            tokens.limit if tokens else None,
            tokens.remaining(now) if tokens else 0,
            tokens.reset_s(now) if tokens else 0.0,
        )

    def _reached(self, tokens: int, now: float) -> LimitReached | None:
        if now < self._banned_until:
            limit = self._requests.limit if self._requests else 0
            return LimitReached("requests", limit, limit, 1, self._banned_until - now, self.model)
        if self.concurrency is not None and self.in_flight >= self.concurrency:
            return LimitReached("concurrency", self.concurrency, self.in_flight, 1, 1.0, self.model)
        if self._requests:
            wait_s = self._requests.wait_s(1, now)
            if wait_s != 0.0:
                used = self._requests.limit - self._requests.remaining(now)
                return LimitReached("requests", self._requests.limit, used, 1, wait_s, self.model)
        if self._tokens:
            wait_s = self._tokens.wait_s(tokens, now)
            if wait_s != 0.0:
                used = self._tokens.limit - self._tokens.remaining(now)
                return LimitReached("tokens", self._tokens.limit, used, tokens, wait_s, self.model)
        return None
