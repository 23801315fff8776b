"""What an answer's headers tell of the provider's limits.

Read by their names, whoever sends them: gateways pass on what stands behind them, and many providers use OpenAI's
names. Sources, as of November 2026:

- OpenAI, Rate limits; Azure OpenAI (no limit, or -1 where there is none); Groq, Rate limits (OpenAI's names, where the
  requests "always" are a day's); LiteLLM, Response headers (OpenAI's names; the provider's own behind `llm_provider-`).
- Anthropic, Rate limits: resets in whole seconds (RFC 3339), tokens rounded to a thousand.
- Mistral: seen in answers (`x-ratelimit-limit-req-minute`, `-tokens-month`, `-req-10-second`; client-ts issue 169).
  Cerebras, SambaNova: `x-ratelimit-limit-requests-day` and the like.
- Cohere: seen with trial keys. Electron Hub, Rate limits: `x-ratelimit-limit` and so on, without a subject.
- Fireworks, Response headers: "tokens per second"; Rate limits: "enforcement uses TPM".
- RateLimit header fields for HTTP (draft-ietf-httpapi-ratelimit-headers): -06 (`ratelimit-limit: 100;w=60`), -07
  (`ratelimit: limit=100, remaining=50, reset=5`) and -08 on (`"name";q=100;w=60`, `"name";r=50;t=5`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from chatq_worker.providers.header_values import count, number, provider_clock, seconds_from

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
MONTH_S: Final = 30 * DAY_S

_WINDOWS_S: Final = {"second": 1.0, "minute": MINUTE_S, "hour": HOUR_S, "day": DAY_S, "month": MONTH_S}
_SUFFIXES: Final = {
    MINUTE_S: "",
    **{seconds: f"_{name}" for name, seconds in _WINDOWS_S.items() if name != "minute"},
}

_KINDS: Final[Mapping[str, str]] = {
    "": "requests",
    "req": "requests",
    "request": "requests",
    "requests": "requests",
    "token": "tokens",
    "tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
    "tokens-prompt": "input_tokens",
    "tokens-generated": "output_tokens",
    "tokens-cache-adjusted-prompt": "uncached_input_tokens",
}
"""What is counted, by the subject in a header's name."""

_SAID_FOR_A_SECOND: Final = frozenset({"tokens-prompt", "tokens-generated", "tokens-cache-adjusted-prompt"})

_BY_THE_MINUTE: Final = frozenset({"claude", "mistralai", "fireworks", "electronhub"})
"""Sources whose documents say that a window without a name is a minute."""

_PART_FIRST: Final = re.compile(
    r"(?:x-)?ratelimit-(?P<part>limit|remaining|reset)(?:-(?P<subject>[a-z-]+?))??"
    r"(?:-(?:(?P<times>[1-9]\d{0,3})-)?(?P<window>second|minute|hour|day|month))?"
)
_PART_LAST: Final = re.compile(r"anthropic-ratelimit-(?P<subject>[a-z-]+)-(?P<part>limit|remaining|reset)")
_ODD_NAMES: Final[Mapping[str, tuple[str, float, str]]] = {
    "x-trial-endpoint-call-limit": ("requests", MINUTE_S, "limit"),
    "x-trial-endpoint-call-remaining": ("requests", MINUTE_S, "remaining"),
    "x-endpoint-monthly-call-limit": ("requests", MONTH_S, "limit"),
}
"""Subject, window and part that a name stands for."""
_COST: Final = "x-ratelimit-tokens-query-cost"
_BEHIND_A_GATEWAY: Final = "llm_provider-"

_MEMBER: Final = re.compile(r'(?:"[^"]*"|[^",])+')

# Resets in whole seconds: one that has just been may be rounded down, and the `date` it is held against is as well.
_ROUNDING_S: Final = 1.0
_LONGEST_RESET_S: Final = 32 * DAY_S
_LONGEST_WINDOW_S: Final = 366 * DAY_S
_READ_CHARACTERS: Final = 500
_FITS: Final = 0.02
"""How far a conclusion from rounded figures may be off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLimit:
    """A limit of the provider's, as far as an answer told it."""

    kind: str
    """What is counted: `requests`, `tokens`, `input_tokens`, `output_tokens`, `uncached_input_tokens`; where it is by
    something else than the minute followed by `_second`, `_hour`, `_day`, `_month`, or `_10s` for ten seconds."""
    window_s: float
    """Seconds in which `limit` may go: 1, 60, 3600, 86400, 2592000 (a month), or another number the provider named."""
    limit: int | None = None
    """At least 1; None: not said."""
    remaining: int | None = None
    """What may go now at once, 0 to `limit`; None: not said."""
    reset_s: float | None = None
    """Seconds until all of it is there again; None: not said. From a moment it is exact to two seconds."""
    cost: int | None = None
    """What this very call took out; None: not said."""


@dataclass(slots=True)
class _Said:
    """What is said of one allowance, as it is written. `window_s`: None when its name does not say."""

    subject: str
    window_s: float | None
    limit: str | None = None
    remaining: str | None = None
    reset: str | None = None
    cost: str | None = None


def observed_limits(
    source: str, headers: Mapping[str, str], *, now: float | None = None
) -> tuple[ObservedLimit, ...]:
    """The limits that the headers of an answer tell, one of each kind, by kind.

    `headers` have lower-case names. A moment is measured against their `date`, else against `now` (UNIX seconds; None:
    this machine's clock). What makes no sense is ignored: negative, without end, beyond 1e15, no number, more
    remaining than the limit. A limit of 0, or one that is no number, voids all that is said with it: it means that
    there is none, or that the account has none. Of a gateway's own limits and those of the provider behind it, which
    it may share among many, its own count.

    Where neither the header's name nor the source's documents say the window, it is a minute unless `reset` proves
    otherwise: see `_window_s`.
    """
    clock = provider_clock(headers, now)
    found: dict[str, ObservedLimit] = {}
    for said in (*_said(headers), *_said(_behind(headers))):
        seen = _observed(source, said, clock)
        if seen is not None:
            found.setdefault(seen.kind, seen)
    return tuple(found[kind] for kind in sorted(found))


def _behind(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(_BEHIND_A_GATEWAY): value
        for name, value in headers.items()
        if name.startswith(_BEHIND_A_GATEWAY)
    }


def _said(headers: Mapping[str, str]) -> Iterator[_Said]:
    allowances: dict[tuple[str, float | None], _Said] = {}
    for name, value in headers.items():
        place = _place(name)
        if place is not None:
            subject, window_s, part = place
            said = allowances.setdefault((subject, window_s), _Said(subject, window_s))
            setattr(said, part, value[:_READ_CHARACTERS])
    cost = headers.get(_COST)
    if cost is not None:
        tokens = [said for said in allowances.values() if said.subject == "tokens"]
        for said in tokens or [allowances.setdefault(("tokens", None), _Said("tokens", None))]:
            said.cost = cost
    policy = headers.get("ratelimit-policy", "")[:_READ_CHARACTERS]
    for said in allowances.values():
        yield from _by_policy(said, policy) if said.subject == "" else (said,)
    yield from _structured(headers.get("ratelimit", "")[:_READ_CHARACTERS], policy)


def _place(name: str) -> tuple[str, float | None, str] | None:
    """The subject, the window in seconds (None: not said) and the part that a header is about."""
    odd = _ODD_NAMES.get(name)
    if odd is not None:
        return odd
    if "ratelimit-" not in name:
        return None
    match = _PART_FIRST.fullmatch(name)
    if match is not None:
        subject, window, times = match["subject"] or "", match["window"], match["times"]
        if subject not in _KINDS:
            return None
        return subject, _window(_WINDOWS_S[window] * int(times or 1)) if window else None, match["part"]
    match = _PART_LAST.fullmatch(name)
    return (
        None
        if match is None or match["subject"] not in _KINDS
        else (match["subject"], MINUTE_S, match["part"])
    )


def _by_policy(said: _Said, policy: str) -> Iterator[_Said]:
    """The allowances of a limit whose windows are listed with it (`100, 100;w=60, 5000;w=86400`) or in
    `ratelimit-policy`: what remains is of the first."""
    listed = [] if said.limit is None else list(_members(said.limit))
    said.limit = listed[0][0] if listed else said.limit
    for limit, values in (*listed, *_members(policy)):
        window_s = _window(number(values.get("w", values.get("window"))))
        if window_s is not None and count(limit) == count(said.limit):
            said.window_s = window_s
        elif window_s is not None:
            yield _Said(said.subject, window_s, values.get("q", limit))
    yield said


def _structured(limits: str, policy: str) -> Iterator[_Said]:
    """The allowances of `ratelimit` and `ratelimit-policy`; those that count something else than requests left out."""
    said = {
        name: _Said("requests", _window(number(values.get("w"))), values.get("q", name))
        for name, values in _members(policy)
        if values.get("qu", '"requests"') == '"requests"'
    }
    for name, values in _members(limits):
        # The parameters of -08 on, then the words of -07, where the limit itself names the policy.
        place = values.get("limit", name)
        known = said.setdefault(place, _Said("requests", None, values.get("limit")))
        known.remaining = values.get("r", values.get("remaining"))
        known.reset = values.get("t", values.get("reset"))
    yield from said.values()


def _members(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The members of a list with their parameters; bare words with a value (-07) are together one without a name."""
    words: dict[str, str] = {}
    for member in _MEMBER.findall(text):
        pairs = [tuple(side.strip() for side in piece.partition("=")) for piece in member.split(";")]
        if pairs[0][1]:
            words[pairs[0][0]] = pairs[0][2]
        else:
            yield pairs[0][0].strip('"'), {key: value for key, _, value in pairs[1:]}
    if words:
        yield "", words


def _window(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 < seconds <= _LONGEST_WINDOW_S else None


def _observed(source: str, said: _Said, clock: float) -> ObservedLimit | None:
    a_second = said.subject in _SAID_FOR_A_SECOND
    limit = count(said.limit, times=MINUTE_S if a_second else 1.0)
    if said.limit is not None and not limit:
        return None
    remaining, cost = count(said.remaining), count(said.cost)
    if remaining and (a_second or (limit is not None and remaining > limit)):
        # What is left of a rate says nothing of the bucket, but that it is empty.
        remaining = None
    if limit is None and remaining is None and cost is None:
        return None
    reset_s = seconds_from(clock, said.reset, late_s=_ROUNDING_S)
    if reset_s is not None and reset_s > _LONGEST_RESET_S:
        reset_s = None
    window_s = said.window_s
    if window_s is None:
        window_s = MINUTE_S if source in _BY_THE_MINUTE else _window_s(limit, remaining, reset_s)
    return ObservedLimit(
        kind=_KINDS[said.subject] + _SUFFIXES.get(window_s, f"_{window_s:.15g}s"),
        window_s=window_s,
        limit=limit,
        remaining=remaining,
        reset_s=reset_s,
        cost=cost,
    )


def _window_s(limit: int | None, remaining: int | None, reset_s: float | None) -> float:
    """The window that goes with these figures: a minute, unless that cannot be.

    A bucket that is refilled continuously is full again after `used / limit` of its window, where `remaining` is
    rounded down: used lies above `limit - remaining - 1`. So 3 of 200 used and a reset of 16m17s is a day (OpenAI's
    free tier), and 30 of 14,400 and 2m59s too (Groq).

    - Up to two minutes a reset can be a minute's, however it is counted: a fixed window resets within its length, a
      bucket in debt within twice. To conclude more would make an hour of each "59 of 60, reset in 60 s".
    - A second is never concluded: a minute's limit with a second's bucket looks the same at its end.
    - Beyond two hours it is a day's, if a fixed one.
    """
    if reset_s is None or reset_s <= 2 * MINUTE_S:
        return MINUTE_S
    if limit is not None and remaining is not None and remaining < limit:
        used = limit - remaining
        least = reset_s * limit / used * (1 - _FITS)
        most = reset_s * limit / max(used - 1, 0.5) * (1 + _FITS)
        for window_s in (HOUR_S, DAY_S):
            if least <= window_s <= most:
                return window_s
    return DAY_S if reset_s > 2 * HOUR_S else MINUTE_S
