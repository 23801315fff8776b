"""Jobs whose workers die: each loss narrows the search for the one that kills them, and its neighbours live."""

from __future__ import annotations

import random

import pytest
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted


def lose(ledger: LedgerDriver, worker: str, *, most: int = 1000) -> list[str]:
    """A worker begins what it is given, and dies; the ids of its jobs."""
    ledger.worker(worker, slots=1000)
    jobs = ledger.start(most=most)
    assert {job.worker for job in jobs} <= {worker}
    leave(ledger, worker)
    return [job.job_id for job in jobs]


def leave(ledger: LedgerDriver, worker: str) -> None:
    ledger.run(ledger.ledger.drain(worker, leave=True, most=5000))


def with_losses(ledger: LedgerDriver, losses: int, count: int = 1, **fields: str) -> list[str]:
    """Jobs that were lost so often, all together as long as they may be; their ids."""
    ids = ledger.add_many(count, **fields)
    while any(len(ledger.record(id_).attempts) < losses for id_ in ids):
        ledger.made += 1
        lose(ledger, f"dies-{ledger.made}")
    return ids


def begin_all(ledger: LedgerDriver, worker: str) -> list[Admitted]:
    ledger.worker(worker, slots=1000)
    return ledger.start(most=1000)


def test_jobs_that_were_lost_once_go_as_before(ledger: LedgerDriver) -> None:
    with_losses(ledger, 1, count=40)
    assert len(begin_all(ledger, "w1")) == 40


def test_of_jobs_that_were_lost_twice_a_worker_takes_30(ledger: LedgerDriver) -> None:
    with_losses(ledger, 2, count=40)
    assert len(begin_all(ledger, "w1")) == 30
    assert ledger.why() == ("suspects", 1000)


def test_another_worker_takes_30_more(ledger: LedgerDriver) -> None:
    with_losses(ledger, 2, count=70)
    ledger.worker("w1", slots=1000)
    ledger.worker("w2", slots=10)
    by_worker = [job.worker for job in ledger.start(most=1000)]
    assert (by_worker.count("w1"), by_worker.count("w2")) == (30, 10)


def test_the_next_goes_when_one_of_them_has_ended(ledger: LedgerDriver) -> None:
    ids = with_losses(ledger, 2, count=31)
    first = begin_all(ledger, "w1")[0]
    [following] = ledger.settle(first).admitted
    assert following.job_id == ids[30]


def test_a_job_that_was_lost_three_times_runs_alone_of_its_kind(ledger: LedgerDriver) -> None:
    with_losses(ledger, 3, count=5)
    [job] = begin_all(ledger, "w1")
    assert ledger.why() == ("suspects", 1000)
    assert len(ledger.settle(job).admitted) == 1


def test_nor_does_it_run_beside_those_that_were_lost_twice(ledger: LedgerDriver) -> None:
    thrice = ledger.add()
    lose(ledger, "w1")
    twice = ledger.add(tenant="t")
    lose(ledger, "w2")
    assert lose(ledger, "w3") == [thrice, twice]
    assert [job.job_id for job in begin_all(ledger, "w4")] == [thrice]


def test_those_that_never_lost_a_worker_run_beside_them(ledger: LedgerDriver) -> None:
    with_losses(ledger, 3, count=5)
    innocent = ledger.add_many(10)
    begun = {job.job_id for job in begin_all(ledger, "w1")}
    assert begun > set(innocent)
    assert len(begun) == 11


def test_it_is_alone_among_the_jobs_of_all_lanes(ledger: LedgerDriver) -> None:
    ledger.add("alpha")
    ledger.add("beta")
    for number in range(3):
        ledger.worker(f"w{number}")
        assert (len(ledger.start("alpha/m")), len(ledger.start("beta/m"))) == (1, 1)
        leave(ledger, f"w{number}")
    ledger.worker("w4")
    assert (len(ledger.start("alpha/m")), len(ledger.start("beta/m"))) == (1, 0)
    ledger.worker("w5")
    assert [job.worker for job in ledger.start("beta/m")] == ["w5"]


def test_a_job_fails_when_it_was_alone_as_its_worker_died_for_the_fourth_time(ledger: LedgerDriver) -> None:
    [job_id] = with_losses(ledger, 3)
    assert ledger.state(job_id) == "queued"
    lose(ledger, "w1")
    record = ledger.record(job_id)
    assert record.error is not None
    assert (record.state, record.error.code, len(record.attempts)) == ("failed", "worker_lost", 4)
    assert "died 4 times" in record.error.message
    assert not any(attempt.counted for attempt in record.attempts)


def lost_in_company(ledger: LedgerDriver) -> str:
    """A job that was lost four times, the last time beside one that never was; its id. That other waits as well."""
    [job_id] = with_losses(ledger, 3)
    innocent = ledger.add(tenant="innocent")
    assert set(lose(ledger, "in-company")) == {job_id, innocent}
    return job_id


def test_a_job_does_not_fail_for_a_worker_that_died_while_others_ran_there(ledger: LedgerDriver) -> None:
    """Another of them may kill workers too, and not be suspected yet."""
    job_id = lost_in_company(ledger)
    assert (ledger.state(job_id), len(ledger.record(job_id).attempts)) == ("queued", 4)


def test_it_then_has_a_worker_to_itself(ledger: LedgerDriver) -> None:
    job_id = lost_in_company(ledger)
    ledger.add_many(10)
    ledger.worker("w1")
    ledger.worker("w2")
    jobs = ledger.start()
    [worker] = [job.worker for job in jobs if job.job_id == job_id]
    assert [job.job_id for job in jobs if job.worker == worker] == [job_id]
    assert len(jobs) == 12


def test_it_fails_when_that_worker_dies_too(ledger: LedgerDriver) -> None:
    job_id = lost_in_company(ledger)
    ledger.worker("w1")
    ledger.worker("w2")
    [worker] = [job.worker for job in ledger.start() if job.job_id == job_id]
    leave(ledger, worker)
    record = ledger.record(job_id)
    assert record.error is not None
    assert (record.state, record.error.code, len(record.attempts)) == ("failed", "worker_lost", 5)


def test_when_all_workers_are_busy_one_of_them_is_emptied_for_it_and_the_others_go_on(
    ledger: LedgerDriver,
) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    ledger.add_many(2, "beta")
    busy = {job.worker: job for job in ledger.start("beta/m")}
    job_id = lost_in_company(ledger)
    [innocent] = ledger.start()
    emptied = ({"w1", "w2"} - {innocent.worker}).pop()
    ledger.add_many(20, "beta")
    assert {job.worker for job in ledger.start("beta/m")} == {innocent.worker}
    ledger.settle(busy[emptied])
    assert [(job.job_id, job.worker) for job in ledger.start()] == [(job_id, emptied)]


def test_a_worker_that_was_to_be_emptied_takes_jobs_again_when_nobody_asks_for_it_any_more(
    ledger: LedgerDriver,
) -> None:
    ledger.worker("w1", slots=9)
    ledger.add("beta")
    ledger.start("beta/m")
    job_id = lost_in_company(ledger)
    assert ledger.why() == ("slots", 1000)
    ledger.run(ledger.ledger.cancel(job_id))
    ledger.pass_s(3)
    assert len(ledger.admit()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_several_jobs_that_kill_workers_are_found_and_all_others_succeed(
    real_ledger: LedgerDriver, seed: int
) -> None:
    """They set in one after the other, so that at any time some are not suspected yet."""
    ledger, choice = real_ledger, random.Random(seed)
    ids = ledger.add_many(80)
    killers = set(choice.sample(ids, 12))
    for worker in ("w0", "w1"):
        ledger.worker(worker, slots=12)
    under_way, workers = ledger.start(), 2
    while under_way:
        job = choice.choice(under_way)
        if job.job_id in killers:
            leave(ledger, job.worker)
            under_way = [other for other in under_way if other.worker != job.worker]
            ledger.worker(f"w{workers}", slots=12)
            workers += 1
        else:
            under_way.remove(job)
            admitted = ledger.settle(job).admitted
            assert all(ledger.begin(one) for one in admitted)
            under_way += admitted
        under_way += ledger.start()
    assert {id_: ledger.state(id_) for id_ in ids} == {
        id_: "failed" if id_ in killers else "succeeded" for id_ in ids
    }


@pytest.mark.parametrize("position", [0, 17, 40])
def test_one_job_that_kills_every_worker_is_found_and_all_others_succeed(
    real_ledger: LedgerDriver, position: int
) -> None:
    ledger = real_ledger
    ids = ledger.add_many(41)
    poison = ids[position]
    deaths = 0
    under_way = begin_all(ledger, "w0")
    while under_way:
        if poison in {job.job_id for job in under_way}:
            leave(ledger, f"w{deaths}")
            deaths += 1
            under_way = begin_all(ledger, f"w{deaths}")
        else:
            admitted = ledger.settle(under_way.pop(0)).admitted
            assert all(ledger.begin(job) for job in admitted)
            under_way += admitted
    assert {id_: ledger.state(id_) for id_ in ids} == dict.fromkeys(ids, "succeeded") | {poison: "failed"}
    assert deaths == 4


def test_a_job_that_was_lost_and_waits_is_cancelled_with_its_batch(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ids = ledger.add_many(3, batch="b")
    for number in range(2):
        lose(ledger, f"w{number}")
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    assert {ledger.state(id_) for id_ in ids} == {"cancelled"}
    assert begin_all(ledger, "w9") == []


def test_a_job_that_was_lost_waits_while_its_connection_is_paused(ledger: LedgerDriver) -> None:
    with_losses(ledger, 2, count=3)
    ledger.pause()
    assert begin_all(ledger, "w1") == []
    ledger.resume()
    assert len(ledger.admit()) == 1


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "queued"])
def test_whatever_a_suspect_ends_with_its_worker_may_take_the_next(ledger: LedgerDriver, end: str) -> None:
    with_losses(ledger, 3)
    [job] = begin_all(ledger, "w1")
    ledger.settle(job, end)
    suspects = ledger.everything()["worker:w1"]["suspects"]
    assert suspects == ("30" if end == "queued" else "0")  # the settlement lets it go again


def test_a_claim_of_a_suspect_that_nobody_begins_makes_room_for_the_next(ledger: LedgerDriver) -> None:
    with_losses(ledger, 3, count=2)
    ledger.worker("w1")
    assert len(ledger.admit()) == 1
    ledger.pass_s(3)
    ledger.tick()
    assert len(ledger.admit()) == 1
