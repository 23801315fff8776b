"""The reference model's budgets: what connections and batches have spent, and what calls under way have reserved.

Dollars are billionths of one, as in `budgets.lua`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ledger_limits import DAY_MS

from chatq.ledger.call_facts import Spent


class Charge(NamedTuple):
    """What a call has reserved."""

    tokens: int
    cost: int


@dataclass
class Account:
    """Of a connection, or of a batch."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: int = 0
    uncosted: int = 0
    held_tokens: int = 0
    held_cost: int = 0
    lost_tokens: int = 0
    lost_cost: int = 0
    days: dict[int, int] = field(default_factory=dict)
    """What was spent, by UTC day."""

    def hold(self, charge: Charge, sign: int) -> None:
        self.held_tokens += sign * charge.tokens
        self.held_cost += sign * charge.cost

    def spend(self, spent: Spent | str, charge: Charge, now: int) -> None:
        """`spent` as a worker settles it; what it leaves unknown counts as it was reserved."""
        if spent == "":
            return
        lost_tokens, lost_cost = charge
        paid = 0
        if isinstance(spent, Spent):
            self.prompt_tokens += spent.prompt
            self.answer_tokens += spent.answer
            if spent.prompt or spent.answer:
                lost_tokens = 0
            if spent.cost_usd is None:
                self.uncosted += 1
            else:
                paid, lost_cost = round(spent.cost_usd * 1e9), 0
                self.cost += paid
        self.lost_tokens += lost_tokens
        self.lost_cost += lost_cost
        today = now // DAY_MS
        self.days = {today: self.days.get(today, 0) + paid + lost_cost}

    def counters(self) -> dict[str, int]:
        """All of them as a hash has them; without those that are 0."""
        return {name: count for name, count in vars(self).items() if isinstance(count, int) and count}


@dataclass
class Asked:
    """What the first job of a flow asks of its budgets, and what stands in its way: `waits` ('budget', 'price'), `over`
    (the kind of the budget that has not enough, with what it would `need`), or `refused`."""

    charge: Charge = field(default_factory=lambda: Charge(0, 0))
    waits: str = ""
    over: str = ""
    needs: int = 0
    refused: bool = False
