"""A fleet of two versions. What comes with the next one is made up: a field of today, said to be of format 2."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
from installation import WAIT_S, Install, until

from chatq.contract import job as contract
from chatq.contract.job import Job
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import Ledger
from chatq.ledger.script_text import source

NEWER_WORKER = """
import sys
from chatq.contract import job
job.JOB_FORMAT += 1
from chatq_worker.__main__ import main
sys.exit(main())
"""


@pytest.mark.thorough
def test_a_job_with_a_newer_field_waits_for_a_newer_worker(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(contract.SINCE, "response_format", contract.JOB_FORMAT + 1)
    installation = install()
    installation.start_worker()
    newer_job = installation.queue.enqueue(
        "sim", "job:with-a-newer-field", response_format={"type": "json_object"}
    )
    ordinary = installation.queue.enqueue("sim", "job:ordinary")
    assert installation.queue.wait(ordinary.id, WAIT_S).state == "succeeded"
    assert installation.queue.why(newer_job.id).reason == "version"
    with subprocess.Popen(
        [sys.executable, "-c", NEWER_WORKER, "worker", "--config", str(installation.config)],
        stderr=subprocess.DEVNULL,
        env=installation.environ,
    ) as newer_worker:
        try:
            assert installation.queue.wait(newer_job.id, WAIT_S).state == "succeeded"
        finally:
            newer_worker.kill()
    [request] = installation.simulator.control("GET", "requests?job=with-a-newer-field")
    assert request["body"]["response_format"] == {"type": "json_object"}


@pytest.mark.thorough
def test_a_worker_hands_on_what_it_does_not_know_all_of(install: Install) -> None:
    """Whoever admitted it was of a version that did not yet look at formats."""
    installation = install()
    worker = installation.start_worker()
    job = Job(connection="sim", prompt="job:beyond-me")
    request = orjson.dumps(
        {**orjson.loads(job.request(max_bytes=1000)), "frobnicate": True, "names": {"pets": ["Rex"]}}
    )
    call = Ledger("chatq").enqueue(
        [Entry.of(job, "beyond-me", request, "demo")], backlog_jobs=10, backlog_bytes=10_000
    )
    installation.redis.script_load(source(call.script))
    installation.redis.execute_command(*call.command())
    installation.redis.publish("chatq:kick", "")
    until(
        lambda: any("does not know frobnicate, names.pets" in line for line in worker.messages()),
        "the worker to hand it on",
    )
    record = installation.queue.get("beyond-me")
    assert record.state == "queued"
    assert record.attempts == []
    assert "beyond-me" not in installation.calls()
