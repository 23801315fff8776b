"""How providers write numbers, durations and moments, in headers and in texts.

Sources: RFC 9110 section 10.2.3 (seconds, HTTP dates), Go durations (OpenAI, Groq), RFC 3339 (Anthropic), UNIX seconds
and milliseconds (Electron Hub, OpenRouter, Cohere's SDK).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_UNIT_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)", re.ASCII)
_GO_DURATION: Final = re.compile(rf"(?:{_GO_PART.pattern})+", re.ASCII)

# A number this large is a moment and no duration: 1e9 s is 2001 as UNIX seconds, and 31 years as a duration.
_UNIX_SECONDS: Final = 1e9
_UNIX_MILLISECONDS: Final = 1e12
_MOST: Final = 1e15
"""A larger count is a way to say that there is no limit."""


def number(text: str | None) -> float | None:
    """A finite number of at least 0; None when it is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def count(text: str | None, *, times: float = 1.0) -> int | None:
    """So many `times` a number of requests or tokens of at most 1e15; what is less than one is cut off."""
    value = number(text)
    return None if value is None or value > _MOST else int(value * times)


def go_duration_s(text: str) -> float | None:
    """The seconds of a Go duration such as `6m0s`, `120ms`, `1h2m3.5s`; None when it is none."""
    if not _GO_DURATION.fullmatch(text):
        return None
    seconds = sum(float(amount) * _UNIT_S[unit] for amount, unit in _GO_PART.findall(text))
    return seconds if math.isfinite(seconds) else None


def moment(text: str) -> float | None:
    """UNIX seconds of an RFC 3339 moment or an HTTP date."""
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        try:
            found = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        return found.timestamp()
    except (ValueError, OverflowError):
        return None


def seconds_from(clock: float, text: str | None, *, late_s: float = 0.0) -> float | None:
    """Seconds from `clock` (UNIX seconds) in any of the notations: a number, a Go duration, a moment.

    None when nothing usable is said, or a moment gone by. `late_s`: by so much it may have gone by and is now.
    """
    if text is None:
        return None
    text = text.strip()
    amount = number(text)
    if amount is None:
        seconds = go_duration_s(text)
        if seconds is not None:
            return seconds
        then = moment(text)
    elif amount < _UNIX_SECONDS:
        return amount
    else:
        then = amount / 1000 if amount >= _UNIX_MILLISECONDS else amount
    return max(then - clock, 0.0) if then is not None and then >= clock - late_s else None


def provider_clock(headers: Mapping[str, str], now: float | None) -> float:
    """UNIX seconds by the provider's own `date` header, because its clock is not ours; else `now`; else by ours."""
    date = headers.get("date")
    then = moment(date) if date else None
    if then is not None:
        return then
    return time.time() if now is None else now
