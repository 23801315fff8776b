"""What the ledger counts for those who watch it: how long things took, why they failed, how full limits are."""

from __future__ import annotations

from math import inf

from ledger_driver import FAILURE, LedgerDriver, attempt

from chatq.ledger.call_facts import CallTook
from chatq.ledger.measured import ConnectionCounts, LimitUse, Measured, Times


def measured(ledger: LedgerDriver, *names: str) -> Measured:
    return ledger.run(ledger.ledger.metrics(names))


def counts(ledger: LedgerDriver, name: str = "alpha") -> ConnectionCounts:
    return measured(ledger, name).connections[name]


def up_to(times: Times, bound: float) -> int:
    """How many took at most so long."""
    return dict(times.within)[bound]


def both(ledger: LedgerDriver) -> None:
    """The settings have two connections."""
    ledger.publish({"account:alpha": "alpha", "account:beta": "beta", "connections": 2})


def test_the_time_in_line_goes_from_enqueueing_to_the_first_begin(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    ledger.pass_s(7)
    [job] = ledger.start()
    ledger.pass_s(100)
    [again] = ledger.settle(job, "retrying", outcome="transient", counted=True).admitted
    assert ledger.begin(again)
    line = counts(ledger).times["line"]
    assert (up_to(line, 5), up_to(line, 15), up_to(line, inf)) == (0, 1, 1)
    assert line.sum_s == 7


def test_a_job_that_may_not_go_before_a_moment_is_in_line_from_then_on(ledger: LedgerDriver) -> None:
    ledger.add(not_before=3600)
    ledger.pass_s(3600.05)
    ledger.worker()
    ledger.tick()
    assert len(ledger.start()) == 1
    assert counts(ledger).times["line"].sum_s == 0.05


def test_a_call_is_counted_as_its_worker_timed_it_and_the_rest_was_added(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.pass_s(3)
    ledger.settle(job, took=CallTook(2.4, 0.5))
    times = counts(ledger).times
    assert (up_to(times["call"], 1), up_to(times["call"], 2.5), times["call"].sum_s) == (0, 1, 2.4)
    assert (up_to(times["added"], 0.05), up_to(times["added"], 0.1), times["added"].sum_s) == (0, 1, 0.1)


def test_each_call_of_a_job_counts_and_one_that_was_broken_off_does_not(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    [job] = ledger.settle(job, "retrying", counted=True, took=CallTook(60, 0)).admitted
    assert ledger.begin(job)
    [job] = ledger.settle(job, "queued").admitted
    assert ledger.begin(job)
    ledger.settle(job, took=CallTook(5000, 0))
    call = counts(ledger).times["call"]
    assert (up_to(call, 30), up_to(call, 60), up_to(call, 600), up_to(call, inf)) == (0, 1, 1, 2)


def test_calls_are_counted_for_who_makes_them_and_jobs_for_whose_they_are(ledger: LedgerDriver) -> None:
    ledger.publish(
        {"account:alpha": "alpha", "account:beta": "beta", "fallback:alpha": "beta", "connections": 2}
    )
    ledger.pause("alpha")
    ledger.add()
    ledger.worker()
    [job] = ledger.start("beta/m")
    ledger.settle(job, "failed", took=CallTook(1, 0), attempt=attempt(code='"bad"', status="400"))
    alpha, beta = measured(ledger, "alpha", "beta").connections.values()
    assert (alpha.jobs_failed, alpha.calls_failed) == ({"bad": 1}, {})
    assert (beta.jobs_failed, beta.calls_failed) == ({}, {"bad": 1})
    assert (up_to(alpha.times["call"], inf), up_to(beta.times["call"], inf)) == (0, 1)


def test_failures_are_counted_by_code(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker()
    one, two, three = ledger.start()
    ledger.fail(one)
    ledger.settle(two, "failed")
    ledger.settle(three, "failed", ending=FAILURE.replace(b'"bad"', b'"refused"'))
    found = counts(ledger)
    assert found.jobs_failed == {"bad": 1, "refused": 1}
    assert found.calls_failed == {"server_error": 1}
    assert found.ended == {"succeeded": 0, "failed": 2, "cancelled": 0, "expired": 0}


def test_a_job_that_quotes_an_error_of_its_own_counts_under_ours(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ending = rb'"warnings":["\"error\":{\"code\":\"theirs\"}"],"error":{"code":"ours","message":"No."}'
    ledger.settle(job, "failed", ending=ending)
    assert counts(ledger).jobs_failed == {"ours": 1}


def test_a_lost_worker_counts_its_calls(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    ledger.start()
    ledger.run(ledger.ledger.drain("w1", leave=True))
    assert counts(ledger).calls_failed == {"worker_lost": 2}
    assert measured(ledger).totals["lost_leases"] == 2


def test_settling_again_and_too_late_counts_nothing(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "failed", took=CallTook(1, 0))
    before = counts(ledger)
    assert ledger.settle(job, "failed", took=CallTook(1, 0)).state == "again"
    assert counts(ledger) == before
    assert measured(ledger).totals["stale"] == 0


def test_what_was_counted_of_a_connection_goes_when_the_settings_lose_it(ledger: LedgerDriver) -> None:
    both(ledger)
    ledger.add_many(2, "alpha")
    ledger.add("beta")
    ledger.worker()
    one, two = ledger.start("alpha/m")
    [other] = ledger.start("beta/m")
    for job in (one, other):
        ledger.settle(job, "failed")
    ledger.publish({"account:beta": "beta", "connections": 1})
    ledger.settle(two, "failed")
    assert counts(ledger, "beta").jobs_failed == {"bad": 1}
    assert {key for key in ledger.everything() if key.startswith("metrics:")} == {"metrics:beta"}


def test_of_a_limit_the_model_is_told_that_uses_most_of_it(ledger: LedgerDriver) -> None:
    ledger.publish(
        {
            "account:alpha": "alpha",
            "model:alpha": "m",
            "connections": 1,
            "requests_per_minute:alpha": 600,
            "concurrency:alpha": 5,
        }
    )
    assert counts(ledger).limits == {"requests": LimitUse(600, 0), "concurrency": LimitUse(5, 0)}
    ledger.worker()
    for model in ("m", "other", "other", "other"):
        ledger.add(model=model)
    assert (len(ledger.start("alpha/m")), len(ledger.start("alpha/other", most=2))) == (1, 2)
    limits = counts(ledger).limits
    assert limits["concurrency"] == LimitUse(5, 2)
    assert 1.9 < limits["requests"].used <= 2.1


def test_a_pause_counts_while_it_lasts_and_afterwards(ledger: LedgerDriver) -> None:
    ledger.pause()
    ledger.pass_s(10)
    assert counts(ledger).paused_s == 10
    ledger.resume()
    ledger.pass_s(10)
    ledger.pause()
    ledger.pass_s(5)
    assert counts(ledger).paused_s == 15


def test_the_whole_is_told_with_its_backlog(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker()
    ledger.settle(ledger.start(most=1)[0])
    totals = measured(ledger).totals
    assert (totals["jobs"], totals["came"]) == (2, 3)
    assert totals["bytes"] > 0


def test_a_connection_of_which_nothing_was_counted_has_all_bounds(ledger: LedgerDriver) -> None:
    times = counts(ledger).times
    assert [len(times[time].within) for time in ("line", "call", "added")] == [12, 14, 11]
    assert all(count == 0 for _, count in times["call"].within)


def test_a_scrape_reads_as_much_of_many_jobs_as_of_one(real_ledger: LedgerDriver) -> None:
    def commands_of_a_scrape() -> int:
        before = real_ledger.client.info("commandstats")
        measured(real_ledger, "alpha")
        after = real_ledger.client.info("commandstats")
        names = [name for name in after if name not in {"cmdstat_info", "cmdstat_evalsha"}]
        return sum(after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in names)

    real_ledger.add()
    measured(real_ledger, "alpha")  # loads the script
    one = commands_of_a_scrape()
    real_ledger.add_many(5000)
    assert commands_of_a_scrape() == one
