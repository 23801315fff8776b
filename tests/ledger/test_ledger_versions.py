"""Workers of several versions in one fleet: a job with a field that came with a newer format goes only to workers that
know it."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_driver import LEASE_S, LedgerDriver
from test_ledger_batches import open_batch

from chatq.contract import job as contract
from chatq.contract.why import explained


@pytest.fixture(autouse=True)
def _a_field_of_the_second_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contract.SINCE, "response_format", 2)


NEW: dict[str, Any] = {"response_format": {"type": "json_object"}}


def worker(ledger: LedgerDriver, name: str, job_format: int, slots: int = 100) -> None:
    ledger.run(
        ledger.ledger.renew(
            name, lease_s=LEASE_S, slots=slots, facts={}, registered=False, job_format=job_format
        )
    )


def reason(ledger: LedgerDriver, job_id: str) -> str:
    facts = ledger.run(ledger.ledger.why(job_id))
    assert facts is not None
    return explained(job_id, facts).reason


def test_a_job_with_a_newer_field_goes_to_a_worker_that_knows_it(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1, slots=100)
    worker(ledger, "newer", 2, slots=5)
    ledger.add_many(3, **NEW)
    assert [job.worker for job in ledger.admit()] == ["newer"] * 3


def test_with_none_alive_it_waits_and_why_says_so(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1)
    job_id = ledger.add(**NEW)
    assert ledger.why() == ("version", 1000)
    facts = ledger.run(ledger.ledger.why(job_id))
    assert facts is not None
    why = explained(job_id, facts)
    assert why.reason == "version"
    assert "no worker alive knows" in why.message
    assert "nobody knows when a newer worker starts" in why.message
    assert why.remedy is not None
    assert why.remedy.startswith("Upgrade chatq where a worker runs")


def test_it_goes_as_soon_as_one_is_there(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1)
    job_id = ledger.add(**NEW)
    assert ledger.admit() == []
    worker(ledger, "newer", 2)
    [job] = ledger.admit()
    assert (job.job_id, job.worker) == (job_id, "newer")


def test_others_go_meanwhile_and_why_tells_them_apart(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1)
    waits = ledger.add(**NEW)
    ordinary = ledger.add()
    assert reason(ledger, ordinary) == "due"
    assert reason(ledger, waits) == "version"
    assert [job.job_id for job in ledger.admit()] == [ordinary]


def test_a_full_worker_that_knows_it_is_waited_for(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1, slots=100)
    worker(ledger, "newer", 2, slots=10)
    ids = ledger.add_many(11, **NEW)
    begun = ledger.start()
    assert len(begun) == 10
    assert ledger.why() == ("slots", 1000)
    assert reason(ledger, ids[10]) == "slots"
    assert [job.job_id for job in ledger.settle(begun[0]).admitted] == [ids[10]]


def test_no_worker_at_all_is_told_as_that(ledger: LedgerDriver) -> None:
    assert reason(ledger, ledger.add(**NEW)) == "no_worker"


def test_after_its_worker_died_it_goes_to_another_that_knows_it(ledger: LedgerDriver) -> None:
    worker(ledger, "older", 1)
    worker(ledger, "newer", 2)
    job_id = ledger.add(**NEW)
    for _ in range(3):
        [job] = ledger.start()
        assert job.worker == "newer"
        for _ in range(int(LEASE_S) + 1):
            ledger.pass_s(1)
            ledger.tick("older")
            ledger.renew("older")
        assert ledger.admit() == []
        worker(ledger, "newer", 2)
    assert [job.job_id for job in ledger.admit()] == [job_id]


@pytest.mark.parametrize("in_batch", [True, False], ids=["in a batch", "by itself"])
def test_a_retry_of_it_asks_for_the_same(ledger: LedgerDriver, in_batch: bool) -> None:
    batch = "b1" if in_batch else ""
    if in_batch:
        open_batch(ledger, "b1")
        open_batch(ledger, "b2")
    worker(ledger, "newer", 2)
    ledger.add(batch=batch, **NEW)
    [job] = ledger.start()
    ledger.settle(job, "failed", outcome="request")
    ledger.run(ledger.ledger.drain("newer", leave=True))
    worker(ledger, "older", 1)
    retried = ledger.ledger.retry_failed(
        batch, "b2" if in_batch else "", 0, backlog_jobs=100, backlog_bytes=10_000
    )
    [again] = ledger.run(retried).jobs
    assert reason(ledger, again) == "version"


def test_a_batch_that_was_moved_asks_for_the_same(ledger: LedgerDriver) -> None:
    open_batch(ledger, "b1")
    worker(ledger, "older", 1)
    job_id = ledger.add(batch="b1", **NEW)
    ledger.run(ledger.ledger.move_batch("b1", "beta", "m"))
    assert ledger.why("beta/m") == ("version", 1000)
    assert ledger.record(job_id).connection == "beta"
