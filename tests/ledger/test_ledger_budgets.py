"""Budgets: of a batch in tokens and dollars, of a connection in dollars a UTC day."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_driver import LedgerDriver
from test_ledger_batch_control import move
from test_ledger_batches import open_batch, read
from test_ledger_limits_told import facts, limits
from test_ledger_why import why

from chatq.contract.record import BatchBudget, rfc3339
from chatq.ledger.call_facts import MAYBE_CHARGED, CallPrice, Spent, TokensUsed
from chatq.ledger.replies import Admitted

CENTS_A_TOKEN = CallPrice(0, 10_000, 10_000)
"""A cent for each token."""
HUNDRED: dict[str, Any] = {"params": {"max_tokens": 93}}
"""A job of a hundred tokens: "Say hi" is reckoned as 7."""
UNTIL_MIDNIGHT_S = 16 * 3600
"""The clock of a test starts at 8."""


def used(tokens: int, cost_usd: float | None = None) -> dict[str, Any]:
    """What a call of so many tokens settles with."""
    counted = TokensUsed(7, tokens - 7, 7, tokens - 7)
    return {"used": counted, "spent": Spent(7, tokens - 7, cost_usd)}


def budgeted(ledger: LedgerDriver, name: str = "b", **budgets: Any) -> None:
    """A batch with budgets, and a worker."""
    assert ledger.run(ledger.ledger.open_batch(name, {}, 60, **budgets))
    if "worker:w1" not in ledger.everything():
        ledger.worker()


def budget_of(ledger: LedgerDriver, name: str = "b") -> BatchBudget:
    budget = read(ledger, name).budget
    assert budget is not None
    return budget


def resume(ledger: LedgerDriver, **budgets: Any) -> str:
    return ledger.run(ledger.ledger.resume_batch("b", **budgets))


def price(ledger: LedgerDriver, of: CallPrice | None = CENTS_A_TOKEN, *connections: str) -> None:
    """Tell what calls of model m cost."""
    prices = {(name, "m"): of for name in connections or ("alpha",)}
    ledger.run(ledger.ledger.tell_prices(prices))


def a_day(ledger: LedgerDriver, dollars: float, **rules: str | int) -> None:
    """A connection `alpha` with a budget, and one `beta` of the same account without."""
    named = {name.replace("__", ":"): value for name, value in rules.items()}
    accounts = {"account:alpha": "alpha", "account:beta": "alpha", "account:gamma": "gamma"}
    ledger.publish({**accounts, "budget:alpha": round(dollars * 1e9), **named})
    price(ledger)


def ids(admitted: list[Admitted]) -> list[str]:
    return [job.job_id for job in admitted]


# -- A batch


def test_calls_in_flight_reserve_so_that_no_two_go_on_the_same_last_tokens(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=550)
    jobs = ledger.add_many(10, batch="b", **HUNDRED)
    assert ids(ledger.start()) == jobs[:5]
    assert ledger.why() == ("budget", 1000)
    assert (budget_of(ledger).reserved_tokens, budget_of(ledger).max_tokens) == (500, 550)


def test_what_calls_did_not_take_of_what_they_had_reserved_lets_others_go(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=250)
    jobs = ledger.add_many(4, batch="b", **HUNDRED)
    one, _ = ledger.start()
    assert ids(list(ledger.settle(one, **used(40)).admitted)) == jobs[2:3]
    assert (budget_of(ledger).reserved_tokens, read(ledger).usage.total_tokens) == (200, 40)


def test_a_batch_that_has_not_enough_left_for_its_next_job_is_paused(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=250)
    ledger.add_many(4, batch="b", **HUNDRED)
    for job in ledger.start():
        ledger.settle(job, **used(90))
    batch = read(ledger)
    assert batch.paused_at is not None
    assert (budget_of(ledger).used_up, budget_of(ledger).needs) == ("max_tokens", 280)
    assert (batch.counts.succeeded, batch.counts.queued, batch.usage.total_tokens) == (2, 2, 180)
    assert ledger.admit() == []


def test_the_same_holds_of_dollars(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=2.5)
    price(ledger)
    jobs = ledger.add_many(4, batch="b", **HUNDRED)
    admitted = ledger.start()
    assert (ids(admitted), budget_of(ledger).reserved_usd) == (jobs[:2], 2.0)
    for job in admitted:
        ledger.settle(job, **used(90, 0.9))
    assert (budget_of(ledger).used_up, budget_of(ledger).needs) == ("max_cost", 2.8)
    assert (read(ledger).cost_usd, budget_of(ledger).reserved_usd) == (1.8, 0)


def test_of_two_budgets_the_one_that_is_used_up_first_pauses_the_batch(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9, max_tokens=99)
    price(ledger)
    ledger.add(batch="b", **HUNDRED)
    assert ledger.admit() == []
    assert budget_of(ledger).used_up == "max_tokens"


def test_the_fee_for_a_call_is_reserved_too(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9)
    price(ledger, CallPrice(0.5, 0, 10_000))
    ledger.add(batch="b", **HUNDRED)
    ledger.start()
    assert budget_of(ledger).reserved_usd == pytest.approx(0.5 + 0.93)


def test_a_job_that_names_no_longest_answer_reserves_the_mean_of_the_lane(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=2000)
    ledger.add_many(2, batch="b")
    [one] = ledger.start(most=1)
    assert budget_of(ledger).reserved_tokens == 7 + 512
    ledger.settle(one, **used(7 + 88))  # the mean of 512, which counts as an answer, and 88
    assert budget_of(ledger).reserved_tokens == 7 + 300


def test_longer_answers_than_reserved_go_beyond_by_the_calls_in_flight_only(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=1100)
    ledger.add_many(5, batch="b")
    both = ledger.start()
    assert len(both) == 2
    for job in both:
        ledger.settle(job, **used(1000))
    assert (read(ledger).usage.total_tokens, read(ledger).counts.queued) == (2000, 3)
    assert budget_of(ledger).used_up == "max_tokens"


def test_others_go_while_a_batch_waits_for_its_budget(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add_many(2, batch="b", **HUNDRED)
    ledger.start()
    other = ledger.add()
    assert ids(ledger.admit()) == [other]


def test_a_call_that_was_refused_takes_nothing(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add_many(2, batch="b", **HUNDRED)
    [one] = ledger.start()
    [two] = ledger.settle(one, "failed", outcome="request").admitted
    assert (two.job_id != one.job_id, budget_of(ledger).reserved_tokens) == (True, 100)
    assert (read(ledger).usage.total_tokens, budget_of(ledger).maybe_charged_tokens) == (0, 0)


def test_a_call_whose_answer_was_lost_counts_as_it_was_reserved(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=1.5)
    price(ledger)
    ledger.add_many(2, batch="b", **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, "failed", outcome="transient", spent=MAYBE_CHARGED)
    budget = budget_of(ledger)
    assert (budget.maybe_charged_usd, budget.maybe_charged_tokens, budget.reserved_usd) == (1, 100, 0)
    assert (budget.used_up, read(ledger).cost_usd) == ("max_cost", None)


def test_a_call_of_a_worker_that_died_counts_as_it_was_reserved(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add(batch="b", **HUNDRED)
    ledger.start()
    ledger.run(ledger.ledger.drain("w1", leave=True))
    assert (budget_of(ledger).maybe_charged_tokens, budget_of(ledger).reserved_tokens) == (100, 0)
    ledger.worker()
    assert ledger.admit() == []
    assert budget_of(ledger).used_up == "max_tokens"


def test_what_a_worker_had_not_begun_is_given_back(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=250)
    ledger.add_many(2, batch="b", **HUNDRED)
    ledger.admit()
    ledger.run(ledger.ledger.cancel("j1"))
    ledger.run(ledger.ledger.drain("w1", leave=False))
    budget = budget_of(ledger)
    assert (budget.reserved_tokens, budget.maybe_charged_tokens) == (0, 0)


def test_an_answer_whose_tokens_or_cost_nobody_knows_counts_as_it_was_reserved(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9)
    price(ledger)
    ledger.add_many(2, batch="b", **HUNDRED)
    one, two = ledger.start()
    ledger.settle(one, spent=Spent(7, 50, None))
    assert (budget_of(ledger).maybe_charged_usd, budget_of(ledger).maybe_charged_tokens) == (1, 0)
    ledger.settle(two, spent=Spent(0, 0, None))
    assert (budget_of(ledger).maybe_charged_usd, budget_of(ledger).maybe_charged_tokens) == (2, 100)
    assert read(ledger).uncosted == 2


def test_a_retry_reserves_anew(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add(batch="b", **HUNDRED)
    [job] = ledger.start()
    [again] = ledger.settle(job, "retrying", outcome="request").admitted
    assert (again.job_id, budget_of(ledger).reserved_tokens) == (job.job_id, 100)


def test_a_used_up_batch_is_resumed_by_a_budget_that_is_enough_for_its_next_job(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    jobs = ledger.add_many(3, batch="b", **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100))
    assert [resume(ledger), resume(ledger, max_tokens=199), resume(ledger, max_cost_usd=5)] == ["used_up"] * 3
    assert resume(ledger, max_tokens=200) == "resumed"
    assert (read(ledger).paused_at, budget_of(ledger).used_up) == (None, None)
    assert ids(ledger.start()) == jobs[1:2]


def test_a_batch_that_had_no_budget_can_be_given_one(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    assert read(ledger).budget is None
    assert resume(ledger, max_tokens=50) == "resumed"
    ledger.add(batch="b", **HUNDRED)
    ledger.worker()
    assert ledger.admit() == []
    assert budget_of(ledger).used_up == "max_tokens"


def test_a_pause_by_hand_ends_as_before_where_the_budget_is_enough(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add(batch="b", **HUNDRED)
    ledger.run(ledger.ledger.pause_batch("b"))
    assert resume(ledger) == "resumed"
    assert len(ledger.admit()) == 1


def test_a_batch_takes_its_budget_along_to_another_connection(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    ledger.add_many(2, batch="b", **HUNDRED)
    [one] = ledger.start()
    move(ledger)
    assert ledger.admit("beta/m") == []
    assert budget_of(ledger).used_up is None
    ledger.settle(one, **used(100))
    assert ledger.admit("beta/m") == []
    assert budget_of(ledger).used_up == "max_tokens"


def test_a_batch_that_is_used_up_can_be_cancelled(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=50)
    ledger.add(batch="b", **HUNDRED)
    ledger.admit()
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    assert (read(ledger).counts.cancelled, read(ledger).ended) == (1, True)


def test_of_a_batch_without_a_budget_nothing_is_reserved(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add(batch="b", **HUNDRED)
    ledger.worker()
    [job] = ledger.start()
    assert "charge" not in ledger.everything()["job:j1"]
    ledger.settle(job, **used(100, 0.5))
    assert (read(ledger).budget, read(ledger).cost_usd) == (None, 0.5)


# -- Prices


def test_a_price_that_is_not_known_yet_is_asked_for_while_others_go(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9)
    job = ledger.add(batch="b", **HUNDRED)
    other = ledger.add()
    assert ids(ledger.admit()) == [other]
    assert ledger.why()[0] == "price"
    assert ledger.run(ledger.ledger.wanted_prices()) == [("alpha", "m")]
    assert ledger.run(ledger.ledger.wanted_prices()) == []
    price(ledger)
    assert ids(ledger.admit()) == [job]


def test_a_price_that_was_asked_for_and_not_told_is_asked_for_again(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9)
    ledger.add(batch="b")
    for _ in range(2):
        assert ledger.why()[0] == "price"
        assert ledger.run(ledger.ledger.wanted_prices()) == [("alpha", "m")]


def test_a_job_whose_price_nobody_knows_fails_where_dollars_are_counted(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=9)
    job = ledger.add(batch="b")
    price(ledger, None)
    assert ledger.admit() == []
    error = ledger.record(job).error
    assert error is not None
    assert (error.code, ledger.record(job).attempts) == ("unknown_price", [])
    assert "price (input_per_million, output_per_million)" in error.remedy


def test_it_runs_where_only_tokens_are_counted(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=900)
    price(ledger, None)
    job = ledger.add(batch="b")
    assert ids(ledger.admit()) == [job]


def test_a_fallback_reserves_at_its_own_price_and_counts_for_itself(ledger: LedgerDriver) -> None:
    ledger.publish(
        {"account:alpha": "alpha", "account:gamma": "gamma", "model:gamma": "m", "fallback:alpha": "gamma"}
    )
    budgeted(ledger, max_cost_usd=9)
    price(ledger, CallPrice(0, 20_000, 20_000), "gamma")
    ledger.add(batch="b", **HUNDRED)
    ledger.pause("alpha")
    [job] = ledger.start("gamma/m")
    assert budget_of(ledger).reserved_usd == 2
    ledger.settle(job, **used(90, 1.8))
    assert (facts(ledger, "gamma").spending["cost"], facts(ledger, "alpha").spending.get("cost")) == (
        "1800000000", None,
    )  # fmt: skip


def test_other_prices_hold_as_soon_as_settings_are_published(ledger: LedgerDriver) -> None:
    a_day(ledger, 5)
    ledger.worker()
    ledger.add()
    ledger.publish({"account:alpha": "alpha", "budget:alpha": 4_000_000_000})
    assert ledger.why()[0] == "price"


def test_a_caller_is_told_a_price_or_that_it_is_not_known_yet(ledger: LedgerDriver) -> None:
    def ask() -> str | None:
        return ledger.run(ledger.ledger.price("alpha", "m"))

    assert ask() is None  # nobody is there to ask
    ledger.worker()
    assert ask() == ""
    assert ledger.run(ledger.ledger.wanted_prices()) == [("alpha", "m")]
    price(ledger, None)
    assert ask() == "-"
    price(ledger, CallPrice(0.012, 1, 2))
    assert ask() == "12000000.000000:1000.000000:2000.000000"


# -- A connection


def test_calls_beyond_the_budget_of_the_day_wait_until_midnight_utc(ledger: LedgerDriver) -> None:
    a_day(ledger, 2.5)
    ledger.worker()
    jobs = ledger.add_many(4, **HUNDRED)
    for job in ledger.start():
        ledger.settle(job, **used(100, 1))
    assert ledger.admit() == []
    assert limits(ledger).spending.goes_on_at is not None
    ledger.pass_s(UNTIL_MIDNIGHT_S - 1)
    ledger.renew()
    ledger.tick()
    assert ledger.admit() == []
    ledger.pass_s(1)
    ledger.tick()
    assert ids(ledger.admit()) == jobs[2:]


def test_what_calls_in_flight_have_reserved_of_the_day_is_not_given_to_others(ledger: LedgerDriver) -> None:
    a_day(ledger, 2.5)
    ledger.worker()
    jobs = ledger.add_many(4, **HUNDRED)
    admitted = ledger.start()
    assert (ids(admitted), ledger.why()) == (jobs[:2], ("budget", 1000))
    assert ids(list(ledger.settle(admitted[0], **used(10, 0.1)).admitted)) == [jobs[2]]


def test_another_connection_of_the_account_goes_on(ledger: LedgerDriver) -> None:
    a_day(ledger, 0.5, account__beta="alpha")
    ledger.worker()
    price(ledger, CallPrice(0, 4_000, 4_000))
    ledger.add_many(2, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100, 0.4))
    other = ledger.add("beta")
    assert ids(ledger.admit()) == [other]


def test_the_budget_counts_what_the_connection_spends_on_every_model_and_batch(ledger: LedgerDriver) -> None:
    a_day(ledger, 2.5)
    ledger.run(ledger.ledger.tell_prices({("alpha", "n"): CENTS_A_TOKEN}))
    ledger.worker()
    open_batch(ledger)
    ledger.add(**HUNDRED)
    ledger.add(model="n", batch="b", **HUNDRED)
    for job in ledger.start() + ledger.start("alpha/n"):
        ledger.settle(job, **used(100, 1))
    ledger.add(model="n", **HUNDRED)
    assert ledger.admit("alpha/n") == []


def test_a_job_that_needs_more_than_a_whole_day_may_cost_is_refused(ledger: LedgerDriver) -> None:
    a_day(ledger, 0.5)
    ledger.worker()
    job, other = ledger.add(**HUNDRED), ledger.add(params={"max_tokens": 10})
    assert ids(ledger.admit()) == [other]
    error = ledger.record(job).error
    assert error is not None
    assert (error.code, error.message) == (
        "over_budget",
        "The job needs about $1.00; connection alpha may spend $0.50 in a whole day.",
    )


def test_a_larger_budget_lets_what_waits_go(ledger: LedgerDriver) -> None:
    a_day(ledger, 1.5)
    ledger.worker()
    jobs = ledger.add_many(3, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100, 1))
    a_day(ledger, 2)
    assert ids(ledger.admit()) == jobs[1:2]


def test_a_connection_whose_budget_is_gone_is_no_fallback(ledger: LedgerDriver) -> None:
    served = {
        "fallback__beta": "alpha gamma",
        "account__beta": "beta",
        "model__alpha": "m",
        "model__gamma": "m",
    }
    a_day(ledger, 1.5, **served)
    ledger.worker()
    ledger.add_many(2, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100, 1))
    ledger.pause("beta")
    job = ledger.add("beta")
    assert ids(ledger.admit("gamma/m")) == [job]


def test_a_connection_waits_for_its_budget_although_a_fallback_could_serve(ledger: LedgerDriver) -> None:
    a_day(ledger, 1.5, fallback__alpha="gamma", model__gamma="m")
    ledger.worker()
    ledger.add_many(2, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100, 1))
    assert ledger.admit("gamma/m") == []


def test_what_may_have_been_charged_counts_in_the_day(ledger: LedgerDriver) -> None:
    a_day(ledger, 1.5)
    ledger.worker()
    ledger.add_many(2, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, "failed", outcome="transient", spent=MAYBE_CHARGED)
    assert (limits(ledger).spending.today_usd, limits(ledger).spending.maybe_charged_usd) == (1, 1)
    assert ledger.admit() == []


# -- What is told


def test_a_connection_tells_what_it_has_spent_in_all_and_today(ledger: LedgerDriver) -> None:
    a_day(ledger, 20)
    ledger.worker()
    ledger.add_many(3, **HUNDRED)
    one, two, _ = ledger.start()
    ledger.settle(one, **used(100, 0.75))
    ledger.settle(two, spent=Spent(7, 13, None))
    spending = limits(ledger).spending
    assert (spending.cost_usd, spending.uncosted, spending.usage.total_tokens) == (0.75, 1, 120)
    assert (spending.today_usd, spending.per_day_usd, spending.reserved_usd) == (1.75, 20, 1)
    ledger.pass_s(UNTIL_MIDNIGHT_S)
    assert (limits(ledger).spending.today_usd, limits(ledger).spending.cost_usd) == (None, 0.75)


def test_a_connection_without_a_budget_tells_it_too(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    [job] = ledger.start()
    ledger.settle(job, **used(100, 0.75))
    spending = limits(ledger).spending
    assert (spending.cost_usd, spending.today_usd, spending.per_day_usd) == (0.75, 0.75, None)
    nothing = limits(ledger, "beta").spending
    assert (nothing.cost_usd, nothing.today_usd, nothing.usage.total_tokens) == (None, None, 0)


def test_why_names_the_budget_of_the_day_and_the_moment_at_which_it_is_there_again(
    ledger: LedgerDriver,
) -> None:
    a_day(ledger, 1.5)
    ledger.worker()
    _, job = ledger.add_many(2, **HUNDRED)
    [one] = ledger.start()
    ledger.settle(one, **used(100, 1))
    said = why(ledger, job)
    assert (said.reason, said.budget, said.limit) == ("budget", "per_day_usd", 1.5)
    assert said.until is not None
    assert rfc3339(said.until) == "2027-01-16T00:00:00.000Z"
    assert said.message.startswith(
        "The budget of connection alpha, $1.50 a day, is used up; calls go on at 2027-01-16T00:00:00.000Z."
    )


def test_why_says_that_calls_in_flight_have_reserved_the_rest(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_tokens=150)
    _, job = ledger.add_many(2, batch="b", **HUNDRED)
    ledger.start()
    said = why(ledger, job)
    assert (said.reason, said.budget, said.limit, said.expected_at) == ("budget", "max_tokens", 150, None)
    assert said.message.startswith(
        "The max_tokens of batch b, 150 tokens, has nothing left for it beside what"
    )


def test_why_says_which_budget_a_batch_is_paused_for_and_how_it_goes_on(ledger: LedgerDriver) -> None:
    budgeted(ledger, max_cost_usd=0.5)
    price(ledger)
    job = ledger.add(batch="b", **HUNDRED)
    ledger.admit()
    said = why(ledger, job)
    assert (said.reason, said.budget, said.limit) == ("batch_paused", "max_cost", 0.5)
    assert said.message.startswith(
        "Batch b is paused: its max_cost of $0.50 has not enough left for its next job."
    )
    assert said.remedy == "Raise it, and go on: chatq batch resume b --max-cost N, with N of 1 at the least."
