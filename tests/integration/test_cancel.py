"""Cancelling: what waits is never called, what runs is stopped, what is final stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from installation import WAIT_S, Install, Installation, until

from chatq import JobNotFinal
from chatq.embedded import as_broker_url
from chatq_worker.app import make_app


def test_a_waiting_job_is_cancelled_at_once_and_never_called(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:cancelled-waiting", not_before="1h")
    record = installation.queue.cancel(job.id)
    assert record.state == "cancelled"
    assert record.attempts == []
    assert record.error is not None
    assert record.error.code == "cancelled"
    assert installation.simulator.counts("cancelled-waiting")["received"] == 0


def test_the_call_of_a_running_job_is_aborted(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:cancelled-running [sim: latency 50]")
    assert installation.simulator.wait(job="cancelled-running", in_flight=1)
    asked_s = time.monotonic()
    asked = installation.queue.cancel(job.id)
    assert asked.cancel_requested or asked.state == "cancelled"  # when the worker was quicker than the answer
    assert installation.simulator.wait(job="cancelled-running", aborted=1)
    assert time.monotonic() - asked_s < 2
    record = installation.queue.wait(job.id, WAIT_S)
    assert record.state == "cancelled"
    [attempt] = record.attempts
    assert (attempt.error_code, attempt.counted, attempt.maybe_charged) == ("cancelled", False, True)


def test_cancelling_a_final_job_changes_nothing(installation: Installation) -> None:
    record = installation.run("sim", "job:cancelled-too-late")
    assert installation.queue.cancel(record.id) == record


def test_a_running_job_cannot_be_deleted(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:deleted-running [sim: latency 50]")
    assert installation.simulator.wait(job="deleted-running", in_flight=1)
    with pytest.raises(JobNotFinal):
        installation.queue.delete(job.id)
    installation.queue.cancel(job.id)
    assert installation.queue.wait(job.id, WAIT_S).state == "cancelled"
    installation.queue.delete(job.id)


@contextlib.contextmanager
def celery_control(installation: Installation) -> Iterator[object]:
    """Celery's control of the workers, as Flower uses it."""
    app = make_app(prefix="chatq", broker_url=as_broker_url(installation.url))
    try:
        # A worker hears broadcasts from some moment after it hears its messages.
        until(lambda: app.control.ping(timeout=0.5), "the worker to hear what is broadcast")
        yield app.control
    finally:
        app.close()


def test_a_revoke_with_terminate_as_from_flower_cancels_a_running_job(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:revoked-running [sim: latency 50]")
    assert installation.simulator.wait(job="revoked-running", in_flight=1)
    with celery_control(installation) as control:
        control.revoke(job.id, terminate=True)
    assert installation.simulator.wait(job="revoked-running", aborted=1)
    assert installation.queue.wait(job.id, WAIT_S).state == "cancelled"


@pytest.mark.thorough
def test_a_revoke_as_from_flower_cancels_a_job_that_waits_for_its_next_attempt(
    installation: Installation,
) -> None:
    """Celery only remembers the revoke; the job is cancelled when it would go."""
    with celery_control(installation) as control:
        job = installation.queue.enqueue("sim", "job:revoked-waiting", not_before="1s")
        control.revoke(job.id)
    assert installation.queue.wait(job.id, WAIT_S).state == "cancelled"
    assert installation.simulator.counts("revoked-waiting")["received"] == 0


def test_cancelling_a_batch_stops_what_runs_and_calls_nothing_of_the_rest(install: Install) -> None:
    installation = install(worker={"slots": 50, "lease": "10s"})
    installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch((f"job:{n}" for n in range(5000)), "sim")
    installation.await_in_flight(50)
    asked_s = time.monotonic()
    cancelled = installation.queue.cancel_batch(batch.id)
    assert cancelled.counts.cancelled >= 4950
    assert installation.simulator.wait(aborted=50)
    assert time.monotonic() - asked_s < 5
    ended = until(lambda: (now := installation.queue.batch(batch.id)).ended and now, "the batch to end")
    assert (ended.counts.total, ended.counts.cancelled, ended.counts.running) == (5000, 5000, 0)
    assert len(installation.calls()) == 50
    installation.release_answers()
    assert installation.run("sim", "job:afterwards").state == "succeeded"
