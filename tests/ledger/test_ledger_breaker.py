"""A lane whose provider fails: its breaker opens, lets probes go and closes; and whose loss the failures are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_checks import leftovers
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted


def break_lane(ledger: LedgerDriver, waiting: int = 3) -> list[str]:
    """Five failures in a row, of jobs that will not come back soon; the ids of jobs that wait in line."""
    ledger.worker()
    ledger.add_many(5)
    for job in ledger.start():
        ledger.fail(job, wait_s=3600)
    return [ledger.add() for _ in range(waiting)]


def probe(ledger: LedgerDriver) -> Admitted:
    """The one job that may go."""
    [job] = ledger.start()
    return job


def hold_worker(ledger: LedgerDriver, seconds: float) -> None:
    """Let time pass for a worker that lives."""
    ledger.pass_s(seconds)
    ledger.renew()
    ledger.tick()


def test_after_five_failures_in_a_row_nothing_goes_for_a_second(ledger: LedgerDriver) -> None:
    break_lane(ledger)
    assert ledger.why() == ("breaker", 1000)


def test_four_failures_in_a_row_are_none_of_the_lanes_business(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(4)
    for job in ledger.start():
        ledger.fail(job, wait_s=3600)
    ledger.add_many(2)
    assert len(ledger.admit()) == 2


@pytest.mark.parametrize("outcome", ["ok", "limited", "account", "missing", "request"])
def test_any_answer_in_between_begins_the_count_anew(ledger: LedgerDriver, outcome: str) -> None:
    ledger.worker()
    ledger.add_many(9)
    jobs = ledger.start()
    for job in jobs[:4]:
        ledger.fail(job, wait_s=3600)
    ledger.settle(jobs[4], "failed", outcome=outcome, pause=b'"code":"unauthorized"')
    ledger.resume()
    for job in jobs[5:]:
        ledger.fail(job, wait_s=3600)
    assert "opened" not in ledger.everything()["lane:alpha/m"]


def test_then_one_probe_goes(ledger: LedgerDriver) -> None:
    break_lane(ledger)
    ledger.pass_s(1)
    assert len(ledger.admit()) == 1
    assert ledger.why()[0] == "ramp"


def test_each_probe_that_fails_doubles_the_pause_up_to_30_seconds(ledger: LedgerDriver) -> None:
    break_lane(ledger)
    pauses = []
    for _ in range(7):
        reason, wait_ms = ledger.why()
        assert reason == "breaker"
        pauses.append(wait_ms / 1000)
        hold_worker(ledger, wait_ms / 1000)
        ledger.fail(probe(ledger))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_probe_that_fails_costs_its_job_no_attempt(ledger: LedgerDriver) -> None:
    break_lane(ledger)
    ledger.pass_s(1)
    job = probe(ledger)
    assert ledger.fail(job).state == "queued"
    assert ledger.counted(job.job_id) == 0


def test_a_job_whose_probe_failed_goes_behind_so_that_another_one_tries(ledger: LedgerDriver) -> None:
    waiting = break_lane(ledger)
    probed = []
    for _ in range(6):
        hold_worker(ledger, 30)
        job = probe(ledger)
        ledger.fail(job)
        probed.append(job.job_id)
    assert probed == waiting * 2


def test_jobs_that_always_fail_at_the_head_of_the_line_do_not_starve_the_others(ledger: LedgerDriver) -> None:
    """The provider fails at ten prompts, every time, and one call may be in flight."""
    ledger.publish({"account:alpha": "alpha", "concurrency:alpha": 1})
    ledger.worker()
    poisonous = {ledger.add() for _ in range(10)}
    innocent = {ledger.add() for _ in range(5)}
    for _ in range(40):
        for job in ledger.start():
            (ledger.fail if job.job_id in poisonous else ledger.settle)(job)
        hold_worker(ledger, 30)
    assert {ledger.state(id_) for id_ in innocent} == {"succeeded"}


def test_the_probe_that_gets_through_closes_the_breaker_and_each_answer_lets_twice_as_many_go(
    ledger: LedgerDriver,
) -> None:
    break_lane(ledger, waiting=100)
    ledger.pass_s(1)
    [job] = ledger.start()
    numbers = []
    for _ in range(4):
        [following] = ledger.settle(job).admitted
        assert ledger.begin(following)
        job, *others = [following, *ledger.start()]
        numbers.append(1 + len(others))
        for other in others:
            ledger.settle(other, "queued", outcome="")  # tells nothing
        ledger.pass_s(4)  # what these let go is not begun
        ledger.tick()
        ledger.renew()
        for _ in range(20):
            ledger.run(ledger.ledger.hear("w1"))  # so that it is not given few at a time for that
    assert numbers == [2, 4, 8, 16]


def test_an_answer_that_refuses_the_probes_request_proves_the_provider_as_well(ledger: LedgerDriver) -> None:
    break_lane(ledger)
    ledger.pass_s(1)
    ledger.settle(probe(ledger), "failed", outcome="request")
    assert ledger.everything()["lane:alpha/m"]["window"] == "2"


def lose(ledger: LedgerDriver, _job: Admitted) -> None:
    ledger.pass_s(31)
    ledger.worker("w2")
    ledger.tick("w2")


ENDS: dict[str, Callable[[LedgerDriver, Admitted], object]] = {
    "is cancelled": lambda ledger, job: (
        ledger.run(ledger.ledger.cancel(job.job_id)),
        ledger.settle(job, "cancelled"),
    ),
    "is handed back": lambda ledger, job: ledger.settle(job, "queued"),
    "is lost with its worker": lose,
    "is refused for a limit": lambda ledger, job: ledger.limit(job, 0),
}


@pytest.mark.parametrize("end", ENDS)
def test_another_probe_goes_when_the_first(ledger: LedgerDriver, end: str) -> None:
    break_lane(ledger)
    ledger.pass_s(1)
    job = probe(ledger)
    before = ledger.everything()["lane:alpha/m"]["probes"]
    ENDS[end](ledger, job)
    admitted = ledger.everything()["lane:alpha/m"]["probes"]  # the settlement may have let it go already
    assert (before, int(admitted) + len(ledger.admit())) == ("1", 1)


@pytest.mark.parametrize("end", ["cancelled", "expired", "not begun"])
def test_another_probe_goes_when_the_first_was_never_begun_and_is(ledger: LedgerDriver, end: str) -> None:
    break_lane(ledger, waiting=0)
    first, second = ledger.add(expires_in=2), ledger.add()
    ledger.pass_s(1)
    assert [job.job_id for job in ledger.admit()] == [first]
    if end == "cancelled":
        ledger.run(ledger.ledger.cancel(first))
    else:
        ledger.pass_s(1 if end == "expired" else 3)
        ledger.tick()
    assert [job.job_id for job in ledger.admit()] == [second]


def test_calls_that_had_begun_before_the_breaker_opened_do_not_lengthen_it(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(8)
    stragglers = ledger.start()
    ledger.pass_s(1)
    for job in stragglers:
        ledger.fail(job, wait_s=3600)
    ledger.add()
    assert ledger.why() == ("breaker", 1000)


def test_a_call_that_had_begun_before_and_gets_through_closes_the_breaker(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(6)
    *failing, straggler = ledger.start()
    for job in failing:
        ledger.fail(job, wait_s=3600)
    ledger.settle(straggler)
    assert "opened" not in ledger.everything()["lane:alpha/m"]


@pytest.mark.thorough
def test_an_outage_of_an_hour_costs_each_job_at_most_one_attempt(real_ledger: LedgerDriver) -> None:
    ledger = real_ledger
    ledger.worker()
    jobs = ledger.add_many(40)
    down_until = ledger.now + 3_600_000
    while any(ledger.state(id_) != "succeeded" for id_ in jobs):
        for job in ledger.start():
            under_way = [job]
            while under_way:
                job = under_way.pop()
                settled = ledger.fail(job) if ledger.now < down_until else ledger.settle(job)
                assert settled.state != "failed"
                under_way += [item for item in settled.admitted if ledger.begin(item)]
        hold_worker(ledger, 10)
    # The successful one counts too.
    assert {ledger.counted(id_) for id_ in jobs} <= {1, 2}


def test_a_job_that_is_alone_in_its_lane_goes_by_its_own_policy(ledger: LedgerDriver) -> None:
    ledger.worker()
    job_id = ledger.add()
    for _ in range(8):
        ledger.fail(probe(ledger))
        hold_worker(ledger, 30)
    assert ledger.counted(job_id) == 8


def test_time_behind_an_open_breaker_is_not_charged_to_a_jobs_time(ledger: LedgerDriver) -> None:
    ledger.worker()
    first = ledger.add_many(5)[0]
    for job in ledger.start():
        ledger.fail(job, wait_s=1)
    hold_worker(ledger, 3)
    [job] = ledger.admit()
    assert job.job_id == first
    assert ledger.begun(job).since_first_call_ms == 2000


def test_a_lane_whose_breaker_is_open_and_that_has_no_jobs_is_forgotten_after_two_minutes(
    ledger: LedgerDriver,
) -> None:
    ledger.worker()
    ledger.add_many(5)
    for job in ledger.start():
        ledger.settle(job, "failed", outcome="transient")
    ledger.pass_s(119)
    ledger.tick("w2")
    assert "lane:alpha/m" in ledger.everything()
    ledger.pass_s(1)
    assert ledger.tick("w2").due_lanes == ["alpha/m"]
    ledger.admit()
    assert "lane:alpha/m" not in ledger.everything()
    ledger.pass_s(7 * 86400)
    ledger.tick("w2")
    assert leftovers(ledger.everything()) == set()
