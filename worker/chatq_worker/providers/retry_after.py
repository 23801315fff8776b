"""When a provider says to come back, and whether it says to come back at all.

Sources: RFC 9110 section 10.2.3 (`Retry-After`), `retry-after-ms` and `x-should-retry` as the SDKs of OpenAI and
Anthropic read them, and the reset headers of the providers: Go durations (OpenAI, Groq), RFC 3339 (Anthropic), UNIX
seconds (Electron Hub, Cohere's SDK).
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
_IN_TEXT: Final = re.compile(
    r"(?:try again|retry|wait)(?: after| in| for)?:? +(?:about |another )?"
    rf"(?:(?P<go>(?:{_GO_PART.pattern})+)(?![a-z])|(?P<count>\d{{1,12}}(?:\.\d+)?) *"
    r"(?P<unit>millisecond|second|minute|hour|day)s?)",
    re.ASCII | re.IGNORECASE,
)
_RETRY_INFO: Final = re.compile(r'"retryDelay"\s*:\s*"(\d{1,12}(?:\.\d+)?)s"')
_WORD_S: Final = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}

_RESETS: Final = (
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
)
"""Header of a moment, and the header that says whether that allowance is the one that is used up."""

# A number this large is a moment and no duration: 1e9 s is 2001 as UNIX seconds, and 31 years as a duration.
_UNIX_SECONDS: Final = 1e9
_UNIX_MILLISECONDS: Final = 1e12
_SEARCHED_CHARACTERS: Final = 4000


def retry_after_s(headers: Mapping[str, str], text: str = "", *, now: float | None = None) -> float | None:
    """Seconds from now, of any length, or None when nothing usable is said.

    `headers` have lower-case names; `text` is the body of the answer, which some providers put the moment into. The
    first that says something counts: `retry-after-ms`, `retry-after`, the resets of the allowances that are used
    up (the latest of them), the text. Negative, NaN and infinite values, and moments gone by, are ignored.

    A moment is measured against the provider's own `date` header where there is one, because its clock is not
    ours; else against `now` (UNIX seconds; None: this machine's clock).
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    here = _provider_clock(headers, now)
    for seconds in (_from_now(headers.get("retry-after"), here), _until_reset(headers, here)):
        if seconds is not None:
            return seconds
    return _in_text(text[:_SEARCHED_CHARACTERS])


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says, or None when it is absent or says something else."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def go_duration_s(text: str) -> float | None:
    """The seconds of a Go duration such as `6m0s`, `120ms`, `1h2m3.5s`; None when it is none."""
    if not _GO_DURATION.fullmatch(text):
        return None
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _GO_PART.findall(text))
    return seconds if math.isfinite(seconds) else None


def _from_now(text: str | None, here: float) -> float | None:
    """Seconds in any of the notations: a number, a Go duration, a moment."""
    if text is None:
        return None
    text = text.strip()
    number = _number(text)
    if number is not None:
        if number < _UNIX_SECONDS:
            return number
        return _ahead(number / 1000 if number >= _UNIX_MILLISECONDS else number, here)
    seconds = go_duration_s(text)
    if seconds is not None:
        return seconds
    moment = _moment(text)
    return None if moment is None else _ahead(moment, here)


def _ahead(moment: float, here: float) -> float | None:
    return moment - here if moment >= here else None


def _moment(text: str) -> float | None:
    """UNIX seconds of an RFC 3339 moment or an HTTP date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _until_reset(headers: Mapping[str, str], here: float) -> float | None:
    used_up = []
    for reset, remaining in _RESETS:
        if _number(headers.get(remaining)) == 0:
            seconds = _from_now(headers.get(reset), here)
            if seconds is not None:
                used_up.append(seconds)
    return max(used_up, default=None)


def _in_text(text: str) -> float | None:
    match = _RETRY_INFO.search(text)
    if match is not None:
        return float(match[1])
    match = _IN_TEXT.search(text)
    if match is None:
        return None
    if match["go"] is not None:
        return go_duration_s(match["go"].lower())
    return float(match["count"]) * _WORD_S[match["unit"].lower()]


def _provider_clock(headers: Mapping[str, str], now: float | None) -> float:
    date = headers.get("date")
    moment = _moment(date) if date else None
    if moment is not None:
        return moment
    return time.time() if now is None else now


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
