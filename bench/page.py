"""The page that the measured data make: data in, Markdown out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cases import BARS, CASES, Bar

FIGURES = {
    "cpu_us": ("CPU a job, µs", 0),
    "server_cpu_us": ("Redis' own, µs", 0),
    "per_s": ("jobs/s", 0),
    "wall_s": ("time, s", 2),
    "in_flight": ("most in flight", 0),
    "memory_mb": ("memory, MB", 0),
}
"""What a figure is called, and with how many decimals it is shown."""
TOLD = frozenset({"in_flight", "server_cpu_us"})
"""Figures that are not compared."""

HEAD = """\
# Performance

Written by `make bench`; [its code](../bench/report.py), [the data](performance.json). Every ratio is of one run: its contenders
did the same work on the same machine one after the other, in turns, and each repetition is compared with its own. A figure is
the median, in brackets the least and the most of the repetitions. CPU is what the operating system counted for the
contender's processes from the word to the last answer; the provider is a process of its own and is not in it. The *bare
loop* does the calls alone, with aiohttp on uvloop, and keeps nothing. chatq is one worker with stock settings: events,
ledger, limits and results on, an embedded server with fsync always.
"""


def page(data: Mapping[str, Any]) -> str:
    """`data`: what was measured, by case, as `report.py` keeps it."""
    return "\n".join(
        [HEAD, *_bars(data), *(line for name in CASES if name in data for line in _case(name, data[name]))]
    )


def _bars(data: Mapping[str, Any]) -> list[str]:
    rows = []
    for bar in BARS:
        ratios = _values(data.get(bar.case), bar.figure, bar.who, bar.base)
        sign = "≥" if bar.at_least else "≤"
        over = f" / {bar.base}'s" if bar.base else ""
        found = _spread(ratios, 2) if ratios else "not measured"
        rows.append([f"{bar.what}{over}", f"{sign} {bar.limit:g}", found, _verdict(bar, ratios)])
    return ["## Bars", "", *_table(["what", "bar", "measured", ""], rows), ""]


def _verdict(bar: Bar, ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    median = statistics.median(ratios)
    return "met" if (median >= bar.limit if bar.at_least else median <= bar.limit) else "**missed**"


def _case(name: str, measured: Mapping[str, Any]) -> list[str]:
    case = CASES[name]
    contenders = list(measured["contenders"])
    shown = [
        f for f in case.figures if any(f in one for who in contenders for one in measured["contenders"][who])
    ]
    head = ["", *(cell for f in shown for cell in _heads(f, case.base))]
    rows = []
    for who in contenders:
        row = [who]
        for figure in shown:
            row.append(_spread(_values(measured, figure, who), FIGURES[figure][1]))
            if figure not in TOLD:
                row.append("" if who == case.base else _spread(_values(measured, figure, who, case.base), 2))
        rows.append(row)
    rows += [
        [who, f"not measured: {why}", *[""] * (len(head) - 2)]
        for who, why in measured["not_measured"].items()
    ]
    circumstances = "; ".join(f"{key} {value}" for key, value in measured["circumstances"].items())
    return [
        *(f"## {case.title}", "", case.method, ""),
        *_table(head, rows),
        *_incomplete(measured),
        *("", f"{measured['repetitions']} repetitions; {circumstances}.", ""),
    ]


def _heads(figure: str, base: str) -> list[str]:
    title = FIGURES[figure][0]
    return [title] if figure in TOLD else [title, f"÷ {base}"]


def _incomplete(measured: Mapping[str, Any]) -> list[str]:
    """Contenders that did not do all of the work: their figures are of those done."""
    lines = []
    for who, each in measured["contenders"].items():
        for one in each:
            if one.get("done", 0) != one.get("jobs", 0):
                lines += [
                    "",
                    f"{who}: {one['done']:,} of {one['jobs']:,} jobs had an answer in one repetition.",
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
