"""While a connection is out of action, its fallbacks serve its jobs: which one, with what, and until when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_checks import leftovers
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted

RULES: dict[str, str | int] = {
    "account:alpha": "alpha",
    "account:beta": "beta",
    "account:gamma": "gamma",
    "model:beta": "b",
    "model:gamma": "g",
    "fallback:alpha": "beta gamma",
}


@pytest.fixture
def ledger(ledger: LedgerDriver) -> LedgerDriver:
    """With a connection `alpha`, its fallbacks `beta` and `gamma`, and a worker."""
    ledger.publish(RULES)
    ledger.worker()
    return ledger


def wait(ledger: LedgerDriver, seconds: float) -> None:
    """Let time pass for a worker that lives, and have the clock ask the lanes that are due."""
    ledger.pass_s(seconds)
    ledger.renew()
    for lane in ledger.tick().due_lanes:
        ledger.admit(lane, most=0)


def cool(ledger: LedgerDriver, connection: str, lane: str, seconds: float) -> None:
    """Have a lane cool down."""
    job_id = ledger.add(connection, model=lane.partition("/")[2])
    ledger.limit(next(job for job in ledger.start(lane) if job.job_id == job_id), seconds)
    ledger.run(ledger.ledger.cancel(job_id))


def break_alpha(ledger: LedgerDriver) -> None:
    ledger.add_many(5)
    for job in ledger.start():
        ledger.fail(job, wait_s=3600)


# Which one, with what


def test_the_first_fallback_serves_with_its_own_model(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.pause()
    [job] = ledger.admit("beta/b")
    begun = ledger.begun(job)
    assert (job.connection, begun.connection, begun.model) == ("beta", "beta", "b")


def test_a_fallback_without_a_model_serves_with_that_of_the_job(ledger: LedgerDriver) -> None:
    ledger.publish({name: value for name, value in RULES.items() if name != "model:beta"})
    ledger.add(model="own")
    ledger.pause()
    [job] = ledger.admit("beta/own")
    begun = ledger.begun(job)
    assert (begun.connection, begun.model) == ("beta", "own")


def test_the_record_says_which_connection_was_called_and_whose_the_job_is(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.limit(ledger.start()[0], 61)
    ledger.settle(ledger.start("beta/b")[0])
    record = ledger.record(job_id)
    assert record.connection == "alpha"
    assert [attempt.connection for attempt in record.attempts] == ["alpha", "beta"]


def test_jobs_that_come_during_a_pause_are_served_too(ledger: LedgerDriver) -> None:
    ledger.pause()
    ledger.add()
    assert len(ledger.admit("beta/b")) == 1


@pytest.mark.parametrize("beta", ["paused", "cooling for more than a minute", "broken"])
def test_the_next_fallback_serves_when_the_first_is(ledger: LedgerDriver, beta: str) -> None:
    if beta == "paused":
        ledger.pause("beta")
    elif beta == "broken":
        ledger.add_many(5, "beta", model="b")
        for job in ledger.start("beta/b"):
            ledger.fail(job, wait_s=3600)
    else:
        cool(ledger, "beta", "beta/b", 61)
    ledger.add()
    ledger.pause()
    assert [job.connection for job in ledger.admit("gamma/g")] == ["gamma"]


def test_jobs_go_on_to_the_next_fallback_when_the_first_goes_out_of_action(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.pause("alpha")
    ledger.pause("beta")
    assert len(ledger.admit("gamma/g")) == 1


def test_a_fallbacks_fallback_does_not_serve(ledger: LedgerDriver) -> None:
    ledger.publish({**RULES, "fallback:alpha": "beta", "fallback:beta": "gamma"})
    ledger.add()
    ledger.pause("alpha")
    ledger.pause("beta")
    assert ledger.admit("gamma/g") == []
    assert len(ledger.everything()["parked"]) == 1


def test_another_connection_of_the_same_account_and_model_serves_in_its_stead(ledger: LedgerDriver) -> None:
    ledger.publish({**RULES, "account:beta": "alpha", "model:beta": "m"})
    ledger.add()
    ledger.pause("alpha")
    assert [job.connection for job in ledger.admit("alpha/m")] == ["beta"]


def test_when_that_one_is_paused_as_well_the_next_of_the_same_account_serves(ledger: LedgerDriver) -> None:
    ledger.publish(
        {**RULES, "account:beta": "beta", "account:gamma": "beta", "model:beta": "m", "model:gamma": "m"}
    )
    ledger.add()
    ledger.pause("alpha")
    ledger.pause("beta")
    assert [job.connection for job in ledger.admit("beta/m")] == ["gamma"]


def test_connections_of_one_scope_do_not_stand_in_for_a_cool_down_of_all(ledger: LedgerDriver) -> None:
    ledger.publish({**RULES, "account:alpha": "@pool", "account:beta": "@pool"})
    ledger.add()
    ledger.limit(ledger.start("@pool")[0], 400)
    assert [job.connection for job in ledger.admit("gamma/g")] == ["gamma"]


def test_the_fallbacks_limits_hold_for_what_it_serves(ledger: LedgerDriver) -> None:
    ledger.publish({**RULES, "concurrency:beta": 2})
    ledger.add_many(5)
    ledger.pause()
    assert len(ledger.admit("beta/b")) == 2


# Until when


def test_a_cool_down_of_a_minute_is_waited_for(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.limit(ledger.start()[0], 60)
    assert ledger.admit("beta/b") == []
    assert ledger.why() == ("cooling", 60_000)


def test_what_comes_in_the_last_minute_of_a_long_cool_down_is_served_by_the_fallback_too(
    ledger: LedgerDriver,
) -> None:
    ledger.add()
    ledger.limit(ledger.start()[0], 400)
    wait(ledger, 390)
    ledger.add(tenant="late")
    assert len(ledger.admit("beta/b")) == 2


ENDS: dict[str, Callable[[LedgerDriver], object]] = {
    "a pause": lambda ledger: (ledger.pause(), ledger.resume()),
    "a cool-down": lambda ledger: (cool(ledger, "alpha", "alpha/m", 400), ledger.add(), wait(ledger, 400)),
}


@pytest.mark.parametrize("end", ENDS)
def test_jobs_come_home_at_the_end_of(ledger: LedgerDriver, end: str) -> None:
    ledger.add()
    ENDS[end](ledger)
    wait(ledger, 5)  # the lane sets in at its pace
    assert ledger.admit("beta/b") == []
    assert {job.connection for job in ledger.admit()} == {"alpha"}


def test_jobs_come_home_when_new_settings_name_no_fallback(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.pause()
    ledger.publish({name: value for name, value in RULES.items() if name != "fallback:alpha"})
    assert ledger.admit("beta/b") == []
    assert len(ledger.everything()["parked"]) == 1
    ledger.resume()
    assert len(ledger.admit()) == 1


def test_when_no_fallback_can_serve_a_paused_connections_jobs_wait_for_the_first_that_can(
    ledger: LedgerDriver,
) -> None:
    cool(ledger, "beta", "beta/b", 100)
    cool(ledger, "gamma", "gamma/g", 400)
    ledger.add()
    ledger.pause("alpha")
    assert len(ledger.everything()["parked"]) == 1
    wait(ledger, 100)
    wait(ledger, 2)
    assert [job.connection for job in ledger.admit("beta/b")] == ["beta"]


def test_when_no_fallback_can_serve_a_cooling_connections_jobs_go_to_the_first_that_can(
    ledger: LedgerDriver,
) -> None:
    cool(ledger, "beta", "beta/b", 100)
    cool(ledger, "gamma", "gamma/g", 400)
    cool(ledger, "alpha", "alpha/m", 400)
    ledger.add()
    assert ledger.why()[0] == "cooling"
    wait(ledger, 100)
    wait(ledger, 2)
    assert [job.connection for job in ledger.admit("beta/b")] == ["beta"]


# Half-open


def test_while_the_breaker_is_open_the_fallback_serves(ledger: LedgerDriver) -> None:
    break_alpha(ledger)
    ledger.add_many(3)
    assert len(ledger.admit("beta/b")) == 3


@pytest.mark.parametrize("trouble", ["breaker", "pause"])
def test_one_job_goes_home_as_a_probe_and_the_fallback_serves_the_others(
    ledger: LedgerDriver, trouble: str
) -> None:
    if trouble == "breaker":
        break_alpha(ledger)
        ledger.add_many(5)
        wait(ledger, 1)
    else:
        ledger.add_many(5)
        ledger.pause()
        ledger.resume()
    assert [job.connection for job in ledger.start()] == ["alpha"]
    assert [job.connection for job in ledger.admit("beta/b")] == ["beta"] * 4


def probe(ledger: LedgerDriver) -> Admitted:
    """A breaker was open; the one job that went home, while others wait for the fallback."""
    break_alpha(ledger)
    ledger.add_many(5)
    wait(ledger, 1)
    [job] = ledger.start()
    return job


def test_all_come_home_when_the_probe_gets_through(ledger: LedgerDriver) -> None:
    admitted = ledger.settle(probe(ledger)).admitted
    assert ledger.admit("beta/b") == []
    assert [job.connection for job in [*admitted, *ledger.admit()]] == ["alpha"] * 2


def test_all_stay_when_the_probe_fails_until_the_next(ledger: LedgerDriver) -> None:
    assert ledger.fail(probe(ledger)).admitted == []
    assert [job.connection for job in ledger.admit("beta/b", most=1)] == ["beta"]
    wait(ledger, 2)
    assert [job.connection for job in ledger.admit()] == ["alpha"]


PROBES: dict[str, Callable[[LedgerDriver, Admitted], object]] = {
    "is handed back": lambda ledger, job: ledger.settle(job, "queued"),
    "is cancelled": lambda ledger, job: ledger.settle(job, "cancelled"),
    "is lost with its worker": lambda ledger, job: (
        ledger.pass_s(31),
        ledger.worker("w2"),
        ledger.tick("w2"),
    ),
}


@pytest.mark.parametrize("end", PROBES)
def test_another_goes_home_when_the_probe(ledger: LedgerDriver, end: str) -> None:
    PROBES[end](ledger, probe(ledger))
    probes = ledger.everything()["lane:alpha/m"]["probes"]  # the settlement may have let it go already
    assert int(probes) + len(ledger.admit()) == 1
    assert {job.connection for job in ledger.admit("beta/b")} == {"beta"}


# What is left


def test_a_job_under_way_at_a_fallback_that_is_taken_away_goes_on_there(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.pause()
    [job] = ledger.start("beta/b")
    ledger.publish({"account:alpha": "alpha"})
    ledger.settle(job)
    assert ledger.state(job_id) == "succeeded"


def test_a_batch_that_is_cancelled_while_a_fallback_serves_it_leaves_nothing(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.pause()
    ledger.add_many(5, batch="b")
    [job] = ledger.start("beta/b", most=1)
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    ledger.settle(job, "cancelled")
    ledger.resume()
    ledger.pass_s(60)
    ledger.tick("w2")
    assert leftovers(ledger.everything()) == set()
