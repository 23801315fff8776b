"""When a provider says to come back, and whether it says to come back at all.

Sources: RFC 9110 section 10.2.3 (`Retry-After`), `retry-after-ms` and `x-should-retry` as the SDKs of OpenAI and
Anthropic read them, the resets in the headers of limits (`rate_limit_headers.py`), and what error texts say: OpenAI's
and Azure's sentences, Gemini's `retryDelay`, the `retry_after` of gateways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from chatq_worker.providers.header_values import number, provider_clock, seconds_from
from chatq_worker.providers.rate_limit_headers import observed_limits

_SPELLINGS: Final = (
    (1e-9, "ns"),
    (1e-6, "us µs"),
    (1e-3, "ms msec msecs millisecond milliseconds"),
    (1.0, "s sec secs second seconds"),
    (60.0, "m min mins minute minutes"),
    (3600.0, "h hr hrs hour hours"),
    (86_400.0, "d day days"),
)
_UNIT_S: Final = {word: seconds for seconds, words in _SPELLINGS for word in words.split()}
_AMOUNT: Final = re.compile(
    rf"(\d{{1,12}}(?:\.\d*)?|\.\d+) ?({'|'.join(sorted(_UNIT_S, key=len, reverse=True))})(?![a-z])",
    re.ASCII | re.IGNORECASE,
)
_IN_A_WHILE: Final = re.compile(
    rf"(?:try again|retry|wait)(?: after| in| for)?:? +(?:about |another )?"
    rf"(?P<amounts>{_AMOUNT.pattern}(?:,? ?(?:and )?{_AMOUNT.pattern})*)",
    re.ASCII | re.IGNORECASE,
)
_AT_A_MOMENT: Final = re.compile(
    r"(?:try again|retry|wait|resets?)(?: at| after| on| until)?:? +"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d))",
    re.ASCII | re.IGNORECASE,
)
_FIELD: Final = re.compile(
    r'"retry[_-]?(?:after|delay)[_-]?(?:(?P<ms>ms|milliseconds)|s|seconds)?"\s*:\s*'
    r'(?P<quote>"?)(?P<value>\d{1,13}(?:\.\d{1,12})?)s?(?P=quote)(?=\s*[,}\]])',
    re.ASCII | re.IGNORECASE,
)
"""A field of a JSON body: `"retry_after": 12.5`, `"retryAfterMs": 500`, `"retryDelay": "17s"`."""

_SEARCHED_CHARACTERS: Final = 4000


def retry_after_s(headers: Mapping[str, str], text: str = "", *, now: float | None = None) -> float | None:
    """Seconds from now, of any length, or None when nothing usable is said.

    `headers` have lower-case names; `text` is the body of the answer, which some providers put the moment into. The
    first that says something counts: `retry-after-ms`, `retry-after`, the resets of the allowances that are used
    up (the latest of them), the text. Negative, NaN and infinite values, and moments gone by, are ignored.

    A moment is measured against the provider's own `date` header where there is one, because its clock is not
    ours; else against `now` (UNIX seconds; None: this machine's clock).
    """
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    clock = provider_clock(headers, now)
    for seconds in (seconds_from(clock, headers.get("retry-after")), _until_reset(headers, clock)):
        if seconds is not None:
            return seconds
    return _in_text(text[:_SEARCHED_CHARACTERS], clock)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says, or None when it is absent or says something else."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _until_reset(headers: Mapping[str, str], clock: float) -> float | None:
    seen = observed_limits("", headers, now=clock)
    return max(
        (limit.reset_s for limit in seen if limit.remaining == 0 and limit.reset_s is not None), default=None
    )


def _in_text(text: str, clock: float) -> float | None:
    match = _FIELD.search(text)
    if match is not None:
        return float(match["value"]) / 1000 if match["ms"] else seconds_from(clock, match["value"])
    match = _IN_A_WHILE.search(text)
    if match is not None:
        amounts = _AMOUNT.findall(match["amounts"])
        return sum(float(amount) * _UNIT_S[unit.lower()] for amount, unit in amounts)
    match = _AT_A_MOMENT.search(text)
    return None if match is None else seconds_from(clock, match[1])
