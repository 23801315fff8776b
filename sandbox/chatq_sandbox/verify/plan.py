"""What happens in a run: which jobs, when and how they are enqueued, and which faults strike when. Pure.

The same seed and the same number of jobs give the same plan. What comes of it is not the same in every run: processes
and their scheduling are real.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatq_sandbox.verify.faults import FAULTS

PRODUCERS = 2
_FIRST_FAULT_S = 1.5
_JOBS_A_FAULT = 160
_LEAST_FAULTS = 1
_ON_TOP = 0.3
"""The share of faults that strike while the one before is not yet over."""
_TO_RECOVER_S = 4.0
"""Where nothing is promised."""
_BURST = 12
_LARGEST_BATCH = 60
_LARGE_ANSWER_BYTES = 3_000_000
"""More than `ANSWER_BYTES`."""
ANSWER_BYTES = 1 << 20

SUCCEEDED = "succeeded"
Ends = frozenset[str]
"""How a job may end: states, for `failed` with the error's code behind a colon."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of jobs: their connection, how many of a thousand there are of it, what stands in their prompts for the
    simulator, and how they may end."""

    connection: str
    share: int
    directives: Sequence[str] = ("",)
    ends: Ends = frozenset({SUCCEEDED})


_FIRST = (
    *("reset_before_answer", "close_before_answer", "reset_mid_body", "close_mid_body", "silence"),
    *("silence_mid_body", "slow_drip 2", "blank_keep_alives 1", "html_page", "truncated_json", "empty_body"),
    *("wrong_types", "error_in_200", "not_json_utf8", "gzip", "no_usage", "rate_limit 1", "server_error 500"),
    *("server_error 529", "overloaded 1"),
)

KINDS = (
    Kind("steady", 415),
    Kind("untold", 5),
    Kind("paced", 150),  # its limit is stated
    Kind("learned", 50),  # its limit is told by the provider's answers only
    Kind("never-twice", 70, ends=frozenset({SUCCEEDED, "failed:worker_lost"})),
    Kind("faulty", 190),
    Kind("faulty", 100, [f"[sim: {name} first 1]" for name in _FIRST]),
    Kind(
        "faulty",
        6,
        [f"[sim: huge_answer {_LARGE_ANSWER_BYTES} first 1]"],
        frozenset({SUCCEEDED, "failed:answer_too_large"}),
    ),
    Kind("faulty", 6, ["[sim: redirect first 1]"], frozenset({SUCCEEDED, "failed:redirected"})),
    Kind("account", 38),
    Kind("account", 2, ["[sim: bad_key first 1]"]),
)
"""Sum of the shares: a thousand and some."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job: its name to the simulator, what `ChatQueue.enqueue` is told, how it may end; `cancelled`: its producer
    cancels it as soon as it is acknowledged."""

    name: str
    job: dict[str, Any]
    ends: Ends
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """Jobs that are enqueued at one moment (seconds from the start), one by one or as a batch."""

    number: int
    at_s: float
    producer: int
    batch: bool
    jobs: Sequence[PlannedJob]


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault of `FAULTS`: when it strikes (seconds from the start), for how long, its draw, and whether it strikes
    while the one before is not yet over. If not, it waits until all is well again, should that take longer."""

    name: str
    at_s: float
    lasts_s: float
    draw: float
    on_top: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `ends_s`: when the last fault and its recovery are over, seconds from the start."""

    seed: int
    units: Sequence[Unit]
    faults: Sequence[PlannedFault]
    ends_s: float
    jobs: dict[str, PlannedJob] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "jobs", {job.name: job for unit in self.units for job in unit.jobs})


def make_plan(seed: int, jobs: int, names: Sequence[str] = tuple(FAULTS)) -> Plan:
    """The plan of a seed. `names`: the faults that may strike."""
    faults, ends_s = _faults(
        random.Random(f"{seed}/faults"), max(_LEAST_FAULTS, round(jobs / _JOBS_A_FAULT)), names
    )
    return Plan(seed, _units(random.Random(f"{seed}/jobs"), jobs, ends_s), faults, ends_s)


def _faults(draws: random.Random, count: int, names: Sequence[str]) -> tuple[list[PlannedFault], float]:
    """Each name comes up before any comes again. What is on top of another strikes something else."""
    faults: list[PlannedFault] = []
    waiting: list[str] = []
    at_s, on_top = _FIRST_FAULT_S, False
    alone_until_s = 0.0
    for _ in range(count):
        if not waiting:
            waiting = draws.sample(list(names), len(names))
        name = waiting.pop()
        fault = FAULTS[name]
        lasts_s = round(draws.uniform(*fault.lasts_s), 2)
        faults.append(PlannedFault(name, round(at_s, 2), lasts_s, draws.random(), on_top))
        alone_until_s = max(alone_until_s, at_s + lasts_s + (fault.bar_s or _TO_RECOVER_S))
        others = [other for other in waiting if FAULTS[other].target != fault.target]
        # Not three at once: two of them could strike the same.
        on_top = bool(others) and not on_top and draws.random() < _ON_TOP
        if on_top:
            waiting.remove(others[-1])
            waiting.append(others[-1])
            at_s += draws.uniform(0.1, lasts_s + 0.5)
        else:
            at_s = alone_until_s + draws.uniform(0.4, 1.0)
    return faults, round(alone_until_s, 2)


def _units(draws: random.Random, count: int, ends_s: float) -> list[Unit]:
    """Units of one to sixty jobs, in the order of their moments."""
    sizes: list[tuple[bool, int]] = []
    left = count
    while left:
        batch = draws.random() < 0.1
        size = min(left, draws.randint(10, _LARGEST_BATCH) if batch else draws.randint(1, _BURST))
        sizes.append((batch, size))
        left -= size
    moments = sorted(draws.uniform(0.0, ends_s) for _ in sizes)
    units, number = [], 0
    for index, ((batch, size), at_s) in enumerate(zip(sizes, moments, strict=True)):
        kinds = draws.choices(KINDS, [kind.share for kind in KINDS], k=size)
        jobs = [_job(draws, number + offset, kind, batch=batch) for offset, kind in enumerate(kinds)]
        units.append(Unit(index, round(at_s, 3), draws.randrange(PRODUCERS), batch, jobs))
        number += size
    return units


def _job(draws: random.Random, number: int, kind: Kind, *, batch: bool) -> PlannedJob:
    name = f"{kind.connection}-{number}"
    job: dict[str, Any] = {
        "connection": kind.connection,
        "prompt": f"job:{name} Say hi {draws.choice(kind.directives)}".rstrip(),
        "metadata": {"name": name},
        "priority": draws.choice((5, 5, 5, 0, 9)),
        "tenant": draws.choice((None, "north", "south")),
    }
    ends, cancelled = kind.ends, False
    if batch:
        job["custom_id"] = name
    elif draws.random() < 0.5:
        job["id"] = f"job-{name}"
    else:
        job["idempotency_key"] = name
    match draws.random():
        case x if x < 0.02 and not batch:
            ends, cancelled = ends | {"cancelled"}, True
        case x if x < 0.03:
            job["expires_in"] = "2s"
            ends |= {"expired"}
        case x if x < 0.06:
            job["not_before"] = f"{draws.randint(1, 4)}s"
    return PlannedJob(name, {key: value for key, value in job.items() if value is not None}, ends, cancelled)
