"""Figures as SVG, made ready: numbers for the attributes of shapes, because the page's policy allows no inline
style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chatq.ledger.backlog_history import MINUTES, BacklogSample

HEIGHT: Final = 30.0
_TOP: Final = 1.5
"""Room for the width of the line."""


@dataclass(frozen=True, slots=True)
class BacklogChart:
    """What waited and ran in the last hour, in a box `MINUTES` wide and `HEIGHT` high; now is at the right.

    `area` is what waited, `line` its upper edge, `running` a line: paths. Minutes without a sample are gaps.
    """

    area: str
    line: str
    running: str
    most: int
    """The number at the upper edge."""
    now: int
    said: str
    """The whole in a sentence."""


def backlog_chart(samples: Sequence[BacklogSample], queued: int, running: int) -> BacklogChart:
    """`samples`: the oldest first; `queued`, `running`: of this moment."""
    points = [(MINUTES - 1 - one.minutes_ago, one.queued, one.running) for one in samples]
    points = [point for point in points if point[0] < MINUTES - 1]
    points.append((MINUTES - 1, queued, running))
    waited = max(point[1] for point in points)
    most = max(1, waited, *(point[2] for point in points))

    def y(value: int) -> float:
        return HEIGHT - (HEIGHT - _TOP) * value / most

    runs: list[list[tuple[int, int, int]]] = []
    for point in points:
        if runs and point[0] - runs[-1][-1][0] == 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    lines = [_line([(x, y(waiting)) for x, waiting, _ in run]) for run in runs]
    return BacklogChart(
        area=" ".join(
            f"{line} V{HEIGHT:g} H{run[0][0]} Z"
            for line, run in zip(lines, runs, strict=True)
            if len(run) > 1
        ),
        line=" ".join(lines),
        running=" ".join(_line([(x, y(ran)) for x, _, ran in run]) for run in runs),
        most=most,
        now=queued,
        said=f"Waiting in the last hour: {waited:,} at most, {queued:,} now. Running now: {running:,}.",
    )


def _line(points: Sequence[tuple[int, float]]) -> str:
    if len(points) == 1:
        (x, y) = points[0]
        return f"M{x - 0.5:g} {y:.2f} H{x}"
    return "M" + " L".join(f"{x} {y:.2f}" for x, y in points)


@dataclass(frozen=True, slots=True)
class LimitChart:
    """How much of a limit is used, in a box 100 wide. `marks`: where each number that is known of it is."""

    used: float
    marks: Sequence[tuple[str, float]]
    """(`set`, `learned` or `found`, place)."""


def limit_chart(holds: float | None, used: float | None, **known: float | None) -> LimitChart:
    """`known`: numbers of the limit by where they come from. The box ends at the highest of all."""
    numbers = {name: number for name, number in known.items() if number is not None}
    most = max(1e-9, holds or 0, *numbers.values(), *([] if used is None else [used]))
    return LimitChart(
        used=_percent((used or 0) / most),
        marks=[(name, _percent(number / most)) for name, number in numbers.items()],
    )


def _percent(part: float) -> float:
    return round(100 * min(1.0, max(0.0, part)), 2)
