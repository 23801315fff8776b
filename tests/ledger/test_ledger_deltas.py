"""What a caller is told of an answer while its job runs; and that a job is not called again once something was told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_driver import ANSWER, FAILURE, LedgerDriver, attempt

from chatq.contract.states import State
from chatq.ledger.replies import Admitted

HEL = b'[{"index":0,"delta":{"content":"Hel"}}]'
LO = b'[{"index":0,"delta":{"content":"lo"}}]'
KEPT_S = 600


def begun(ledger: LedgerDriver) -> Admitted:
    """A job that streams, begun by a worker."""
    if not ledger.client.exists(ledger.ledger.keys.worker("w1")):
        ledger.worker()
    ledger.add(stream=True)
    [job] = ledger.start()
    return job


def tell(ledger: LedgerDriver, job: Admitted, *deltas: bytes, before: int = 0) -> bool:
    return ledger.run(ledger.ledger.tell(job.job_id, job.token, before, deltas))


def page(
    ledger: LedgerDriver, job_id: str, position: int = 0, **most: int
) -> tuple[int, bool, list[bytes]] | None:
    return ledger.run(ledger.ledger.deltas(job_id, position, **most))


def test_what_was_told_is_read_from_a_position_on(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    assert page(ledger, job.job_id) == (0, False, [])
    assert tell(ledger, job, HEL)
    assert page(ledger, job.job_id) == (1, False, [HEL])
    assert page(ledger, job.job_id, 1) == (1, False, [])
    assert tell(ledger, job, LO, before=1)
    assert page(ledger, job.job_id, 1) == (2, False, [LO])
    assert page(ledger, job.job_id) == (2, False, [HEL, LO])


def test_no_more_will_come_once_the_job_is_final_and_all_was_read(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL, LO)
    ledger.settle(job)
    assert page(ledger, job.job_id, most_bytes=1) == (1, False, [HEL])
    assert page(ledger, job.job_id, 1) == (2, True, [LO])
    assert page(ledger, job.job_id, 2) == (2, True, [])


def test_a_long_list_comes_in_several_pages(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, *[HEL] * 500)
    ledger.settle(job)
    assert page(ledger, job.job_id) == (500, False, [HEL] * 500)
    assert page(ledger, job.job_id, 500) == (500, True, [])


def test_of_a_job_that_told_nothing_nothing_comes_and_of_an_unknown_one_nothing_is_known(
    ledger: LedgerDriver,
) -> None:
    job = begun(ledger)
    ledger.settle(job)
    assert page(ledger, job.job_id) == (0, True, [])
    assert page(ledger, "nobody") is None


def test_telling_again_after_a_lost_reply_tells_nothing_twice(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    for _ in range(2):
        assert tell(ledger, job, HEL)
    for _ in range(2):
        assert tell(ledger, job, LO, HEL, before=1)
    assert page(ledger, job.job_id) == (3, False, [HEL, LO, HEL])


def test_of_what_was_told_in_part_the_rest_is_told(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    assert tell(ledger, job, HEL, LO)
    assert page(ledger, job.job_id) == (2, False, [HEL, LO])


def test_after_a_server_forgot_what_was_told_nothing_is_told_and_the_job_is_still_not_called_again(
    ledger: LedgerDriver,
) -> None:
    job = begun(ledger)
    assert not tell(ledger, job, LO, before=1)
    assert page(ledger, job.job_id) == (0, False, [])
    ledger.settle(job, "queued", ending=FAILURE)
    assert ledger.state(job.job_id) == "failed"


def test_whoever_listens_hears_that_more_was_told(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.done(job.job_id))
    heard.get_message(timeout=1)
    tell(ledger, job, HEL)
    message = heard.get_message(timeout=1)
    assert message is not None
    assert message["data"] == b"delta"
    heard.close()


def test_whoever_does_not_hold_the_job_tells_nothing(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add(stream=True)
    [job] = ledger.admit()
    assert not tell(ledger, job, HEL)  # not begun
    ledger.begin(job)
    assert not tell(ledger, Admitted(job.job_id, "alpha", "1-old", "w1"), HEL)
    ledger.settle(job)
    assert not tell(ledger, job, HEL)
    assert page(ledger, job.job_id) == (0, True, [])


FAILED: dict[str, Callable[[LedgerDriver, Admitted], object]] = {
    "a passing failure": lambda ledger, job: ledger.settle(
        job, "retrying", outcome="transient", counted=True, wait_s=2, ending=FAILURE
    ),
    "a limit": lambda ledger, job: ledger.settle(job, "retrying", cool_s=5, counted=True, ending=FAILURE),
    "a refused account": lambda ledger, job: ledger.settle(
        job, "failed", outcome="account", ending=FAILURE, pause=b'"code":"x","message":"No.","remedy":"Mend."'
    ),
    "a worker that stops": lambda ledger, job: ledger.settle(job, "queued", ending=FAILURE),
}


@pytest.mark.parametrize("how", FAILED)
def test_after_something_was_told_every_failure_is_the_end(ledger: LedgerDriver, how: str) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    FAILED[how](ledger, job)
    record = ledger.record(job.job_id)
    assert record.error is not None
    assert (record.state, record.error.code, len(record.attempts)) == ("failed", "bad", 1)
    assert page(ledger, job.job_id) == (1, True, [HEL])
    ledger.pass_s(100)
    ledger.resume()
    assert ledger.admit() == []


@pytest.mark.parametrize("how", FAILED)
def test_before_anything_was_told_a_failure_is_what_it_is_for_any_job(ledger: LedgerDriver, how: str) -> None:
    job = begun(ledger)
    FAILED[how](ledger, job)
    assert ledger.state(job.job_id) in {"queued", "retrying"}
    assert page(ledger, job.job_id) == (0, False, [])


def test_a_job_of_which_something_was_told_fails_with_its_worker(ledger: LedgerDriver) -> None:
    told, untold = begun(ledger), begun(ledger)
    tell(ledger, told, HEL)
    ledger.run(ledger.ledger.drain("w1", leave=True))
    record = ledger.record(told.job_id)
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "worker_lost")
    assert "after a part of the answer had been sent to the caller" in record.error.message
    assert [attempt.maybe_charged for attempt in record.attempts] == [True]
    assert ledger.state(untold.job_id) == "queued"


def test_a_job_that_was_to_be_cancelled_is_cancelled_whatever_was_told(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    ledger.run(ledger.ledger.cancel(job.job_id))
    ledger.run(ledger.ledger.drain("w1", leave=True))
    assert ledger.state(job.job_id) == "cancelled"


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_was_told_goes_ten_minutes_after_the_end(ledger: LedgerDriver, state: str) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    key = ledger.ledger.keys.deltas(job.job_id)
    assert ledger.client.ttl(key) == -1
    ledger.settle(job, state)
    assert KEPT_S - 5 < ledger.client.ttl(key) <= KEPT_S


def test_what_was_told_goes_with_the_jobs_data(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    ledger.settle(job)
    ledger.run(ledger.ledger.delete(job.job_id))
    assert page(ledger, job.job_id) is None
    assert not ledger.client.exists(ledger.ledger.keys.deltas(job.job_id))


def test_a_failed_job_of_which_something_was_told_can_be_put_back_as_a_new_one(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    ledger.settle(job, "failed")
    [again] = ledger.run(ledger.ledger.retry_failed("", "", 0, backlog_jobs=9, backlog_bytes=9999)).jobs
    [retried] = ledger.start()
    assert retried.job_id == again
    assert page(ledger, again) == (0, False, [])
    ledger.settle(retried, "queued", attempt=attempt(), ending=FAILURE)
    assert ledger.state(again) == "queued"


def test_a_settlement_that_is_made_again_changes_nothing(ledger: LedgerDriver) -> None:
    job = begun(ledger)
    tell(ledger, job, HEL)
    call = ledger.ledger.settle(job.job_id, job.token, State.SUCCEEDED, attempt=attempt(), ending=ANSWER)
    assert ledger.run(call).state == "succeeded"
    assert ledger.run(call).state == "again"
    assert page(ledger, job.job_id) == (1, True, [HEL])
