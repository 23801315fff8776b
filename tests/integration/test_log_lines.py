"""A worker's log: a line for each change of a job, with what an operator asks for as fields of its own."""

from __future__ import annotations

from typing import Any

import pytest
from installation import WAIT_S, Installation, until


def lines_about(installation: Installation, job_id: str, count: int) -> list[dict[str, Any]]:
    """The lines of the worker's log about a job, once there are so many."""
    (worker,) = installation.workers
    until(lambda: len(worker.about(job_id)) >= count, f"{count} lines about {job_id}")
    return worker.about(job_id)


def test_a_job_that_succeeds_has_two_lines(installation: Installation) -> None:
    record = installation.run("sim", "job:logged-success Say hi")
    begins, ends = lines_about(installation, record.id, 2)
    about = {"connection": "sim", "attempt": 1, "model": "demo"}
    assert begins == {"message": "job begins", **about, "state": "running"}
    assert isinstance(ends.pop("latency_ms"), int)
    assert record.result is not None
    assert ends == {
        "message": "job succeeded",
        **about,
        "state": "succeeded",
        "prompt_tokens": record.result.usage.prompt_tokens,
        "completion_tokens": record.result.usage.completion_tokens,
    }


def test_the_lines_about_a_job_of_a_batch_name_it(installation: Installation) -> None:
    batch = installation.queue.enqueue_batch([{"prompt": "job:logged-batch Say hi"}], connection="sim")
    [record] = installation.follow(batch.id)
    assert [line["batch"] for line in lines_about(installation, record.id, 2)] == [batch.id, batch.id]


def test_a_failure_is_told_by_its_code_and_our_words_for_it(installation: Installation) -> None:
    record = installation.run("once", "job:logged-failure Say hi [sim: server_error 500]")
    _, ends = lines_about(installation, record.id, 2)
    assert record.error is not None
    assert ends["message"] == f"job failed: server_error: {record.error.message}"
    assert (ends["state"], ends["error"], ends["http_status"]) == ("failed", "server_error", 500)


def test_a_retry_is_told_with_the_reason_and_when_it_goes_on(installation: Installation) -> None:
    record = installation.run("sim", "job:logged-retry Say hi [sim: server_error 500 first 1]")
    _, waits, begins, ends = lines_about(installation, record.id, 4)
    assert waits["message"].startswith("job retrying: server_error: ")
    assert (waits["state"], waits["error"], waits["attempt"]) == ("retrying", "server_error", 1)
    assert 0 <= waits["wait_ms"] <= 1000
    assert (begins["attempt"], ends["attempt"], ends["state"]) == (2, 2, "succeeded")


def test_a_cool_down_is_told_with_its_end(installation: Installation) -> None:
    job = installation.queue.enqueue("resting", "job:logged-limit Say hi [sim: rate_limit 60 first 1]")
    _, waits = lines_about(installation, job.id, 2)
    installation.queue.cancel(job.id)
    assert waits["message"].startswith("job queued: rate_limited: ")
    assert (waits["state"], waits["error"], waits["http_status"]) == ("queued", "rate_limited", 429)
    assert 55_000 <= waits["wait_ms"] <= 60_000


def test_a_job_that_is_cancelled_while_it_runs_has_a_line_that_says_so(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:logged-cancel Say hi [sim: latency 50]")
    assert installation.simulator.wait(job="logged-cancel", in_flight=1)
    installation.queue.cancel(job.id)
    assert installation.queue.wait(job.id, WAIT_S).state == "cancelled"
    _, ends = lines_about(installation, job.id, 2)
    assert (ends["message"], ends["state"]) == (
        "job cancelled: cancelled: The job was cancelled while it ran.",
        "cancelled",
    )


@pytest.mark.thorough
def test_a_job_that_expires_between_two_attempts_has_a_line_that_says_so(installation: Installation) -> None:
    installation.hold_answers()
    prompt = "job:logged-expiry Say hi [sim: server_error 500 first 1]"
    job = installation.queue.enqueue("sim", prompt, expires_in="1.5s")
    installation.await_in_flight(1)
    expired_ms = job.created_at.timestamp() * 1000 + 1500
    until(lambda: installation.now_ms() > expired_ms, "the job to expire")
    installation.release_answers()
    _, ends = lines_about(installation, job.id, 2)
    assert (ends["state"], ends["error"]) == ("expired", "server_error")
    assert "wait_ms" not in ends
