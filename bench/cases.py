"""What is measured: the cases of the report, and the bars of issue 9."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contenders import PEERS, Figures, Work, by_chatq, by_program

Contenders = Mapping[str, Callable[[], Figures]]
BARE, CHATQ = "bare loop", "chatq"


@dataclass(frozen=True, slots=True)
class Case:
    """Contenders that do the same work one after the other, time and again.

    `contenders`: by name, of the work at full size, or of little of it. `figures`: those shown. `base`: whom the others
    are measured by. `long`: only when asked for.
    """

    title: str
    method: str
    contenders: Callable[[bool], Contenders]
    figures: tuple[str, ...]
    base: str = BARE
    repetitions: int = 5
    long: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """`figure` of `who` by that of `base` in the same repetition, or itself where there is none, against the limit."""

    what: str
    case: str
    figure: str
    limit: float
    base: str | None = BARE
    who: str = CHATQ
    at_least: bool = False


def bare(work: Work) -> Callable[[], Figures]:
    return lambda: by_program([sys.executable, PEERS / "bare_loop.py"], work)


def chatq(work: Work) -> Callable[[], Figures]:
    return lambda: by_chatq(work)


def calls(full: Work) -> Callable[[bool], Contenders]:
    def contenders(quick: bool) -> Contenders:
        work = Work(100, 50, min(full.latency_s, 0.2), full.prompt_bytes) if quick else full
        return {BARE: bare(work), CHATQ: chatq(work)}

    return contenders


LOAD = ("cpu_us", "server_cpu_us", "per_s", "in_flight", "memory_mb")
CASES: dict[str, Case] = {
    "calls-0-ms": Case(
        "A provider that answers at once",
        "10,000 jobs that wait, 1,000 slots. The provider's latency is 0.",
        calls(Work(10_000, 1000, 0.0)),
        LOAD,
    ),
    "calls-200-ms": Case(
        "A provider that takes 200 ms",
        "10,000 jobs that wait, 1,000 slots.",
        calls(Work(10_000, 1000, 0.2)),
        LOAD,
    ),
    "calls-2-s": Case(
        "A provider that takes 2 s",
        "5,000 jobs that wait, 1,000 slots.",
        calls(Work(5000, 1000, 2.0)),
        LOAD,
        repetitions=3,
    ),
}
BARS = [
    Bar("worker's CPU a job, 200 ms, 1,000 in flight", "calls-200-ms", "cpu_us", 4.0),
    Bar("worker's CPU a job, 0 ms, backlog", "calls-0-ms", "cpu_us", 8.0),
    Bar("jobs a second, 200 ms, 1,000 in flight", "calls-200-ms", "per_s", 0.4, at_least=True),
    Bar("jobs a second, 0 ms, backlog", "calls-0-ms", "per_s", 0.4, at_least=True),
]
