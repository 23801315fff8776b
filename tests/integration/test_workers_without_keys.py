"""A fleet in which not every worker has the key of a connection."""

from __future__ import annotations

import pytest
from installation import WAIT_S, Install, Installation, until

JOBS = 8


@pytest.fixture
def mixed(install: Install) -> Installation:
    """One worker without the key of `openai`, which leads, was asked for a job and paused the connection; then one that
    has the key."""
    installation = install()
    installation.start_worker(environ={"TEST_OPENAI_KEY": ""})
    queue = installation.queue
    job = queue.enqueue("openai", "job:before Say hi")
    until(lambda: queue.overview()["connections"]["openai"]["paused"], "the pause")
    assert queue.status("openai").state == "unauthorized"
    installation.start_worker()
    assert queue.wait(job.id, WAIT_S).state == "succeeded", "a worker that came with the key ended the pause"
    return installation


@pytest.mark.thorough
def test_a_worker_without_a_key_leaves_its_connection_to_those_that_have_it(mixed: Installation) -> None:
    queue = mixed.queue
    batch = queue.enqueue_batch([f"job:mixed-{number}" for number in range(JOBS)], "openai")
    records = mixed.follow(batch.id)
    assert [(record.state, len(record.attempts)) for record in records] == [("succeeded", 1)] * JOBS
    assert {queue.check("openai").state for _ in range(3)} == {"ok"}

    mixed.redis.delete("chatq:status:openai")  # what was found good a moment ago is not looked at again
    one_more = mixed.start_worker(environ={"TEST_OPENAI_KEY": ""})
    until(lambda: "no key here, others have it" in one_more.log, "its first look at the connections")
    assert queue.status("openai").state == "unknown"
    assert queue.check("openai").state == "ok"
    assert queue.overview()["connections"]["openai"]["paused"] is None

    without = [mixed.id_of(mixed.workers[0]), mixed.id_of(one_more)]
    told = mixed.command("status").stdout
    assert (
        f"{', '.join(sorted(map(str, without)))}: no key of openai there; other workers have its jobs" in told
    )
    found = mixed.command("doctor").stdout
    assert f"not all can (not {', '.join(sorted(map(str, without)))}; the others have its jobs)" in found
    assert "different settings" not in found
    listed = mixed.command("connections", "list", "openai").stdout.splitlines()[1].split()
    assert listed[3:5] == ["set", "ok"]


@pytest.mark.thorough
def test_a_leader_without_the_key_has_others_look_whether_a_pause_is_over(mixed: Installation) -> None:
    queue = mixed.queue
    assert mixed.leader() is mixed.workers[0]
    mixed.simulator.control("POST", "keys", {"key": mixed.environ["TEST_OPENAI_KEY"], "state": "revoked"})
    job = queue.enqueue("openai", "job:revoked Say hi")
    until(lambda: queue.overview()["connections"]["openai"]["paused"], "the pause")
    mixed.simulator.control("POST", "keys", {"key": mixed.environ["TEST_OPENAI_KEY"], "state": "valid"})
    assert queue.wait(job.id, 60).state == "succeeded"
