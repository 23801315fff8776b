"""What a worker tells Flower of its jobs, as Celery's own receiver of events hears it."""

from __future__ import annotations

import pytest
from installation import OPENAI_KEY, Installation, until
from worker_events import Listener

CANARY = "canary-prompt-70b1"


def test_events_of_jobs_come_in_order_and_hold_nothing_secret(installation: Installation) -> None:
    installation.hold_answers()
    with Listener(installation.url) as listener:
        good = installation.queue.enqueue("openai", f"job:events-good {CANARY}").id
        bad = installation.queue.enqueue("once", f"job:events-bad {CANARY} [sim: server_error 500]").id
        installation.await_in_flight(2)
        tokens = [installation.redis.hget(f"chatq:job:{job_id}", "token") for job_id in (good, bad)]
        installation.release_answers()
        succeeded = listener.until("task-succeeded", good)
        failed = listener.until("task-failed", bad)
    answer = installation.queue.get(good).result
    assert answer is not None
    assert listener.kinds[good] == ["task-received", "task-started", "task-succeeded"]
    assert listener.kinds[bad] == ["task-received", "task-started", "task-failed"]
    assert "'state': 'succeeded'" in succeeded["result"].replace('"', "'")
    assert "500" in failed["exception"]
    assert all(tokens)
    everything = "\n".join(listener.heard)
    assert good in everything
    for secret in (CANARY, OPENAI_KEY, answer.text, *tokens):
        assert secret not in everything


@pytest.mark.thorough
def test_a_job_that_expired_while_its_call_failed_is_shown_as_failed_with_the_reason(
    installation: Installation,
) -> None:
    """Celery took it for a fault of the worker's, and logged a traceback."""
    installation.hold_answers()
    with Listener(installation.url) as listener:
        prompt = "job:events-expired [sim: server_error 500 first 1]"
        job = installation.queue.enqueue("sim", prompt, expires_in="1.5s")
        installation.await_in_flight(1)
        expired_ms = job.created_at.timestamp() * 1000 + 1500
        until(lambda: installation.now_ms() > expired_ms, "the job to expire")
        installation.release_answers()
        event = listener.until("task-failed", job.id)
    assert event["exception"] == "expired: server_error: The provider answered 500."
    assert installation.queue.get(job.id).state == "expired"
