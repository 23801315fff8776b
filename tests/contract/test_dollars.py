"""Costs as people read them: one form, and one word for what nobody knows."""

from __future__ import annotations

from chatq.contract.dollars import cost, dollars
from chatq.contract.record import BatchUsage
from chatq.contract.spending import ConnectionSpending, told_spending
from for_each import for_each

USAGE = BatchUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)


@for_each(
    ("usd", "told"),
    [
        (0, "$0.00"),
        (0.000098, "$0.000098"),
        (0.00001234, "$0.000012"),
        (0.0001, "$0.0001"),
        (0.0371, "$0.0371"),
        (0.397, "$0.397"),
        (0.5, "$0.50"),
        (4.91, "$4.91"),
        (1234.5, "$1,234.50"),
        (None, "unknown"),
    ],
)
def test_dollars_have_two_to_four_decimals_or_two_digits(usd: float | None, told: str) -> None:
    assert dollars(usd) == told


def test_answers_whose_cost_nobody_knows_are_never_0() -> None:
    assert [cost(None, 0), cost(None, 2), cost(0.5, 0), cost(0.5, 1200)] == [
        "$0.00",
        "unknown",
        "$0.50",
        "$0.50 + 1,200 unknown",
    ]


def test_a_connection_of_which_no_cost_is_known_has_cost_nothing_known_today() -> None:
    nothing, unknown = ConnectionSpending(usage=USAGE), ConnectionSpending(usage=USAGE, uncosted=3)
    both = ConnectionSpending(usage=USAGE, uncosted=3, cost_usd=0.25, today_usd=0.125, per_day_usd=20)
    assert told_spending(nothing) == ("$0.00", "$0.00")
    assert told_spending(unknown) == ("unknown", "unknown")
    assert told_spending(both) == ("$0.125 of $20.00", "$0.25 + 3 unknown")
