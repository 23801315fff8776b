"""The page that the measured data make: data in, Markdown out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cases import BARS, CASES, Bar

FIGURES = {
    "cpu_us": ("CPU a job, µs", 0),
    "server_cpu_us": ("Redis' own, µs", 0),
    "caller_cpu_us": ("caller's CPU a job, µs", 0),
    "per_s": ("jobs/s", 0),
    "wall_s": ("time, s", 2),
    "in_flight": ("most in flight", 0),
    "memory_mb": ("memory, MB", 0),
    "memory_kb_a_job": ("memory a call, kB", 0),
    "p50_ms": ("p50, ms", 1),
    "p99_ms": ("p99, ms", 1),
    "start_s": ("start, s", 2),
    "ms": ("time, ms", 0),
    "disk_mb": ("MB", 0),
    "packages": ("distributions", 0),
    "ratio": ("time ÷ least", 3),
    "refused": ("refused, %", 2),
}
"""What a figure is called, and with how many decimals it is shown."""
TOLD = frozenset({"in_flight", "server_cpu_us", "packages"})
"""Figures that are not compared."""

HEAD = """\
# Performance

Written by `make bench` ([bench/report.py](../bench/report.py)) from [what was measured](performance.json). Every ratio
is of one run: its contenders did the same work on the same machine one after the other, in turns, and each repetition
is compared with its own. A figure is the median, in brackets the least and the most of the repetitions. CPU is what the
operating system counted for the contender's processes from the word to the last answer; the provider is a process of
its own and is not in it. The *bare loop* does the calls alone, with aiohttp on uvloop, and keeps nothing. *chatq* is
one worker with stock settings: events, ledger, limits and results on, an embedded server with fsync always.

Why bars are missed, and what was tried: [what holds the missed bars](performance-limits.md).
"""


def page(data: Mapping[str, Any]) -> str:
    """`data`: what was measured, by case, as `report.py` keeps it."""
    return "\n".join(
        [HEAD, *_bars(data), *(line for name in CASES if name in data for line in _case(name, data[name]))]
    )


def _bars(data: Mapping[str, Any]) -> list[str]:
    rows = []
    for bar in BARS:
        measured = data.get(bar.case)
        ratios = _values(measured, bar.figure, bar.who, bar.base)
        sign = "≥" if bar.at_least else "≤"
        over = f" ÷ {bar.base}" if bar.base else ""
        found = _spread(ratios, 2) if ratios else "not measured"
        rows.append(
            [
                f"{bar.what}{over}",
                f"{sign} {bar.limit:g}",
                found,
                _verdict(bar, ratios, bool(measured and measured["quick"])),
            ]
        )
    return ["## Bars", "", *_table(["what", "bar", "measured", ""], rows), ""]


def _verdict(bar: Bar, ratios: Sequence[float], quick: bool) -> str:
    if not ratios or quick:
        return "with little work: says nothing" if quick else ""
    median = statistics.median(ratios)
    return "met" if (median >= bar.limit if bar.at_least else median <= bar.limit) else "**missed**"


def _case(name: str, measured: Mapping[str, Any]) -> list[str]:
    case, of = CASES[name], measured["contenders"]
    shown = [figure for figure in case.figures if any(figure in one for each in of.values() for one in each)]
    compared = [figure for figure in shown if case.base and figure not in TOLD]
    head = [""]
    for figure in shown:
        head += [FIGURES[figure][0], *([f"÷ {case.base}"] if figure in compared else [])]
    rows = []
    for who in of:
        row = [who]
        for figure in shown:
            row.append(_spread(_values(measured, figure, who), FIGURES[figure][1]))
            if figure in compared:
                row.append("" if who == case.base else _spread(_values(measured, figure, who, case.base), 2))
        rows.append(row)
    rows += [
        [who, f"not measured: {why}", *[""] * (len(head) - 2)]
        for who, why in measured["not_measured"].items()
    ]
    around = "; ".join(
        f"{key} {value}" for key, value in measured["circumstances"].items() if key != "command"
    )
    small = (
        "**little work, so as to see that it runs; its figures say nothing**; " if measured["quick"] else ""
    )
    return [
        *(f"## {case.title}", "", case.method, ""),
        *_table(head, rows),
        *_incomplete(measured),
        *("", f"{small}`make bench CASES={name}`; repetitions {measured['repetitions']}; {around}.", ""),
    ]


def _incomplete(measured: Mapping[str, Any]) -> list[str]:
    """Contenders that did not do all of the work: their figures are of those done."""
    lines = []
    for who, each in measured["contenders"].items():
        missing = [f"{one['jobs'] - one['done']:,}" for one in each if one.get("done") != one.get("jobs")]
        if missing:
            lines += [
                "",
                f"{who} left {' and '.join(missing)} of {each[0]['jobs']:,} jobs without an answer.",
            ]
    return lines


def _values(
    measured: Mapping[str, Any] | None, figure: str, who: str, base: str | None = None
) -> list[float]:
    """The figure in each repetition, by the base's of the same; none when somebody was not measured."""
    of = measured["contenders"] if measured else {}
    values = [one.get(figure) for one in of.get(who, [])]
    if base is None:
        return [value for value in values if value is not None]
    bases = [one.get(figure) for one in of.get(base, [])]
    return [value / by for value, by in zip(values, bases, strict=False) if value is not None and by]


def _spread(values: Sequence[float], decimals: int) -> str:
    if not values:
        return ""
    least, median, most = (
        f"{v:,.{decimals}f}" for v in (min(values), statistics.median(values), max(values))
    )
    return median if least == most else f"{median} ({least} to {most})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
