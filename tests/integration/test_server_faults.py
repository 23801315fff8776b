"""The server dies, drops its connections, or loses and doubles messages: each job is called once all the same."""

from __future__ import annotations

import shutil
import signal

import pytest
from installation import LOST_CONNECTION, Install, Installation, until
from worker_process import WorkerProcess


def test_killing_the_server_in_the_middle_of_calls_loses_nothing_and_repeats_nothing(
    install: Install,
) -> None:
    """With fsync always. 100 calls run and 60 jobs wait; the calls are answered while the server is down."""
    installation = install(worker={"slots": 50, "lease": "3s"})
    installation.start_workers(2)
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(160)], "sim")
    installation.await_in_flight(100)
    installation.kill_server()
    installation.release_answers()
    installation.restart_server()
    records = installation.follow(batch.id)
    assert len({record.id for record in records}) == 160
    assert [record.state for record in records] == ["succeeded"] * 160
    assert installation.calls() == {str(n): 1 for n in range(160)}
    assert installation.queue.batch(batch.id).counts.succeeded == 160


def test_what_a_restarted_server_has_forgotten_is_settled_again_and_not_paid_again(install: Install) -> None:
    """A server that syncs its file every second dies with the last second; here the file is put back by hand."""
    installation = install(worker={"slots": 20, "lease": "10s"})
    worker = installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(10)], "sim")
    installation.await_in_flight(10)
    file, earlier = installation.data / "appendonlydir", installation.folder / "earlier"
    shutil.copytree(file, earlier)
    installation.release_answers()
    records = installation.follow(batch.id)
    worker.send(signal.SIGSTOP)
    installation.kill_server()
    shutil.rmtree(file)
    shutil.move(earlier, file)
    installation.restart_server()
    assert installation.queue.batch(batch.id).counts.succeeded == 0
    worker.send(signal.SIGCONT)
    again = {record.id: record for record in installation.follow(batch.id)}
    assert [again[record.id].result for record in records] == [record.result for record in records]
    assert installation.calls() == {str(n): 1 for n in range(10)}


def test_jobs_are_taken_up_by_workers_that_have_outlived_their_server(install: Install) -> None:
    installation = install()
    [worker] = installation.start_workers(1)
    installation.kill_server()
    installation.restart_server()
    assert installation.run("sim", "job:after-the-restart").state == "succeeded"
    assert worker.runs


def test_dropping_every_connection_under_load_loses_nothing_and_repeats_nothing(install: Install) -> None:
    installation = install(worker={"slots": 50, "lease": "3s"})
    workers = installation.start_workers(2)
    for worker in workers:
        worker.expect(LOST_CONNECTION)
    batch = installation.queue.enqueue_batch([f"job:{n} [sim: latency 0.05]" for n in range(250)], "sim")
    for answered in (30, 90, 150):
        assert installation.simulator.wait(answered=answered)
        installation.redis.client_kill_filter(_type="normal", skipme=True)
        installation.redis.client_kill_filter(_type="pubsub", skipme=True)
    records = installation.follow(batch.id)
    assert len({record.id for record in records}) == 250
    assert [record.state for record in records] == ["succeeded"] * 250
    assert installation.calls() == {str(n): 1 for n in range(250)}
    assert all(worker.runs for worker in workers)


@pytest.fixture
def suspended(install: Install) -> tuple[Installation, WorkerProcess, str]:
    """Two workers, the one that does not lead suspended, and its queue, in which messages of a batch lie."""
    installation = install(worker={"slots": 20, "lease": "30s"})
    installation.start_workers(2)
    leader = until(installation.leader, "a leader")
    worker = next(worker for worker in installation.workers if worker is not leader)
    worker.send(signal.SIGSTOP)
    return installation, worker, f"chatq:queue:{installation.id_of(worker)}"


def test_jobs_whose_messages_vanished_are_given_out_again_and_called_once(
    suspended: tuple[Installation, WorkerProcess, str],
) -> None:
    installation, worker, queue = suspended
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(40)], "sim")
    until(lambda: installation.redis.llen(queue) >= 15, "messages for the suspended worker")
    installation.redis.delete(queue)
    worker.send(signal.SIGCONT)
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 40
    assert {len(record.attempts) for record in records} == {1}
    assert installation.run("sim", "job:afterwards").state == "succeeded"
    assert set(installation.calls().values()) == {1}


def test_jobs_whose_messages_came_three_times_are_called_once(
    suspended: tuple[Installation, WorkerProcess, str],
) -> None:
    installation, worker, queue = suspended
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(40)], "sim")
    until(lambda: installation.redis.llen(queue) >= 15, "messages for the suspended worker")
    messages = installation.redis.lrange(queue, 0, -1)
    installation.redis.lpush(queue, *messages, *messages)
    worker.send(signal.SIGCONT)
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 40
    until(lambda: installation.redis.llen(queue) == 0, "the doubled messages to be taken")
    assert installation.run("sim", "job:afterwards").state == "succeeded"
    assert set(installation.calls().values()) == {1}
