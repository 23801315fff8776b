"""Who goes first: flows of a lane share it by cost and priority, a flow's own jobs go in their order."""

from __future__ import annotations

from collections import Counter

import pytest
from ledger_checks import jobs_of
from ledger_driver import LedgerDriver


def gone_by_tenant(ledger: LedgerDriver, most: int) -> Counter[str]:
    """How many jobs of each tenant go when `most` may."""
    gone = [job.job_id for job in ledger.admit(most=most)]
    jobs = jobs_of(ledger.everything())
    return Counter(jobs[job_id]["flow"].rpartition(":")[2] for job_id in gone)


def test_a_flow_is_served_in_the_order_of_enqueueing(ledger: LedgerDriver) -> None:
    jobs = [ledger.add() for _ in range(5)]
    ledger.worker()
    assert [job.job_id for job in ledger.admit()] == jobs


def test_two_tenants_take_turns_whoever_came_first(ledger: LedgerDriver) -> None:
    ledger.add_many(20, tenant="early")
    ledger.add_many(20, tenant="late")
    ledger.worker()
    assert gone_by_tenant(ledger, 10) == {"early": 5, "late": 5}


def test_of_jobs_that_come_together_the_highest_priority_goes_first(ledger: LedgerDriver) -> None:
    jobs = {priority: ledger.add(priority=priority) for priority in (0, 5, 9, 4)}
    ledger.worker()
    assert [job.job_id for job in ledger.admit()] == [jobs[9], jobs[5], jobs[4], jobs[0]]


def test_each_priority_step_is_worth_thirty_per_cent_more(real_ledger: LedgerDriver) -> None:
    for priority in (4, 5, 6):
        real_ledger.add_many(200, priority=priority, tenant=f"priority-{priority}")
    real_ledger.worker(slots=1000)
    gone = gone_by_tenant(real_ledger, 399)
    assert gone["priority-4"] == pytest.approx(100, abs=1)
    assert gone["priority-5"] == pytest.approx(130, abs=1)
    assert gone["priority-6"] == pytest.approx(169, abs=1)


def test_the_lowest_priority_moves_beside_the_highest(real_ledger: LedgerDriver) -> None:
    """1.3 ** 9 = 10.6: of 116 jobs, 10 are of priority 0."""
    real_ledger.add_many(200, priority=9, tenant="nine")
    real_ledger.add_many(200, priority=0, tenant="zero")
    real_ledger.worker(slots=1000)
    assert gone_by_tenant(real_ledger, 116)["zero"] == pytest.approx(10, abs=1)


def test_shares_are_counted_in_tokens_and_not_in_jobs(ledger: LedgerDriver) -> None:
    ledger.add_many(60, tenant="large", params={"max_tokens": 3000})
    ledger.add_many(60, tenant="small", params={"max_tokens": 1000})
    ledger.worker()
    assert gone_by_tenant(ledger, 40) == {"large": 10, "small": 30}


@pytest.mark.thorough
def test_a_newcomer_does_not_wait_for_a_flow_of_20_000_jobs(real_ledger: LedgerDriver) -> None:
    real_ledger.add_many(20_000, tenant="bulk")
    real_ledger.worker(slots=1000)
    real_ledger.admit(most=100)
    newcomer = real_ledger.add(tenant="newcomer")
    assert newcomer in [job.job_id for job in real_ledger.admit(most=2)]


def test_a_flow_does_not_go_sooner_because_more_jobs_come_into_it(ledger: LedgerDriver) -> None:
    ledger.add_many(20, tenant="patient")
    ledger.add_many(20, tenant="eager")
    ledger.worker()
    gone: Counter[str] = Counter()
    for _ in range(12):
        gone += gone_by_tenant(ledger, 1)
        ledger.add(tenant="eager")
    assert gone == {"patient": 6, "eager": 6}


def test_a_newcomer_gets_no_credit_for_the_time_before_it_came(ledger: LedgerDriver) -> None:
    ledger.add_many(60, tenant="early")
    ledger.worker()
    ledger.admit(most=40)
    ledger.add_many(20, tenant="late")
    assert gone_by_tenant(ledger, 10) == {"early": 5, "late": 5}


def test_a_job_that_comes_back_keeps_its_place_in_line(ledger: LedgerDriver) -> None:
    first, second, third = (ledger.add() for _ in range(3))
    ledger.worker()
    held = ledger.start(most=2)
    ledger.settle(held[1], "queued", wait_s=None)
    ledger.pass_s(5)  # the claim that this freed was not begun
    ledger.tick()
    ledger.settle(held[0], "queued")
    ledger.pass_s(5)
    ledger.tick()
    assert [job.job_id for job in ledger.admit()] == [first, second, third]


def test_a_job_that_waits_for_a_moment_goes_in_its_old_place_when_it_comes(ledger: LedgerDriver) -> None:
    delayed = ledger.add(not_before=10)
    later = ledger.add()
    ledger.worker()
    ledger.pass_s(10)
    ledger.tick()
    assert [job.job_id for job in ledger.admit()] == [delayed, later]


def test_a_batch_and_single_jobs_of_a_connection_take_turns(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    batch = ledger.add_many(20, batch="b")
    ledger.add_many(20)
    ledger.worker()
    assert sum(job.job_id in batch for job in ledger.admit(most=10)) == 5
