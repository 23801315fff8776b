"""Why a job does not run, what goes before it, and when it will start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_driver import LedgerDriver

from chatq.contract.record import rfc3339
from chatq.contract.why import Why, explained

REASON = b'"code":"unauthorized","message":"No such key.","remedy":"Correct the key."'


def why(ledger: LedgerDriver, job_id: str) -> Why:
    """What is said of a job; asking changes nothing."""
    before = ledger.everything()
    facts = ledger.run(ledger.ledger.why(job_id))
    assert ledger.everything() == before
    assert facts is not None
    return explained(job_id, facts)


def seconds(ledger: LedgerDriver, answer: Why) -> float | None:
    """How far in the future it is expected to start."""
    return (
        None if answer.expected_at is None else round(answer.expected_at.timestamp() - ledger.now / 1000, 3)
    )


def publish(ledger: LedgerDriver, **rules: str | int) -> None:
    named = {name.replace("__", ":"): value for name, value in rules.items()}
    ledger.run(ledger.ledger.publish(repr(named), b"{}", named))


def fail(ledger: LedgerDriver, times: int) -> None:
    """The provider fails so many jobs, one after the other."""
    for _ in range(times):
        ledger.add()
        [job] = ledger.start(most=1)
        ledger.settle(job, "failed", outcome="transient")


def test_of_a_job_that_is_not_there_nothing_is_said(ledger: LedgerDriver) -> None:
    assert ledger.run(ledger.ledger.why("nothing")) is None


def test_of_a_final_job_its_state_and_error_are_said(ledger: LedgerDriver) -> None:
    good, bad = ledger.add(), ledger.add()
    ledger.worker()
    for job, state in zip(ledger.start(), ("succeeded", "failed"), strict=True):
        ledger.settle(job, state)
    assert (why(ledger, good).reason, why(ledger, good).message) == ("final", "It has succeeded.")
    said = why(ledger, bad)
    assert (said.reason, said.message, said.remedy) == ("final", "It has failed: No.", "Ask again.")
    assert (said.connection, said.state, said.attempts) == ("alpha", "failed", 1)


def test_of_a_running_job_it_is_said_where_since_when_and_which_attempt(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.pass_s(5)
    [job] = ledger.settle(job, "retrying", counted=True).admitted
    assert (why(ledger, job_id).reason, why(ledger, job_id).worker) == ("starting", "w1")
    ledger.begin(job)
    said = why(ledger, job_id)
    assert (said.reason, said.worker, said.attempts) == ("running", "w1", 1)
    assert said.since is not None
    assert rfc3339(said.since) == "2027-01-15T08:00:05.000Z"
    assert said.message == "It runs on worker w1 since 2027-01-15T08:00:05.000Z, attempt 2."


def test_a_job_with_nothing_in_its_way_is_due(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    said = why(ledger, job_id)
    assert (said.reason, said.remedy, seconds(ledger, said)) == ("due", None, 0)


def test_a_job_behind_others_that_may_go_waits_for_its_turn(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    last = ledger.add()
    ledger.worker()
    said = why(ledger, last)
    assert (said.reason, seconds(ledger, said)) == ("line", 0)
    assert said.ahead is not None
    assert said.ahead.jobs == 3


def test_a_moment_of_its_own_is_told(ledger: LedgerDriver) -> None:
    job_id = ledger.add(not_before=90)
    ledger.worker()
    said = why(ledger, job_id)
    assert (said.reason, seconds(ledger, said)) == ("not_before", 90)
    assert said.message.startswith("It may not start before 2027-01-15T08:01:30.000Z.")


def test_the_wait_before_another_try_is_told(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "retrying", counted=True, outcome="transient", wait_s=7)
    said = why(ledger, job_id)
    assert (said.reason, said.attempts, seconds(ledger, said)) == ("retry", 1, 7)


def test_a_pause_is_told_with_its_reason_and_how_it_ends(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    behind = ledger.add(not_before=60)
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "failed", counted=True, outcome="account", pause=REASON)
    said = why(ledger, job_id)
    assert (said.reason, said.expected_at) == ("paused", None)
    assert said.paused is not None
    assert (said.paused.code, said.attempts) == ("unauthorized", 1)
    assert said.message.splitlines() == [
        "Connection alpha is paused since 2027-01-15T08:00:00.000Z: No such key.",
        "When it starts cannot be said: nobody knows when the connection is resumed.",
    ]
    assert said.remedy == (
        "Correct the key. It is resumed when a check proves that, or by: chatq connections resume alpha"
    )
    assert why(ledger, behind).reason == "paused"


def test_of_an_operators_pause_the_remedy_is_said_once(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.run(ledger.ledger.pause("alpha", message="Lunch."))
    assert why(ledger, job_id).remedy == "Resume it: chatq connections resume alpha"


def test_where_a_fallback_stands_in_its_lane_is_what_counts(ledger: LedgerDriver) -> None:
    publish(ledger, fallback__alpha="beta", model__beta="n", concurrency__beta=0)
    job_id = ledger.add()
    ledger.worker()
    ledger.run(ledger.ledger.pause("alpha", message="Lunch."))
    said = why(ledger, job_id)
    assert (said.reason, said.served_by, said.limit) == ("concurrency", "beta", 0)
    assert said.paused is not None
    assert "beta stands in for alpha, which is paused." in said.message


def test_a_job_whose_connection_was_removed_says_so(ledger: LedgerDriver) -> None:
    publish(ledger, connections=1, account__alpha="alpha")
    job_id = ledger.add()
    publish(ledger, connections=1, account__beta="beta")
    said = why(ledger, job_id)
    assert (said.reason, said.expected_at) == ("removed", None)
    assert said.message.startswith("The workers' settings have no connection alpha any more.")


def test_without_a_worker_that_is_said_with_its_remedy(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    said = why(ledger, job_id)
    assert (said.reason, said.workers, said.remedy) == (
        "no_worker",
        0,
        "Start a worker: chatq worker (or chatq up).",
    )


def test_a_job_of_a_cancelled_batch_will_be_cancelled(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.add_many(3, batch="b")
    last = ledger.add(batch="b")
    ledger.run(ledger.ledger.cancel_batch("b", most=1))
    assert why(ledger, last).reason == "cancelled"


def cooling(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    [job] = ledger.start(most=1)
    ledger.settle(job, "retrying", cool_s=40)


def broken(ledger: LedgerDriver) -> None:
    fail(ledger, 5)
    ledger.add_many(3)


def ramping(ledger: LedgerDriver) -> None:
    broken(ledger)
    ledger.pass_s(1)
    ledger.start()


def bounded(ledger: LedgerDriver) -> None:
    publish(ledger, concurrency__alpha=2)
    ledger.add_many(5)
    ledger.start()


def slotless(ledger: LedgerDriver) -> None:
    ledger.add_many(30)
    ledger.start()


def used_up(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_day__alpha=2)
    ledger.add_many(4)
    ledger.start()


def asked_often(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_minute__alpha=60)
    ledger.add_many(4)
    ledger.start()


def talkative(ledger: LedgerDriver) -> None:
    publish(ledger, tokens_per_minute__alpha=60_000)
    ledger.add_many(40)
    ledger.start()


@pytest.mark.parametrize(
    ("reason", "come_there", "until_s", "limit"),
    [
        ("cooling", cooling, 40, None),
        ("breaker", broken, 1, None),
        ("ramp", ramping, None, 1),
        ("concurrency", bounded, None, 2),
        ("slots", slotless, None, None),
        ("requests_day", used_up, 16 * 3600, 2),
        ("requests", asked_often, 1.024, 60),
        ("tokens", talkative, 0.524, 60_000),
    ],
)
def test_what_stands_in_the_way_is_what_admission_finds(
    ledger: LedgerDriver,
    reason: str,
    come_there: Callable[[LedgerDriver], None],
    until_s: float | None,
    limit: float | None,
) -> None:
    ledger.worker(slots=20)
    come_there(ledger)
    said = why(ledger, ledger.add())
    assert said.reason == reason == ledger.why()[0]
    assert said.limit == limit
    until = None if said.until is None else round(said.until.timestamp() - ledger.now / 1000, 3)
    assert until == until_s
    assert ("cannot be said" in said.message) == (said.expected_at is None)


def started_after(ledger: LedgerDriver, job_id: str) -> float:
    """Let time pass and jobs be done at once, until the job has gone; the seconds that took."""
    begin = ledger.now
    for _ in range(100_000):
        admission = ledger.run(ledger.ledger.admit("alpha/m", 100))
        for job in admission.admitted:
            assert ledger.begin(job)
            ledger.settle(job)
            if job.job_id == job_id:
                return (ledger.now - begin) / 1000
        ledger.pass_s(max(1, admission.wait_ms) / 1000)
    raise AssertionError("it never went")


@pytest.mark.parametrize("rules", [{"requests_per_minute:alpha": 60}, {"tokens_per_minute:alpha": 60_000}])
def test_the_estimate_is_when_it_really_starts(ledger: LedgerDriver, rules: dict[str, int]) -> None:
    ledger.run(ledger.ledger.publish("d", b"{}", rules))
    ledger.worker()
    ledger.add_many(50)
    last = ledger.add()
    expected = seconds(ledger, why(ledger, last))
    assert expected is not None
    assert expected > 20
    assert expected == pytest.approx(started_after(ledger, last), abs=1.1)


def test_where_calls_must_end_first_the_estimate_goes_by_how_long_they_take(ledger: LedgerDriver) -> None:
    publish(ledger, concurrency__alpha=2)
    ledger.worker()
    jobs = ledger.add_many(8)
    begun = ledger.start()
    said = why(ledger, jobs[5])
    assert (said.reason, said.no_estimate) == (
        "concurrency",
        "it depends on how long the calls before it take, and none has ended yet",
    )
    ledger.pass_s(10)
    for job in begun:
        ledger.settle(job)
    ledger.start()
    said = why(ledger, jobs[5])
    # In flight are the third and the fourth; both must end, then the fifth and the sixth go.
    assert (said.call_s, seconds(ledger, said)) == (10, 10)
    assert "if calls go on taking 10 s." in said.message
    assert seconds(ledger, why(ledger, jobs[7])) == 20


def test_so_it_does_where_all_slots_are_taken(ledger: LedgerDriver) -> None:
    ledger.worker(slots=10)
    jobs = ledger.add_many(40)
    begun = ledger.start()
    ledger.pass_s(3)
    for job in begun:
        ledger.settle(job)
    ledger.start()
    said = why(ledger, jobs[39])
    assert (said.reason, said.call_s, seconds(ledger, said)) == ("slots", 3, 6)


def test_the_calls_that_ended_last_count_most(ledger: LedgerDriver) -> None:
    publish(ledger, concurrency__alpha=1)
    ledger.worker()
    jobs = ledger.add_many(4)
    [job] = ledger.start()
    for took_s in (8, 16):
        ledger.pass_s(took_s)
        [job] = ledger.settle(job).admitted
        assert ledger.begin(job)
    assert why(ledger, jobs[3]).call_s == 9


def test_the_estimate_counts_the_turns_of_other_flows(real_ledger: LedgerDriver) -> None:
    real_ledger.run(real_ledger.ledger.publish("d", b"{}", {"requests_per_minute:alpha": 600}))
    real_ledger.worker()
    real_ledger.add_many(300, tenant="busy")
    real_ledger.add_many(100, tenant="eager", priority=8)
    real_ledger.add_many(20, tenant="mine")
    mine = real_ledger.add(tenant="mine")
    said = why(real_ledger, mine)
    assert said.ahead is not None
    assert said.ahead.jobs == 20
    expected = seconds(real_ledger, said)
    assert expected is not None
    assert expected == pytest.approx(started_after(real_ledger, mine), abs=0.5)


def test_a_day_that_is_used_up_is_waited_for(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_day__alpha=10)
    ledger.worker()
    ledger.add_many(25)
    last = ledger.add()
    # 10 today, 10 tomorrow (the day turns 16 h after 08:00), the rest on the day after.
    assert seconds(ledger, why(ledger, last)) == (16 + 24) * 3600


@pytest.mark.thorough
def test_a_long_line_costs_no_more_than_a_short_one(real_ledger: LedgerDriver) -> None:
    publish(real_ledger, requests_per_minute__alpha=60)
    real_ledger.worker()

    def commands(job_id: str) -> int:
        real_ledger.client.config_resetstat()
        real_ledger.run(real_ledger.ledger.why(job_id))
        stats = real_ledger.client.info("commandstats")
        return sum(command["calls"] for command in stats.values())

    jobs = real_ledger.add_many(20_000)
    commands(jobs[0])  # loads the script
    assert commands(jobs[-1]) == commands(jobs[20])
    assert commands(jobs[-1]) < 60


def test_a_limit_of_the_lane_is_named_before_a_price_that_nobody_has_asked_for_yet(
    ledger: LedgerDriver,
) -> None:
    shared = {"account__alpha": "alpha", "account__beta": "alpha", "requests_per_minute__alpha": 1}
    publish(ledger, **shared, budget__beta=1_000_000_000)
    ledger.worker()
    ledger.add_many(3)
    assert len(ledger.start()) == 1
    job_id = ledger.add("beta")
    assert why(ledger, job_id).reason == "requests"
