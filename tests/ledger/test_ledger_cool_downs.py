"""A provider that refuses for a limit and says for how long: its lane cools down, its jobs keep their attempts."""

from __future__ import annotations

import pytest
from ledger_checks import leftovers
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted

DAY_S = 86_400


def start_one(ledger: LedgerDriver, lane: str = "alpha/m") -> Admitted:
    [job] = ledger.start(lane, most=1)
    return job


def wait(ledger: LedgerDriver, seconds: float) -> None:
    """Let time pass for a worker that lives."""
    ledger.pass_s(seconds)
    ledger.renew()
    ledger.tick()


def test_nothing_of_the_lane_goes_before_the_named_moment(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(3)
    assert ledger.limit(start_one(ledger), 40).admitted == []
    assert ledger.why() == ("cooling", 40_000)
    ledger.pass_s(39.9)
    assert ledger.admit() == []
    ledger.pass_s(0.1)
    ledger.renew()
    assert ledger.admit()


@pytest.mark.parametrize("seconds", [0.12, 61, DAY_S, 30 * DAY_S])
def test_a_cool_down_may_be_of_any_length(ledger: LedgerDriver, seconds: float) -> None:
    ledger.worker()
    ledger.add()
    ledger.limit(start_one(ledger), seconds)
    assert ledger.why() == ("cooling", round(seconds * 1000))


def test_the_refused_job_keeps_its_attempt_and_its_place(ledger: LedgerDriver) -> None:
    ledger.worker()
    refused, other = ledger.add(), ledger.add()
    assert ledger.limit(start_one(ledger), 4).state == "queued"
    assert ledger.counted(refused) == 0
    wait(ledger, 4)
    ledger.pass_s(1)  # what a refusal took from the lane's pace
    assert [job.job_id for job in ledger.admit()] == [refused]
    assert ledger.state(other) == "queued"


def test_a_shorter_cool_down_does_not_end_a_longer_one(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    first, second = ledger.start()
    ledger.limit(first, 40)
    ledger.limit(second, 1)
    assert ledger.why() == ("cooling", 40_000)


def test_a_longer_cool_down_holds_from_when_it_is_named(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    first, second = ledger.start()
    ledger.limit(first, 10)
    ledger.pass_s(5)
    ledger.limit(second, 40)
    assert ledger.why() == ("cooling", 40_000)


def test_a_job_that_was_admitted_before_and_has_not_begun_is_not_called(ledger: LedgerDriver) -> None:
    ledger.worker()
    refused, other = ledger.add(), ledger.add()
    first, second = ledger.admit()
    assert ledger.begin(first)
    ledger.limit(first, 40)
    assert not ledger.begin(second)
    assert (ledger.state(other), ledger.record(other).attempts) == ("queued", [])
    assert ledger.why() == ("cooling", 40_000)
    assert ledger.state(refused) == "queued"


def test_another_lane_goes_on(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    ledger.add("beta")
    ledger.limit(start_one(ledger), 40)
    assert len(ledger.admit("beta/m")) == 1


def test_what_shares_a_scope_cools_down_together(ledger: LedgerDriver) -> None:
    ledger.publish({"account:alpha": "@pool", "account:beta": "@pool"})
    ledger.worker()
    ledger.add("alpha")
    ledger.add("beta", model="n")
    ledger.limit(start_one(ledger, "@pool"), 40)
    assert ledger.why("@pool") == ("cooling", 40_000)


def test_a_second_refusal_of_a_job_counts_when_others_got_through_in_between(ledger: LedgerDriver) -> None:
    ledger.worker()
    refused = ledger.add()
    ledger.limit(start_one(ledger), 1)
    wait(ledger, 5)
    again = start_one(ledger)
    ledger.add()
    wait(ledger, 5)
    ledger.settle(start_one(ledger))
    assert (again.job_id, ledger.limit(again, 1).state) == (refused, "retrying")
    assert ledger.counted(refused) == 1


def test_a_second_refusal_does_not_count_when_nobody_got_through_but_lets_others_try(
    ledger: LedgerDriver,
) -> None:
    ledger.worker()
    refused, other = ledger.add(), ledger.add()
    for _ in range(2):
        job = start_one(ledger)
        assert job.job_id == refused
        ledger.limit(job, 1)
        wait(ledger, 5)
    assert ledger.counted(refused) == 0
    assert start_one(ledger).job_id == other


def test_the_last_of_a_jobs_attempts_is_not_lost_to_a_limit(ledger: LedgerDriver) -> None:
    """Its worker would have it fail; but the refusal was not the job's own."""
    ledger.worker()
    job_id = ledger.add()
    settled = ledger.settle(start_one(ledger), "failed", outcome="limited", cool_s=2)
    assert (settled.state, ledger.state(job_id)) == ("queued", "queued")


def test_a_cool_down_is_not_charged_to_a_jobs_time(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    job = start_one(ledger)
    ledger.pass_s(3)
    ledger.limit(job, 40)
    ledger.pass_s(45)
    ledger.renew("w1")
    ledger.worker("w2")
    [job] = ledger.admit()
    assert ledger.begun(job).since_first_call_ms == 8000


def test_two_cool_downs_that_overlap_are_taken_off_once(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    first, second = ledger.start()
    ledger.limit(first, 10)
    ledger.pass_s(5)
    ledger.limit(second, 10)
    ledger.pass_s(14)
    [job] = ledger.admit(most=1)
    assert ledger.begun(job).since_first_call_ms == 4000


def test_a_cool_down_that_a_job_did_not_live_to_see_takes_nothing_off_its_time(ledger: LedgerDriver) -> None:
    ledger.worker()
    refused = ledger.add()
    ledger.limit(start_one(ledger), 10)
    wait(ledger, 10)
    ledger.run(ledger.ledger.cancel(refused))
    ledger.add()
    wait(ledger, 2)
    ledger.fail(start_one(ledger))
    wait(ledger, 4)
    [job] = ledger.admit()
    assert ledger.begun(job).since_first_call_ms == 4000


def test_a_lane_that_cooled_down_and_has_no_jobs_is_forgotten(ledger: LedgerDriver) -> None:
    ledger.worker()
    job_id = ledger.add()
    ledger.limit(start_one(ledger), 40)
    ledger.run(ledger.ledger.cancel(job_id))
    assert "lane:alpha/m" in ledger.everything()
    ledger.pass_s(40)
    assert ledger.tick("w2").due_lanes == ["alpha/m"]
    ledger.admit()
    ledger.pass_s(7 * DAY_S)
    ledger.tick("w2")
    assert leftovers(ledger.everything()) == set()
