"""An upgrade while everything runs: each worker in turn is replaced by a new one."""

from __future__ import annotations

import signal

import pytest
from installation import Install


@pytest.mark.thorough
def test_a_rolling_restart_of_three_workers_under_load_loses_nothing_and_calls_nothing_twice(
    install: Install,
) -> None:
    """Each is told to stop while all slots call and more jobs wait; calls are shorter than the grace."""
    installation = install(worker={"slots": 10, "lease": "30s", "grace": "20s"})
    batches = []
    for number, worker in enumerate(installation.start_workers(3)):
        installation.start_worker()
        before = installation.simulator.counts()["total"]["answered"]
        prompts = [f"job:{number}-{n} [sim: latency 0.3]" for n in range(120)]
        batches.append(installation.queue.enqueue_batch(prompts, "sim"))
        assert installation.simulator.wait(answered=before + 20)
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    records = [record for batch in batches for record in installation.follow(batch.id)]
    assert [record.state for record in records] == ["succeeded"] * 360
    assert {len(record.attempts) for record in records} == {1}
    assert installation.calls() == {f"{number}-{n}": 1 for number in range(3) for n in range(120)}
