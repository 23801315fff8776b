"""A worker that is told to stop: calls may end within `worker.grace`, the rest is handed back, nothing is lost.

Where a lease is 30 s, what goes on sooner has been handed back and did not wait for the lease to run out.
"""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest
from installation import Install, until

HANDED_BACK_THEN_CALLED = [("handed_back", False, True), (None, True, False)]


@pytest.mark.thorough
def test_calls_that_end_within_the_grace_end_where_they_run_although_the_lease_is_shorter(
    install: Install,
) -> None:
    installation = install(worker={"slots": 20, "lease": "2s", "grace": "30s"})
    worker = installation.start_worker(fresh=True)
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(20)], "sim")
    installation.await_in_flight(20)
    worker.send(signal.SIGTERM)
    lease_end_ms = installation.lease_end_ms(worker)
    installation.start_worker()  # it would take up whatever is given up
    until(lambda: installation.now_ms() > lease_end_ms + 200, "the lease that held at SIGTERM to be over")
    installation.release_answers()
    assert worker.wait() == 0
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 20
    assert [len(record.attempts) for record in records] == [1] * 20
    assert set(installation.calls().values()) == {1}


def test_calls_longer_than_the_grace_are_handed_back_and_run_elsewhere_at_once(install: Install) -> None:
    installation = install(worker={"slots": 20, "lease": "30s", "grace": "1s"})
    stopping = installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(20)], "sim")
    installation.await_in_flight(20)
    installation.start_worker()
    told_s = time.monotonic()
    stopping.send(signal.SIGTERM)
    assert stopping.wait() == 0
    assert 1 <= time.monotonic() - told_s < 1 + 10
    installation.await_in_flight(20)
    installation.release_answers()
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 20
    for record in records:
        attempts = [(a.error_code, a.counted, a.maybe_charged) for a in record.attempts]
        assert attempts == HANDED_BACK_THEN_CALLED
        handed_back_at = record.attempts[0].ended_at
        assert handed_back_at is not None
        assert record.attempts[1].started_at - handed_back_at < timedelta(seconds=5)
    assert set(installation.calls().values()) == {2}


@pytest.mark.thorough
def test_a_call_that_must_not_be_paid_for_twice_is_not_handed_back(install: Install) -> None:
    paid_once = {"source": "custom", "url": "simulator", "model": "demo", "retry": {"on_worker_lost": "fail"}}
    installation = install(
        worker={"slots": 20, "lease": "30s", "grace": "0s"}, connections={"paid-once": paid_once}
    )
    stopping = installation.start_worker(fresh=True)
    installation.hold_answers()
    job = installation.queue.enqueue("paid-once", "job:once")
    installation.await_in_flight(1)
    stopping.send(signal.SIGTERM)
    assert stopping.wait() == 0
    record = installation.queue.wait(job.id, timeout=30)
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert [attempt.maybe_charged for attempt in record.attempts] == [True]
    installation.release_answers()
    assert installation.calls() == {"once": 1}


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_a_second_time_it_hands_back_now(install: Install, number: signal.Signals) -> None:
    installation = install(worker={"slots": 20, "lease": "30s", "grace": "60s"})
    stopping = installation.start_worker(fresh=True)
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(20)], "sim")
    installation.await_in_flight(20)
    stopping.send(number)
    until(lambda: any("stopping" in text for text in stopping.messages()), "the worker to begin to stop")
    stopping.send(number)
    assert stopping.wait() == 0
    installation.await_in_flight(0)
    installation.release_answers()
    installation.start_worker()
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 20
    for record in records:
        attempts = [(a.error_code, a.counted, a.maybe_charged) for a in record.attempts]
        assert attempts == HANDED_BACK_THEN_CALLED


@pytest.mark.thorough
def test_what_was_given_to_a_stopping_worker_and_has_not_begun_goes_elsewhere(install: Install) -> None:
    """More jobs than slots: none that waits is held up by the worker that stops."""
    installation = install(worker={"slots": 10, "lease": "30s", "grace": "60s"})
    stopping = installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(30)], "sim")
    installation.await_in_flight(10)
    stopping.send(signal.SIGTERM)
    until(lambda: any("stopping" in text for text in stopping.messages()), "the worker to begin to stop")
    installation.start_worker()
    installation.await_in_flight(20)
    installation.release_answers()
    assert stopping.wait() == 0
    assert [record.state for record in installation.follow(batch.id)] == ["succeeded"] * 30
    assert set(installation.calls().values()) == {1}


@pytest.mark.thorough
def test_an_idle_worker_leaves_nothing_of_itself_behind(install: Install) -> None:
    installation = install()
    worker = installation.start_worker(fresh=True)
    name = installation.id_of(worker)
    assert name is not None
    assert installation.run("sim", "job:one").state == "succeeded"
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert [key for key in installation.every_key() if name in key] == []
    assert installation.queue.overview()["workers"] == 0


@pytest.mark.thorough
def test_a_worker_that_stops_while_the_server_refuses_writes_leaves_its_jobs_to_others(
    install: Install,
) -> None:
    """Not without trying: for the time that it has to hand jobs back. Nothing of it is a fault in its log."""
    installation = install(worker={"slots": 50, "lease": "2s", "grace": "0s"})
    stopping = installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(10)], "sim")
    installation.await_in_flight(10)
    installation.redis.config_set("min-replicas-to-write", 1)
    stopping.ask_to_end()
    assert stopping.wait() == 0
    assert sum("left to whoever finds our lease run out" in line for line in stopping.messages()) == 10
    installation.redis.config_set("min-replicas-to-write", 0)
    installation.release_answers()
    installation.start_worker()
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 10
    assert {record.attempts[0].error_code for record in records} == {"worker_lost"}
