"""What a connection has spent, in all and today, and what it may spend in a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from chatq.contract.dollars import UNKNOWN, cost, dollars
from chatq.contract.record import BatchUsage, Moment


class ConnectionSpending(BaseModel):
    """Of the calls that a connection made, as a fallback too. US dollars; days are UTC days."""

    model_config = ConfigDict(frozen=True)

    usage: BatchUsage
    """Tokens of all answers."""
    cost_usd: float | None = None
    """Of the answers whose cost is known; None: of none."""
    uncosted: int = 0
    """Answers whose cost nobody knows."""
    maybe_charged_usd: float = 0.0
    """What calls under a budget had reserved that may have been charged, and nobody knows how much."""
    today_usd: float | None = None
    """Spent since midnight, with what may have been charged; None: nothing that is known."""
    per_day_usd: float | None = None
    """The budget of a day; None: there is none."""
    reserved_usd: float = 0.0
    """By calls under way that count against a budget."""
    goes_on_at: Moment | None = None
    """The budget of the day is used up, and jobs wait until then; None: it is not."""


def read_spending(facts: Mapping[str, str]) -> ConnectionSpending:
    """What the ledger found (`spending_of` in `budgets.lua`), typed."""

    def dollars(name: str) -> float | None:
        return None if name not in facts else int(facts[name]) / 1e9

    prompt, answer = int(facts.get("prompt_tokens", 0)), int(facts.get("answer_tokens", 0))
    goes_on = facts.get("goes_on")
    return ConnectionSpending(
        usage=BatchUsage(prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer),
        cost_usd=dollars("cost"),
        uncosted=int(facts.get("uncosted", 0)),
        maybe_charged_usd=dollars("lost_cost") or 0.0,
        today_usd=dollars("day_cost") or None,
        per_day_usd=dollars("per_day"),
        reserved_usd=dollars("held_cost") or 0.0,
        goes_on_at=None if goes_on is None else datetime.fromtimestamp(float(goes_on) / 1000, UTC),
    )


def told_spending(spending: ConnectionSpending) -> tuple[str, str]:
    """Cost today, with the budget of the day if there is one, and in all, for people to read."""
    today = told_today(spending)
    if spending.per_day_usd is not None:
        today = f"{today} of {dollars(spending.per_day_usd)}"
    return today, cost(spending.cost_usd, spending.uncosted)


def told_today(spending: ConnectionSpending) -> str:
    """Cost today. Of which day the answers of unknown cost are is not counted: where there are no others, theirs may
    be of today."""
    if spending.today_usd is None and spending.cost_usd is None and spending.uncosted:
        return UNKNOWN
    return dollars(spending.today_usd or 0.0)
