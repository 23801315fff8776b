"""What the ledger counts for those who watch it, as `metrics.lua` tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any, NamedTuple


class Times(NamedTuple):
    """How long things took. `within`: (seconds, how many took at most so long), the last for `inf`: all."""

    within: Sequence[tuple[float, int]]
    sum_s: float


class LimitUse(NamedTuple):
    """Of a limit: as much is allowed, and as much of it is used now."""

    limit: float
    used: float


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """What is counted of a connection: see `measures.lua`, and `metrics.lua` for its limits."""

    ended: Mapping[str, int]
    """Jobs by final state."""
    paused_s: float
    """For which it has been paused in all."""
    times: Mapping[str, Times]
    """`line`, `call`, `added`."""
    jobs_failed: Mapping[str, int]
    calls_failed: Mapping[str, int]
    limits: Mapping[str, LimitUse]


@dataclass(frozen=True, slots=True)
class Measured:
    """Counts of the whole and of connections. They live as long as Redis's data."""

    totals: Mapping[str, int]
    """`jobs` and `bytes` that wait or run now; `came`: jobs enqueued; `lost_leases`, `lost_claims`; `stale`: outcomes
    that came too late."""
    connections: Mapping[str, ConnectionCounts]


def read_measured(reply: Any, connections: Sequence[str]) -> Measured:
    """What `metrics.lua` found of these connections."""
    totals, times, *rest = reply
    bounds = {name.decode(): [int(bound) for bound in found] for name, *found in times}
    each = {}
    for name, (ended, paused_ms, counts, limits) in zip(connections, _by(4, rest), strict=True):
        counted = _counts(counts)
        each[name] = ConnectionCounts(
            ended=_counts(ended),
            paused_s=int(paused_ms) / 1000,
            times={time: _times(counted, time, found) for time, found in bounds.items()},
            jobs_failed=_below(counted, "job_failed:"),
            calls_failed=_below(counted, "call_failed:"),
            limits={
                kind.decode(): LimitUse(float(limit), float(used)) for kind, limit, used in _by(3, limits)
            },
        )
    return Measured(_counts(totals), each)


def _times(counted: Mapping[str, int], time: str, bounds: Iterable[int]) -> Times:
    each = [(bound / 1000, counted.get(f"{time}:{bound}", 0)) for bound in bounds]
    each.append((inf, counted.get(f"{time}:inf", 0)))
    running = accumulate(count for _, count in each)
    return Times(
        [(bound, count) for (bound, _), count in zip(each, running, strict=True)],
        counted.get(f"{time}:sum", 0) / 1000,
    )


def _below(counted: Mapping[str, int], start: str) -> dict[str, int]:
    return {name.removeprefix(start): count for name, count in counted.items() if name.startswith(start)}


def _counts(flat: Sequence[Any]) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in _by(2, flat)}


def _by(size: int, flat: Sequence[Any]) -> Iterable[Any]:
    """Runs of so many."""
    return zip(*[iter(flat)] * size, strict=True)
