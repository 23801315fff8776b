"""Durations as people write them: `90s`, `10m`, `24h`, `7d`, `1h30m`, `250ms`, or plain seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from chatq.contract.shown import shown

# Lua keeps 14 digits of a number and the ledger counts milliseconds: a century leaves room for sums.
LONGEST_S = 100 * 365 * 86400.0

_EXPECTED = "expected a duration such as 90s, 10m, 24h or plain seconds"

# Largest unit first, each at most once. `M` is refused rather than guessed: minute or month?
_SECONDS_PER_UNIT = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_WITH_UNITS = re.compile("".join(rf"(?:{_NUMBER}{unit}(?![a-z]))?" for unit in _SECONDS_PER_UNIT))
_PLAIN = re.compile(_NUMBER)


def parse_duration(value: object) -> float:
    """Seconds, zero or more, from a text with units, a text of plain seconds, or a number of seconds.

    >>> parse_duration("1h30m")
    5400.0

    Raises ValueError with what was expected and what came; also for more than a century, infinity, NaN.
    """
    if isinstance(value, str):
        seconds = _parse_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # A whole number of 400 digits does not fit a float.
        seconds = float(value) if abs(value) <= LONGEST_S or value != value else math.inf
    else:
        raise ValueError(f"{_EXPECTED}, got {shown(value)}")
    if math.isnan(seconds):
        raise ValueError(f"{_EXPECTED}, got {shown(value)}")
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"expected a duration from 0s to 36500d, got {shown(value)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as `seconds`, to the millisecond: `1h30m`, `0s`."""
    milliseconds = round(seconds * 1000)
    parts: list[str] = []
    for unit, length_ms in (("d", 86400_000), ("h", 3600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, length_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def at_least(shortest_s: float) -> Callable[[float], float]:
    """A pydantic check that refuses durations below `shortest_s` seconds."""

    def check(seconds: float) -> float:
        if seconds < shortest_s:
            raise ValueError(
                f"expected at least {format_duration(shortest_s)}, got {format_duration(seconds)}"
            )
        return seconds

    return check


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": ["number", "string"], "examples": ["90s", "10m", "24h", 90]}),
]
"""A field that reads as seconds (float) and is written as `parse_duration` says."""

PositiveDuration = Annotated[Duration, AfterValidator(at_least(0.001))]
"""A `Duration` of at least a millisecond."""


def _parse_text(text: str) -> float:
    stripped = text.strip()
    if len(stripped) <= 40:
        if _PLAIN.fullmatch(stripped):
            return float(stripped)
        match = _WITH_UNITS.fullmatch(stripped)
        if match and stripped:
            counts = zip(match.groups(), _SECONDS_PER_UNIT.values(), strict=True)
            return round(sum(float(count) * length for count, length in counts if count), 6)
    raise ValueError(f"{_EXPECTED}, got {shown(text)}")
