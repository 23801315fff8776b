"""What a call that ended means for its lane's allowances: what it used, and what its answer tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chatq.contract.token_estimate import longest_answer
from chatq.ledger.call_facts import NOT_CALLED, LimitTold, TokensUsed
from chatq_worker.failures import CallFailed, FailureClass
from chatq_worker.providers import Chat, Usage
from chatq_worker.providers.charging import Charge, charging_of
from chatq_worker.providers.rate_limit_headers import MONTH_S, observed_limits

_NOTHING: Final = TokensUsed(0, 0, 0, 0)
"""The request itself still counts."""
_KINDS: Final = ("requests", "tokens", "input_tokens", "output_tokens")
_MINUTE_S: Final = 60.0


def used_by_success(source: str, chat: Chat, usage: Usage) -> TokensUsed | str:
    """What an answered call took. Empty when the answer does not say: then what was reserved counts."""
    if usage.prompt_tokens <= 0:
        return ""
    charging = charging_of(source, chat.model)
    prompt, answer = usage.prompt_tokens, usage.completion_tokens
    cached = 0 if charging.cached_input_counts else usage.cached_tokens or 0
    output = answer
    if charging.answer is Charge.RESERVED:
        output = longest_answer(chat.params) or answer
    return TokensUsed(max(0, prompt - cached), output, prompt, answer)


def used_by_failure(source: str, model: str, failure: CallFailed) -> TokensUsed | str:
    """What a failed call took: nothing when it was not sent or refused at the door; no tokens when its request was
    refused; else what it had reserved, because nobody says."""
    if not failure.sent:
        return NOT_CALLED
    if failure.kind is FailureClass.RATE_LIMITED:
        return _NOTHING if charging_of(source, model).failed_calls_count else NOT_CALLED
    return "" if failure.kind is FailureClass.TRANSIENT else _NOTHING


def told_by(source: str, headers: Mapping[str, str]) -> tuple[LimitTold, ...]:
    """What the headers of an answer tell of the allowances that the ledger keeps: of each kind the minute's, where that
    is told, and of requests the day's."""
    told: dict[tuple[str, bool], LimitTold] = {}
    for seen in observed_limits(source, headers):
        kind = next((kind for kind in _KINDS if seen.kind == kind or seen.kind.startswith(f"{kind}_")), None)
        if kind is None or seen.limit is None or seen.window_s >= MONTH_S:
            continue
        place = (kind, seen.window_s > 3600)
        if place in told and seen.window_s != _MINUTE_S:
            continue
        told[place] = LimitTold(kind, seen.limit, seen.remaining, seen.window_s, seen.reset_s)
    return tuple(told.values())
