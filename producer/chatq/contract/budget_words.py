"""Budgets in words: what is used up, and what to do about it."""

from __future__ import annotations

import math

from chatq.contract.dollars import dollars
from chatq.contract.record import Batch


def amount(budget: str, number: float) -> str:
    """So much of a budget (`per_day_usd`, `max_cost`, `max_tokens`) as a person writes it."""
    if budget == "max_tokens":
        return f"{number:,.0f} tokens"
    return dollars(number)


def raise_it(batch_id: str, budget: str, needs: float) -> str:
    """How a batch whose budget is used up goes on. `needs`: the least that it has to be."""
    least = (
        f"{needs:.0f}"
        if budget == "max_tokens"
        else f"{math.ceil(needs * 1e6) / 1e6:f}".rstrip("0").rstrip(".")
    )
    option = "--" + budget.replace("_", "-")
    return f"Raise it, and go on: chatq batch resume {batch_id} {option} N, with N of {least} at the least."


def used_up(batch: Batch) -> tuple[str, str] | None:
    """What of a batch's budgets is used up, and the remedy; None: none is."""
    budget = batch.budget
    if budget is None or budget.used_up is None or budget.needs is None:
        return None
    limit = (budget.max_cost_usd if budget.used_up == "max_cost" else budget.max_tokens) or 0
    has, needs = amount(budget.used_up, limit), amount(budget.used_up, budget.needs)
    what = f"its {budget.used_up} of {has} has not enough left for the next job: with that it would be about {needs}"
    return what, raise_it(batch.id, budget.used_up, budget.needs)
