"""The server dies, drops its connections, or loses and doubles messages: each job is called once all the same.

All on one installation, whose two workers outlive everything.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence

import pytest
from installation import LOST_CONNECTION, Installation, until
from worker_process import WorkerProcess

from chatq import JobRecord

REFUSED_S = 1.0
"""So long the server refuses what the workers send of the answers that they have."""
MESSAGES = 5
"""Of the suspended worker: a worker that came to none for a while is given few at first."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two workers of 50 slots. Job names must be unique to their test."""
    worker = {"slots": 50, "lease": "30s"}
    with Installation(tmp_path_factory.mktemp("pair"), worker=worker) as installation:
        for worker_process in installation.start_workers(2):
            worker_process.expect(LOST_CONNECTION)
        yield installation
        assert all(worker_process.runs for worker_process in installation.workers)


def each_was_called_once(
    installation: Installation, records: Sequence[JobRecord], name: str, count: int
) -> None:
    """The records are those of `count` jobs called `name`-0 and on; all succeeded, at the first call."""
    assert len({record.id for record in records}) == count
    assert [record.state for record in records] == ["succeeded"] * count
    calls = {job: calls for job, calls in installation.calls().items() if job.startswith(f"{name}-")}
    assert calls == {f"{name}-{number}": 1 for number in range(count)}


def test_killing_the_server_in_the_middle_of_calls_loses_nothing_and_repeats_nothing(
    pair: Installation,
) -> None:
    """With fsync always. 100 calls run and 60 jobs wait; the calls are answered while the server is down."""
    pair.hold_answers()
    batch = pair.queue.enqueue_batch([f"job:killed-{n}" for n in range(160)], "sim")
    pair.await_in_flight(100)
    pair.kill_server()
    pair.release_answers()
    pair.restart_server()
    each_was_called_once(pair, pair.follow(batch.id), "killed", 160)
    assert pair.queue.batch(batch.id).counts.succeeded == 160


def test_what_a_restarted_server_has_forgotten_is_settled_again_and_not_paid_again(
    pair: Installation,
) -> None:
    """A server that syncs its file every second dies with the last second; here the file is put back by hand."""
    pair.hold_answers()
    batch = pair.queue.enqueue_batch([f"job:forgotten-{n}" for n in range(10)], "sim")
    pair.await_in_flight(10)
    file, earlier = pair.data / "appendonlydir", pair.folder / "earlier"
    shutil.copytree(file, earlier)
    pair.release_answers()
    records = pair.follow(batch.id)
    for worker in pair.workers:
        worker.send(signal.SIGSTOP)
    pair.kill_server()
    shutil.rmtree(file)
    shutil.move(earlier, file)
    pair.restart_server()
    assert pair.queue.batch(batch.id).counts.succeeded == 0
    for worker in pair.workers:
        worker.send(signal.SIGCONT)
    again = {record.id: record for record in pair.follow(batch.id)}
    assert [again[record.id].result for record in records] == [record.result for record in records]
    each_was_called_once(pair, list(again.values()), "forgotten", 10)


@pytest.mark.thorough
def test_dropping_every_connection_under_load_loses_nothing_and_repeats_nothing(pair: Installation) -> None:
    before = pair.simulator.counts()["total"]["answered"]
    batch = pair.queue.enqueue_batch([f"job:dropped-{n} [sim: latency 0.05]" for n in range(250)], "sim")
    for answered in (30, 90, 150):
        assert pair.simulator.wait(answered=before + answered)
        pair.redis.client_kill_filter(_type="normal", skipme=True)
        pair.redis.client_kill_filter(_type="pubsub", skipme=True)
    each_was_called_once(pair, pair.follow(batch.id), "dropped", 250)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("CONFIG", "SET", "min-replicas-to-write", "2"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
        (("REPLICAOF", "127.0.0.1", "9"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["out of memory", "without its replicas", "read-only"],
)
def test_answers_that_come_while_the_server_refuses_writes_are_kept_until_it_takes_them(
    pair: Installation, refuse: Sequence[str], accept: Sequence[str]
) -> None:
    """100 calls run and 60 jobs wait; the calls are answered while the server refuses. No worker ends."""
    name = refuse[-1].replace(".", "-")
    pair.hold_answers()
    batch = pair.queue.enqueue_batch([f"job:refused-{name}-{n}" for n in range(160)], "sim")
    pair.await_in_flight(100)
    answered = pair.simulator.counts()["total"]["answered"]
    pair.redis.execute_command(*refuse)
    pair.release_answers()
    assert pair.simulator.wait(answered=answered + 100)
    time.sleep(REFUSED_S)
    pair.redis.execute_command(*accept)
    each_was_called_once(pair, pair.follow(batch.id), f"refused-{name}", 160)
    assert all(worker_process.runs for worker_process in pair.workers)


@pytest.fixture
def suspended(pair: Installation) -> tuple[WorkerProcess, str]:
    """The worker that does not lead, suspended, and its queue, in which messages of the next jobs will lie."""
    leader = until(pair.leader, "a leader")
    worker = next(worker for worker in pair.workers if worker is not leader)
    worker.send(signal.SIGSTOP)
    return worker, f"chatq:queue:{pair.id_of(worker)}"


@pytest.mark.thorough
def test_jobs_whose_messages_vanished_are_given_out_again_and_called_once(
    pair: Installation, suspended: tuple[WorkerProcess, str]
) -> None:
    worker, queue = suspended
    batch = pair.queue.enqueue_batch([f"job:vanished-{n}" for n in range(40)], "sim")
    until(lambda: pair.redis.llen(queue) >= MESSAGES, "messages for the suspended worker")
    pair.redis.delete(queue)
    worker.send(signal.SIGCONT)
    each_was_called_once(pair, pair.follow(batch.id), "vanished", 40)


def test_jobs_whose_messages_came_three_times_are_called_once(
    pair: Installation, suspended: tuple[WorkerProcess, str]
) -> None:
    worker, queue = suspended
    batch = pair.queue.enqueue_batch([f"job:tripled-{n}" for n in range(40)], "sim")
    until(lambda: pair.redis.llen(queue) >= MESSAGES, "messages for the suspended worker")
    messages = pair.redis.lrange(queue, 0, -1)
    pair.redis.lpush(queue, *messages, *messages)
    worker.send(signal.SIGCONT)
    records = pair.follow(batch.id)
    until(lambda: pair.redis.llen(queue) == 0, "the doubled messages to be taken")
    each_was_called_once(pair, records, "tripled", 40)
