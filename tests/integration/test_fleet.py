"""Several producers and workers on one embedded server, and none at all."""

from __future__ import annotations

import subprocess
import sys

import pytest
from installation import WAIT_S, Install, Installation, until

from chatq import ChatQueue

PRODUCER = """
import sys
from chatq import ChatQueue

with ChatQueue(sys.argv[1]) as queue:
    batch = queue.enqueue_batch((f"job:{sys.argv[2]}-{n} [sim: latency 0..0.2]" for n in range(100)), "sim")
    records = list(queue.results(batch.id, follow=True))
    print(len({record.id for record in records}), *sorted({record.state for record in records}))
"""


@pytest.mark.thorough
def test_two_producers_and_three_workers_work_on_one_embedded_server(install: Install) -> None:
    installation = install(worker={"slots": 20, "lease": "10s"})
    workers = installation.start_workers(3)
    producers = [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCER, str(installation.config), name],
            stdout=subprocess.PIPE,
            env=installation.environ,
            text=True,
        )
        for name in ("first", "second")
    ]
    outputs = [producer.communicate(timeout=WAIT_S)[0] for producer in producers]
    assert outputs == ["100 succeeded\n", "100 succeeded\n"]
    assert installation.calls() == {f"{name}-{n}": 1 for name in ("first", "second") for n in range(100)}
    taken = [sum("succeeded" in text for text in worker.messages()) for worker in workers]
    assert sum(taken) == 200
    assert min(taken) > 30


def test_a_job_enqueued_while_no_worker_is_alive_waits_and_runs_when_one_starts(install: Install) -> None:
    installation = install()
    job = installation.queue.enqueue("sim", "job:patient")
    overview = installation.queue.overview()
    assert (overview["workers"], overview["waiting"]) == (0, 1)
    assert installation.queue.get(job.id).state == "queued"
    installation.start_worker(wait=False)
    assert installation.queue.wait(job.id, WAIT_S).state == "succeeded"


def test_callers_that_know_only_the_server_learn_the_connections_from_the_workers(
    installation: Installation,
) -> None:
    until(lambda: installation.redis.exists("chatq:settings"), "the settings to be published")
    with ChatQueue(redis_url=installation.url) as queue:
        assert {"sim", "once", "openai"} < set(queue.overview()["connections"])
        job = queue.enqueue("sim", "job:by-url")
        assert queue.wait(job.id, WAIT_S).state == "succeeded"
