"""The reference model's rate limits of one lane: the same arithmetic as `limits.lua`, in plain Python.

Moments and durations are ms; what the server keeps as text with three decimals is rounded here alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MINUTE_MS = 60_000
DAY_MS = 86_400_000
BURST_MS = 500
JITTER_MS = 15
SIZE_OF_TOKEN = 3.5
ANSWER_TOKENS = 512
KINDS = ("requests", "tokens", "input_tokens", "output_tokens")
STATED = {"requests": "requests_per_minute", "tokens": "tokens_per_minute"}

Amounts = dict[str, float]


def rounded(number: float) -> float:
    return float(f"{number:.3f}")


def amounts(input_tokens: float, output_tokens: float) -> Amounts:
    """What one request takes."""
    return {
        "requests": 1,
        "tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
    }


@dataclass
class Bucket:
    kind: str
    limit: float
    interval: float
    burst: float
    full: float
    sent: float
    is_stated: bool

    def wait(self, owed_until: float, cost: float, now: float) -> float:
        needs_all = cost * self.interval + JITTER_MS > self.burst + BURST_MS
        owed = max(owed_until + (JITTER_MS if needs_all else 0) - now, 0)
        room = max(self.burst - cost * self.interval, 0)
        return owed - room if owed > room + 0.001 else 0


@dataclass
class ModelLimits:
    """What is known of one lane's allowances."""

    full: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    limit: dict[str, float] = field(default_factory=dict)
    capacity: dict[str, float] = field(default_factory=dict)
    refills: dict[str, bool] = field(default_factory=dict)
    day: int = 0
    day_used: int = 0
    day_limit: int | None = None
    heard: bool | None = None
    learned: Amounts = field(default_factory=lambda: {"sizes": 0, "tokens": 0, "answers": 0, "answered": 0})
    rate: float | None = None
    ceiling: float | None = None
    since: int = 0
    cut: int = 0
    fresh: bool = False
    """Whether it begins to feel its way with what is done next."""

    # Reading

    def found_rate(self, now: int, *, unheard: bool) -> float:
        assert self.rate is not None
        past = max(0, now - self.since)
        if self.ceiling is None:
            doublings = past / (5000 if unheard else 1000)
            return min(self.rate * 2.0**doublings, 10_000_000) if doublings < 1000 else 10_000_000
        recovery = min(max(100 * MINUTE_MS / self.ceiling, 20_000), 300_000)
        x = past / recovery - 1
        return min(self.ceiling + (self.ceiling - self.rate) * x * x * x, 10_000_000)

    def requests_limit(self, rules: Mapping[str, Any], account: str, now: int) -> tuple[float | None, str]:
        """Requests a minute, and where the number comes from."""
        if (stated := rules.get(f"requests_per_minute:{account}")) is not None:
            return stated, "stated"
        if "requests" in self.limit:
            return self.limit["requests"], "told"
        unheard = self.is_unheard(rules, account)
        self.fresh = self.rate is None and unheard
        if self.fresh:
            return 12, "found"
        if self.rate is not None:
            return self.found_rate(now, unheard=unheard), "found"
        return None, ""

    def is_unheard(self, rules: Mapping[str, Any], account: str) -> bool:
        return f"tells_limits:{account}" in rules and self.heard is None

    def buckets(self, rules: Mapping[str, Any], account: str, now: int) -> list[Bucket]:
        found = []
        for kind in KINDS:
            stated = f"{STATED.get(kind)}:{account}"
            if kind == "requests":
                limit, _ = self.requests_limit(rules, account, now)
            else:
                limit = rules.get(stated, self.limit.get(kind))
            if limit is None:
                continue
            interval, burst = MINUTE_MS / limit, float(BURST_MS)
            known = self.capacity.get(kind, 0) * interval - BURST_MS
            if self.refills.get(kind, True) and f"sliding:{account}" not in rules and known > BURST_MS:
                burst = known
            else:
                interval = interval * (1 + BURST_MS / MINUTE_MS)
            full, sent = self.full.get(kind, 0), self.sent.get(kind, 0)
            found.append(Bucket(kind, limit, interval, burst, full, sent, stated in rules))
        return found

    def stated_day(self, rules: Mapping[str, Any], account: str) -> int | None:
        return rules.get(f"requests_per_day:{account}", self.day_limit)

    def turn_day(self, now: int) -> None:
        if self.day != now // DAY_MS:
            self.day, self.day_used = now // DAY_MS, 0

    def need(self, size: int, cap: int, *, door: bool) -> Amounts:
        known = self.learned
        inputs = math.ceil(
            size * known["tokens"] / known["sizes"] if known["sizes"] > 0 else size / SIZE_OF_TOKEN
        )
        output = math.ceil((ANSWER_TOKENS + known["answered"]) / (1 + known["answers"]))
        return amounts(inputs, cap if cap > 0 and (door or output > cap) else output)

    # Changes

    def keep(self, buckets: list[Bucket], now: int) -> None:
        if self.fresh:
            self.rate, self.since, self.fresh = 12, now, False
        for bucket in buckets:
            self.full[bucket.kind] = rounded(bucket.full)
            self.sent[bucket.kind] = rounded(bucket.sent)

    def take(self, buckets: list[Bucket], need: Amounts, now: int) -> None:
        self.day_used += 1
        for bucket in buckets:
            bucket.full = max(bucket.full, now) + need[bucket.kind] * bucket.interval

    def correct(
        self,
        buckets: list[Bucket],
        difference: Amounts,
        now: int,
        *,
        was_sent: bool,
        lost: Mapping[str, float] | None = None,
    ) -> None:
        for bucket in buckets:
            by = difference.get(bucket.kind, 0) * bucket.interval
            if lost is not None and bucket.burst == BURST_MS:
                by += lost[bucket.kind] * bucket.interval
            if by:
                bucket.full = (max(bucket.full, now) if by > 0 else bucket.full) + by
                if was_sent:
                    bucket.sent = (max(bucket.sent, now) if by > 0 else bucket.sent) + by

    def pace(self, buckets: list[Bucket], need: Amounts, now: int) -> int:
        waits = [bucket.wait(bucket.sent, need[bucket.kind], now) for bucket in buckets]
        wait = math.ceil(max(waits, default=0))
        for bucket in buckets:
            bucket.sent = max(bucket.sent, now + wait) + need[bucket.kind] * bucket.interval
        self.keep(buckets, now)
        return wait

    def slow_down(self, buckets: list[Bucket], source: str, begun: int, cool: int, now: int) -> None:
        """`source`: where the limit of requests came from before."""
        if source in {"", "found"} and begun >= self.since:
            was = next((b.limit for b in buckets if b.kind == "requests"), 120.0) if source else 120.0
            self.fresh = False
            self.rate, before = (
                rounded(max(1, was * (0.85 if self.ceiling is not None else 0.5))),
                self.ceiling,
            )
            if source:
                ceiling = before or 0
                self.ceiling = rounded(max(1, was * (1 + 0.85) / 2 if was < ceiling else was))
            self.since, self.cut = cool, now
        empty = cool + BURST_MS
        for bucket in buckets:
            if self.capacity.get(bucket.kind, 0) > 0:
                bucket.full = bucket.sent = empty
                self.capacity[bucket.kind] = 0
                if not self.refills.get(bucket.kind, False):
                    self.refills[bucket.kind] = False
            else:
                bucket.full, bucket.sent = max(bucket.full, empty), max(bucket.sent, empty)
        self.keep(buckets, now)

    def learn(
        self,
        buckets: list[Bucket],
        kind: str,
        limit: int,
        left: int,
        reset_ms: int,
        begun: int,
        now: int,
        cost: float,
        others: int,
    ) -> None:
        """An answer told a minute's limit. `cost`: of its call, and about that of each of the `others` in flight."""
        uncounted = 0.0
        known = [bucket for bucket in buckets if bucket.kind == kind]
        if abs(self.limit.get(kind, 0) - limit) > 0.001:
            for bucket in known:
                if not bucket.is_stated:
                    by = MINUTE_MS / limit / bucket.interval
                    bucket.full = now + (bucket.full - now) * by
                    bucket.sent = now + (bucket.sent - now) * by
            self.limit[kind], self.capacity[kind] = rounded(limit), 0
            uncounted = cost + min(left, cost * others)
        if left < limit:
            refilled = (limit - left) / limit * MINUTE_MS
            self.refills[kind] = reset_ms <= refilled + max(1500, refilled / 4)
        self.capacity[kind] = max(self.capacity.get(kind, 0), left)
        if not self.refills.get(kind, True):
            return
        owed_until = begun + (self.capacity[kind] - left + uncounted) * MINUTE_MS / limit
        for bucket in known:
            bucket.full, bucket.sent = max(bucket.full, owed_until), max(bucket.sent, owed_until)
        if not known:
            self.full[kind] = self.sent[kind] = rounded(owed_until)

    def learn_tokens(self, size: int, prompt: int, answer: int) -> None:
        if prompt > 0:
            kept = 0.5 if self.learned["answers"] >= 500 else 1
            for name, amount in (("sizes", size), ("tokens", prompt), ("answers", 1), ("answered", answer)):
                self.learned[name] = rounded(self.learned[name] * kept + amount)
