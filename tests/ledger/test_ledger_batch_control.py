"""Batches that are paused, resumed, moved to another connection, and whose failed jobs are tried again."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_checks import jobs_of
from ledger_driver import PLENTY, LedgerDriver
from test_ledger_batches import open_batch, read

from chatq.ledger.replies import Retried


def pause(ledger: LedgerDriver, batch: str = "b") -> str:
    return ledger.run(ledger.ledger.pause_batch(batch))


def resume(ledger: LedgerDriver, batch: str = "b") -> str:
    return ledger.run(ledger.ledger.resume_batch(batch))


def move(ledger: LedgerDriver, connection: str = "beta", model: str = "m", most: int = 500) -> str:
    return ledger.run(ledger.ledger.move_batch("b", connection, model, most))


def retry(ledger: LedgerDriver, batch: str = "", new: str = "", cursor: int = 0, **facts: Any) -> Retried:
    limits = {"backlog_jobs": PLENTY, "backlog_bytes": PLENTY, **facts}
    return ledger.run(ledger.ledger.retry_failed(batch, new, cursor, **limits))


# Pausing


def test_nothing_of_a_paused_batch_is_admitted_until_it_is_resumed(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    inside = ledger.add_many(2, batch="b")
    outside = ledger.add()
    ledger.worker()
    assert pause(ledger) == "paused"
    assert [job.job_id for job in ledger.admit()] == [outside]
    assert resume(ledger) == "resumed"
    assert [job.job_id for job in ledger.admit()] == inside


def test_what_is_enqueued_into_a_paused_batch_waits_too(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.worker()
    pause(ledger)
    job = ledger.add(batch="b")
    assert ledger.admit() == []
    resume(ledger)
    assert [item.job_id for item in ledger.admit()] == [job]


def test_what_runs_of_a_paused_batch_goes_on_and_waits_when_it_comes_back(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(3, batch="b")
    ledger.worker()
    one, two = ledger.start(most=2)
    [claimed] = ledger.admit()
    pause(ledger)
    assert ledger.begin(claimed)
    assert ledger.settle(one).state == "succeeded"
    assert ledger.settle(two, "retrying").state == "retrying"
    assert ledger.admit() == []
    resume(ledger)
    assert [job.job_id for job in ledger.admit()] == [two.job_id]


def test_a_batch_says_since_when_it_is_paused(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add(batch="b")
    pause(ledger)
    ledger.pass_s(60)
    pause(ledger)
    since = read(ledger).paused_at
    assert since is not None
    assert since.isoformat() == "2027-01-15T08:00:00+00:00"
    resume(ledger)
    assert read(ledger).paused_at is None


def test_the_time_of_a_pause_is_no_time_of_its_jobs(ledger: LedgerDriver) -> None:
    """`retry.max_elapsed` counts without it."""
    open_batch(ledger)
    ledger.add(batch="b")
    ledger.worker()
    [job] = ledger.start()
    ledger.pass_s(10)
    pause(ledger)
    ledger.settle(job, "retrying")
    ledger.pass_s(20)
    resume(ledger)
    ledger.renew()
    [again] = ledger.admit()
    begun = ledger.run(ledger.ledger.begin(again.job_id, again.token, again.worker))
    assert begun is not None
    assert begun.since_first_call_ms == 10_000


def test_a_paused_batch_can_be_cancelled(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    jobs = ledger.add_many(2, batch="b")
    pause(ledger)
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    assert [ledger.state(job) for job in jobs] == ["cancelled", "cancelled"]
    assert read(ledger).ended
    assert "parked" not in ledger.everything()


def test_jobs_of_a_paused_batch_expire(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    job = ledger.add(batch="b", expires_in=5)
    pause(ledger)
    ledger.worker()
    ledger.pass_s(6)
    ledger.tick()
    assert ledger.state(job) == "expired"


@pytest.mark.parametrize("what", ["unknown", "ended", "cancelled"])
def test_a_batch_that_is_over_is_left_alone(ledger: LedgerDriver, what: str) -> None:
    if what != "unknown":
        open_batch(ledger)
        ledger.add_many(3, batch="b")
        ledger.worker()
        ledger.start(most=1)  # so that the cancelled one has not ended
        ledger.run(ledger.ledger.cancel_batch("b"))
        if what == "ended":
            ledger.run(ledger.ledger.drain("w1", leave=True))
    before = ledger.everything()
    assert (pause(ledger), resume(ledger), move(ledger)) == (what, what, what)
    assert ledger.everything() == before


# Moving


def test_waiting_jobs_of_a_moved_batch_have_the_new_connection_and_model(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    waiting = ledger.add_many(2, batch="b")
    later = ledger.add(batch="b", not_before=5)
    outside = ledger.add()
    assert move(ledger, "beta", "big") == "done"
    assert {ledger.record(job).connection for job in [*waiting, later]} == {"beta"}
    assert ledger.record(outside).connection == "alpha"
    ledger.worker()
    [first, second] = ledger.admit("beta/big")
    assert [first.job_id, second.job_id] == waiting
    begun = ledger.run(ledger.ledger.begin(first.job_id, first.token, first.worker))
    assert begun is not None
    assert (begun.connection, begun.model, begun.stands_in) == ("beta", "big", False)
    assert ledger.begin(second)
    ledger.pass_s(6)
    ledger.tick()
    assert [job.job_id for job in ledger.admit("beta/big")] == [later]


def test_jobs_in_flight_end_where_they_are_and_follow_when_they_come_back(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(4, batch="b")
    ledger.worker()
    ends, retries, claimed = ledger.start(most=3)[:3]
    [given] = ledger.admit()
    move(ledger)
    ledger.settle(ends)
    ledger.settle(retries, "retrying", wait_s=1)
    ledger.settle(given, "queued", attempt=b"")
    assert ledger.record(ends.job_id).connection == "alpha"
    assert ledger.record(claimed.job_id).connection == "alpha"
    assert ledger.record(retries.job_id).connection == "beta"
    assert ledger.record(given.job_id).connection == "beta"
    connections = ledger.everything()
    assert connections["connection:alpha"]["running"] == "1"
    assert (connections["connection:alpha"]["queued"], connections["connection:beta"]["queued"]) == ("0", "2")


def test_from_the_moment_of_a_move_nothing_goes_to_the_old_connection(ledger: LedgerDriver) -> None:
    """Although the waiting jobs are moved in chunks."""
    open_batch(ledger)
    jobs = ledger.add_many(5, batch="b")
    ledger.worker()
    assert move(ledger, most=2) == "more"
    assert ledger.admit("alpha/m") == []
    assert [job.job_id for job in ledger.admit("beta/m")] == jobs[:2]
    assert move(ledger, most=2) == "more"
    assert move(ledger, most=2) == "done"
    assert [job.job_id for job in ledger.admit("beta/m")] == jobs[2:]


def test_a_job_that_is_not_moved_yet_says_so(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    jobs = ledger.add_many(3, batch="b")
    move(ledger, most=1)
    told = ledger.run(ledger.ledger.why(jobs[2]))
    assert told is not None
    assert told["reason"] == "batch_moving"


def test_the_clock_moves_what_a_caller_that_died_left_behind(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    jobs = ledger.add_many(5, batch="b")
    ledger.worker()
    assert move(ledger, most=2) == "more"
    ledger.tick()
    assert [job.job_id for job in ledger.admit("beta/m")] == jobs


def test_a_second_move_takes_all_that_wait_wherever_the_first_had_come(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    jobs = ledger.add_many(5, batch="b")
    ledger.worker()
    move(ledger, "beta", most=2)
    assert move(ledger, "gamma") == "done"
    assert [job.job_id for job in ledger.admit("gamma/m")] == jobs


def test_what_is_enqueued_after_a_move_goes_where_it_says(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add(batch="b")
    move(ledger)
    job = ledger.add(batch="b")
    ledger.worker()
    [taken] = ledger.start("alpha/m")
    assert taken.job_id == job
    ledger.settle(taken, "queued")
    assert ledger.record(job).connection == "alpha"


def test_a_moved_batch_that_is_paused_stays_paused(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    job = ledger.add(batch="b")
    ledger.worker()
    pause(ledger)
    move(ledger)
    assert (ledger.admit("alpha/m"), ledger.admit("beta/m")) == ([], [])
    resume(ledger)
    assert [item.job_id for item in ledger.admit("beta/m")] == [job]


def test_a_batch_that_is_being_moved_can_be_cancelled(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    jobs = ledger.add_many(5, batch="b")
    move(ledger, most=4)
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    assert {ledger.state(job) for job in jobs} == {"cancelled"}


# Large batches


def cpu_s(ledger: LedgerDriver) -> float:
    """What the server has worked so far."""
    used = ledger.client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@pytest.mark.thorough
def test_of_a_cancelled_batch_of_20_000_nothing_is_admitted_from_the_first_short_call_on(
    real_ledger: LedgerDriver,
) -> None:
    open_batch(real_ledger)
    real_ledger.add_many(20_000, batch="b")
    real_ledger.worker()
    held = real_ledger.start(most=3)
    before_s = cpu_s(real_ledger)
    assert real_ledger.run(real_ledger.ledger.cancel_batch("b")) == "more"
    assert cpu_s(real_ledger) - before_s < 0.2  # all of it would take many seconds
    assert real_ledger.admit() == []
    assert read(real_ledger).counts.cancelled == 97
    for _ in range(3):
        real_ledger.tick()
    assert read(real_ledger).counts.cancelled == 397
    assert sorted(real_ledger.renew()[1]) == sorted(job.job_id for job in held)
    real_ledger.settle(held[0], "queued")
    assert real_ledger.state(held[0].job_id) == "cancelled"


@pytest.mark.thorough
def test_of_a_moved_batch_of_20_000_nothing_goes_to_the_old_connection_from_the_first_short_call_on(
    real_ledger: LedgerDriver,
) -> None:
    open_batch(real_ledger)
    jobs = real_ledger.add_many(20_000, batch="b")
    real_ledger.worker()
    before_s = cpu_s(real_ledger)
    assert real_ledger.run(real_ledger.ledger.move_batch("b", "beta", "m")) == "more"
    assert cpu_s(real_ledger) - before_s < 0.2
    assert real_ledger.admit("alpha/m") == []
    real_ledger.tick()
    assert real_ledger.client.hget("t:connection:beta", "queued") == b"200"
    assert [job.job_id for job in real_ledger.admit("beta/m", 5)] == jobs[:5]


# Retrying what failed


def failed(ledger: LedgerDriver, *, batch: str = "", code: str = "bad", **fields: Any) -> str:
    """A job that failed."""
    job = ledger.add(batch=batch, **fields)
    [taken] = ledger.start()
    ending = f'"warnings":[],"error":{{"code":"{code}","message":"No.","retryable":false,"remedy":"Ask."}}'
    ledger.settle(taken, "failed", ending=ending.encode())
    return job


def test_a_failed_job_is_tried_again_as_a_new_job_and_stays_as_it_is(ledger: LedgerDriver) -> None:
    ledger.worker()
    old = failed(ledger, prompt="Say hi", metadata={"order": "17"}, priority=7, tenant="t1")
    before = ledger.record(old)
    [new] = retry(ledger).jobs
    assert len(new) == 32
    assert ledger.record(old) == before
    record = ledger.record(new)
    assert (record.state, record.retry_of, record.metadata, record.attempts) == (
        "queued",
        old,
        {"order": "17"},
        [],
    )
    [job] = ledger.admit()
    begun = ledger.run(ledger.ledger.begin(job.job_id, job.token, job.worker))
    assert begun is not None
    assert b"Say hi" in begun.request
    assert jobs_of(ledger.everything())[new]["flow"].split("\x1f") == ["7", "alpha", "m", "tenant:t1"]
    ledger.settle(job)
    assert ledger.record(new).retry_of == old


def test_a_failed_job_is_tried_again_once_however_often_it_is_asked_for(ledger: LedgerDriver) -> None:
    ledger.worker()
    failed(ledger)
    assert len(retry(ledger).jobs) == 1
    assert retry(ledger).jobs == []


def test_a_job_that_lost_all_its_workers_can_be_retried_and_has_lost_none(ledger: LedgerDriver) -> None:
    old = ledger.add()
    for number in range(4):
        ledger.worker(f"w{number}")
        assert len(ledger.start()) == 1
        ledger.run(ledger.ledger.drain(f"w{number}", leave=True))
    assert ledger.state(old) == "failed"
    [new] = retry(ledger, code="worker_lost").jobs
    ledger.worker("w4")
    [job] = ledger.start()
    ledger.settle(job)
    assert (ledger.state(new), len(ledger.record(new).attempts)) == ("succeeded", 1)


def test_a_retry_that_failed_can_be_retried(ledger: LedgerDriver) -> None:
    ledger.worker()
    failed(ledger)
    [new] = retry(ledger).jobs
    [taken] = ledger.start()
    ledger.settle(taken, "failed")
    [newest] = retry(ledger).jobs
    assert ledger.record(newest).retry_of == new


def test_only_what_failed_is_tried_again(ledger: LedgerDriver) -> None:
    ledger.worker()
    open_batch(ledger)
    old = failed(ledger)
    failed(ledger, batch="b")
    ledger.run(ledger.ledger.cancel(ledger.add()))
    ledger.add()
    ledger.settle(ledger.start()[0])
    [new] = retry(ledger).jobs
    assert ledger.record(new).retry_of == old


def test_a_code_and_a_connection_narrow_what_is_tried_again(ledger: LedgerDriver) -> None:
    ledger.worker()
    timeout, other = failed(ledger, code="timeout"), failed(ledger, code="server_error")
    assert retry(ledger, connection="beta").jobs == []
    [new] = retry(ledger, code="timeout").jobs
    assert ledger.record(new).retry_of == timeout
    [new] = retry(ledger, connection="alpha").jobs
    assert ledger.record(new).retry_of == other


def test_many_are_looked_at_in_parts(ledger: LedgerDriver) -> None:
    ledger.worker()
    for _ in range(5):
        failed(ledger)
    cursor: int | None = 0
    jobs: list[str] = []
    while cursor is not None:
        part = retry(ledger, cursor=cursor, most=2)
        jobs += part.jobs
        cursor = part.cursor
    assert len(set(jobs)) == 5


def test_failed_jobs_of_a_batch_are_tried_again_in_a_new_batch(ledger: LedgerDriver) -> None:
    ledger.worker()
    open_batch(ledger)
    old = failed(ledger, batch="b", custom_id="c1")
    failed(ledger)
    ledger.run(ledger.ledger.seal("b"))
    before = read(ledger)
    ledger.run(ledger.ledger.open_batch("new", {}, 60, retry_of="b"))
    [job] = retry(ledger, "b", "new").jobs
    ledger.run(ledger.ledger.seal("new"))
    record = ledger.record(job)
    assert (record.batch, record.custom_id, record.retry_of) == ("new", "c1", old)
    assert (read(ledger, "new").counts.queued, read(ledger, "new").retry_of) == (1, "b")
    assert read(ledger) == before
    ledger.settle(ledger.start()[0])
    assert read(ledger, "new").ended


def test_a_job_with_an_expiry_has_its_time_again(ledger: LedgerDriver) -> None:
    ledger.worker()
    failed(ledger, expires_in=10)
    ledger.pass_s(60)
    ledger.renew()
    [job] = retry(ledger).jobs
    ledger.pass_s(9)
    ledger.tick()
    assert ledger.state(job) == "queued"
    ledger.pass_s(2)
    ledger.tick()
    assert ledger.state(job) == "expired"


def test_retries_count_against_the_backlog(ledger: LedgerDriver) -> None:
    ledger.worker()
    failed(ledger)
    ledger.add_many(2)
    before = ledger.everything()
    refused = retry(ledger, backlog_jobs=2)
    assert (refused.refused, refused.backlog_jobs) == ("full", 2)
    assert ledger.everything() == before
    assert len(retry(ledger, backlog_jobs=3).jobs) == 1


@pytest.mark.parametrize("gone", ["b", "new"])
def test_a_batch_that_is_not_there_is_told(ledger: LedgerDriver, gone: str) -> None:
    for batch in {"b", "new"} - {gone}:
        open_batch(ledger, batch)
    assert retry(ledger, "b", "new").refused == "no_batch"


def test_batches_are_listed_the_newest_first_until_they_are_purged(ledger: LedgerDriver) -> None:
    for name in ("b1", "b2", "b3"):
        open_batch(ledger, name)
        ledger.pass_s(1)
    listed = [batch.split(b'"')[3].decode() for batch in ledger.run(ledger.ledger.list_batches(2))]
    assert listed == ["b3", "b2"]
    ledger.run(ledger.ledger.seal("b3"))
    ledger.worker()
    ledger.pass_s(61)
    ledger.tick()
    assert len(ledger.run(ledger.ledger.list_batches(9))) == 2
