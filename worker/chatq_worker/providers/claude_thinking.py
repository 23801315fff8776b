"""How Claude is told to think: a budget of tokens, an effort, or nothing, by the model's generation.

Source: Anthropic, Extended thinking and Adaptive thinking; SDK types ThinkingConfigParam and OutputConfigParam.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chatq_worker.providers.model_rules import SAMPLING, ModelRules, Thinking, nearest_effort
from chatq_worker.providers.parameters import Parameters

LEAST_BUDGET: Final = 1024
BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 8192,
    "xhigh": 12_288,
    "max": 12_288,
}
"""Tokens to think with, for OpenAI's words. All fit below the cap that is sent when the job names none."""

_HAS_EFFORT: Final = (Thinking.ADAPTIVE, Thinking.EITHER)


def think(body: dict[str, Any], params: Parameters, rules: ModelRules) -> bool:
    """Write `thinking` and `output_config.effort` into a body that has its `max_tokens`, in place.

    Says whether the model will think; then the sampling parameters that it refuses meanwhile are dropped.
    """
    wanted = params.take("thinking")
    effort = params.take("reasoning_effort")
    if rules.thinking is Thinking.NONE:
        for name, value in (("thinking", wanted), ("reasoning_effort", effort)):
            if value is not None and value != "none":
                params.warn(name, "the model does not think")
        return False
    if effort is not None and (not isinstance(effort, str) or effort not in (*BUDGETS, "none")):
        params.warn("reasoning_effort", "Claude knows no such effort")
        effort = None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if wanted is not None and kind not in ("enabled", "disabled", "adaptive"):
        params.warn(
            "thinking", 'it is written as {"type": "enabled", "budget_tokens": ...} or {"type": "adaptive"}'
        )
        wanted, kind = None, None
    if kind == "disabled":
        body["thinking"] = {"type": "disabled"}
        return False
    if kind is None and effort in (None, "none"):
        return False
    thinking = dict(wanted) if isinstance(wanted, Mapping) else {}
    if rules.thinking in _HAS_EFFORT and (kind != "enabled" or rules.thinking is Thinking.ADAPTIVE):
        _by_effort(body, params, rules, thinking, effort)
    elif not _by_budget(body, params, thinking, effort):
        return False
    _drop_sampling(params)
    return True


def _by_effort(
    body: dict[str, Any], params: Parameters, rules: ModelRules, thinking: dict[str, Any], effort: Any
) -> None:
    budget = thinking.pop("budget_tokens", None)
    if thinking.get("type") == "enabled":
        params.changed("thinking", "adaptive", "the model takes an effort, and no number of tokens")
        if effort in (None, "none") and isinstance(budget, int):
            effort = next((word for word, tokens in BUDGETS.items() if tokens >= budget), "high")
    thinking["type"] = "adaptive"
    if rules.thinking is Thinking.ADAPTIVE:
        # Newer models leave the text of their thoughts out unless they are asked for it.
        thinking.setdefault("display", "summarized")
    body["thinking"] = thinking
    if effort not in (None, "none"):
        nearest = nearest_effort(effort, rules.efforts) or effort
        if nearest != effort:
            params.changed("reasoning_effort", nearest, f"the model has {', '.join(rules.efforts)}")
        body.setdefault("output_config", {}).setdefault("effort", nearest)


def _by_budget(body: dict[str, Any], params: Parameters, thinking: dict[str, Any], effort: Any) -> bool:
    """Whether there is room for thoughts below `max_tokens`: the budget is at least 1024, and less than that."""
    cap = body["max_tokens"]
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "adaptive":
        params.changed("thinking", "a budget of tokens", "the model takes no effort")
        thinking.pop("display", None)
    if not isinstance(budget, int) or isinstance(budget, bool):
        budget = BUDGETS.get(effort if isinstance(effort, str) else "medium", BUDGETS["medium"])
    if isinstance(cap, int) and cap <= LEAST_BUDGET:
        params.warn("thinking", f"it needs a max_tokens above {LEAST_BUDGET}")
        return False
    fitting = max(budget, LEAST_BUDGET)
    if isinstance(cap, int) and fitting >= cap:
        fitting = max(LEAST_BUDGET, cap // 2)
    if fitting != budget:
        params.changed("thinking.budget_tokens", fitting, f"it lies between {LEAST_BUDGET} and max_tokens")
    body["thinking"] = {**thinking, "type": "enabled", "budget_tokens": fitting}
    return True


def _drop_sampling(params: Parameters) -> None:
    for name in sorted(SAMPLING):
        value = params.get(name)
        if value is None or (name == "temperature" and value == 1):
            continue
        if name == "top_p" and isinstance(value, int | float) and 0.95 <= value <= 1:
            continue
        params.drop(name, "Claude does not take it while it thinks")
