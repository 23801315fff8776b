"""The broker goes away under load, and comes back: workers live on, consume again, and every job ends once.

kombu 5.7 ends a worker with `AttributeError: ... 'hostname'` when its Redis goes away while a message is
unacknowledged. Ours are taken without acknowledgements (docs/decisions/0006), or acknowledged at once. Here are both
transports, by both ways to the server, and whatever comes of an update of kombu's shows here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from installation import LOST_CONNECTION, Installation, until
from worker_process import WorkerProcess

from servers import RealServer, free_port

SLOTS = 8


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(port: int) -> Iterator[RealServer]:
    server = RealServer("--port", str(port), "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def fleet(server: RealServer, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Four workers: each transport, by TCP and by the Unix socket."""
    tcp = f"redis://127.0.0.1:{port}/0"
    with Installation(
        tmp_path_factory.mktemp("fleet"), worker={"slots": SLOTS, "lease": "30s"}, redis={"url": server.url}
    ) as installation:
        for environ in (
            {},
            {"CHATQ_REDIS_URL": tcp},
            {"CHATQ_INTERNAL_TRANSPORT": "stock"},
            {"CHATQ_INTERNAL_TRANSPORT": "stock", "CHATQ_REDIS_URL": tcp},
        ):
            worker = installation.start_worker(environ=environ, wait=False)
            # Not acknowledged when the server went away: what kombu's fault is about.
            worker.expect(LOST_CONNECTION, "consumer: Cannot connect to redis://", "Couldn't ack")
        until(lambda: len(installation.registered()) == 4, "the workers to register")
        yield installation


def restart(server: RealServer) -> None:
    server.kill()
    server.start()


def consumes(installation: Installation, worker: WorkerProcess) -> bool:
    return installation.held_by(worker) > 0


@pytest.mark.thorough
@pytest.mark.parametrize(("jobs", "in_flight"), [(4, 4), (100, 4 * SLOTS)], ids=["free slots", "full slots"])
def test_workers_outlive_a_restart_while_calls_are_in_flight(
    fleet: Installation, server: RealServer, jobs: int, in_flight: int
) -> None:
    pids = [worker.pid for worker in fleet.workers]
    fleet.hold_answers()
    batch = fleet.queue.enqueue_batch([f"job:{jobs}-{n}" for n in range(jobs)], "sim")
    fleet.await_in_flight(in_flight)
    restart(server)
    fleet.release_answers()
    records = fleet.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * jobs
    assert {fleet.calls()[f"{jobs}-{n}"] for n in range(jobs)} == {1}
    assert [worker.pid for worker in fleet.workers if worker.runs] == pids


@pytest.mark.thorough
def test_workers_outlive_restarts_while_messages_come_and_all_of_them_consume_again(
    fleet: Installation, server: RealServer
) -> None:
    before = fleet.simulator.counts()["total"]["answered"]
    batch = fleet.queue.enqueue_batch([f"job:moving-{n} [sim: latency 0.05]" for n in range(250)], "sim")
    for answered in (30, 120):
        assert fleet.simulator.wait(answered=before + answered)
        restart(server)
    records = fleet.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 250
    assert {fleet.calls()[f"moving-{n}"] for n in range(250)} == {1}
    fleet.hold_answers()
    last = fleet.queue.enqueue_batch([f"job:last-{n}" for n in range(100)], "sim")
    until(lambda: all(consumes(fleet, worker) for worker in fleet.workers), "every worker to consume again")
    fleet.release_answers()
    assert {record.state for record in fleet.follow(last.id)} == {"succeeded"}


@pytest.mark.thorough
def test_pauses_between_tries_to_connect_do_not_grow_beyond_two_seconds(
    fleet: Installation, server: RealServer
) -> None:
    """Celery's own grow to 30 s: after a long outage a worker would be deaf for as long."""
    told = [len(pauses(worker)) for worker in fleet.workers]
    server.kill()
    until(
        lambda: all(
            len(pauses(worker)) > before + 5 for worker, before in zip(fleet.workers, told, strict=True)
        ),
        "six tries of each worker",
    )
    server.start()
    assert {max(pauses(worker)) for worker in fleet.workers} == {2.0}
    assert fleet.run("sim", "job:back").state == "succeeded"


def pauses(worker: WorkerProcess) -> list[float]:
    """The seconds after which the worker's consumer was going to try again, as its log tells them."""
    return [float(found) for found in re.findall(r"Trying again in (\S+) seconds", worker.log)]
