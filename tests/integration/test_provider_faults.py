"""What becomes of a job whose provider refuses, fails, is silent or answers nonsense; and that its worker lives on."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from installation import WAIT_S, WRONG_KEY, Installation, until

from chatq import JobRecord


def failed(record: JobRecord, code: str) -> JobRecord:
    """The record, which has failed with `code`."""
    assert record.error is not None, record
    assert (record.state, record.error.code) == ("failed", code)
    return record


def paused(installation: Installation, connection: str, prompt: str) -> tuple[JobRecord, dict[str, Any]]:
    """The record of a job for which its connection paused, and why. No other test uses the connection."""
    job = installation.queue.enqueue(connection, prompt)
    pause = until(
        lambda: installation.queue.overview()["connections"][connection]["paused"], f"{connection} to pause"
    )
    return installation.queue.get(job.id), pause


def test_a_429_costs_no_attempt_and_the_job_goes_when_the_lane_has_cooled_down(
    installation: Installation,
) -> None:
    record = installation.run("cooling", "job:rate-limited [sim: rate_limit 1 first 1]")
    assert record.state == "succeeded"
    first, second = record.attempts
    assert (first.http_status, first.error_code, first.counted) == (429, "rate_limited", False)
    assert (second.http_status, second.error_code, second.counted) == (200, None, True)
    assert first.ended_at is not None
    assert second.started_at - first.ended_at >= timedelta(seconds=1)


@pytest.mark.thorough
def test_while_a_lane_cools_down_its_other_jobs_are_not_called_and_cost_nothing(
    installation: Installation,
) -> None:
    refused = installation.queue.enqueue("cooling", "job:first-refused [sim: rate_limit 1 first 1]")
    assert installation.simulator.wait(job="first-refused", received=1)
    other = installation.run("cooling", "job:behind-the-refused Say hi")
    cooled = installation.queue.wait(refused.id, WAIT_S).attempts[0].ended_at
    assert cooled is not None
    assert [attempt.http_status for attempt in other.attempts] == [200]
    assert other.attempts[0].started_at - cooled >= timedelta(seconds=1)


def test_a_500_uses_an_attempt_and_is_tried_again(installation: Installation) -> None:
    record = installation.run("sim", "job:server-error [sim: server_error first 1]")
    assert record.state == "succeeded"
    assert [(attempt.http_status, attempt.error_code, attempt.counted) for attempt in record.attempts] == [
        (500, "server_error", True),
        (200, None, True),
    ]


def test_a_job_fails_when_its_attempts_are_used_up(installation: Installation) -> None:
    record = failed(installation.run("once", "job:used-up [sim: server_error]"), "server_error")
    assert installation.simulator.counts("used-up")["received"] == 1
    assert record.error is not None
    assert record.error.http_status == 500
    assert record.error.retryable


def test_a_refused_key_pauses_its_connection_with_the_providers_words_and_without_the_key(
    installation: Installation,
) -> None:
    record, pause = paused(installation, "bad-key", "job:refused-key Say hi")
    assert record.state == "queued"
    [attempt] = record.attempts
    assert (attempt.http_status, attempt.error_code, attempt.counted) == (401, "unauthorized", False)
    assert pause["code"] == "unauthorized"
    assert "Incorrect API key provided: [key]" in pause["message"]
    assert "api_key" in pause["remedy"]
    told = record.model_dump_json() + repr(pause) + installation.queue.why(record.id).model_dump_json()
    assert not any(WRONG_KEY[start : start + 6] in told for start in range(3, len(WRONG_KEY) - 5))


def test_jobs_behind_a_refused_key_are_not_called(installation: Installation) -> None:
    record, _ = paused(installation, "bad-key-again", "job:before-the-pause Say hi")
    behind = installation.queue.enqueue("bad-key-again", "job:behind-the-pause Say hi")
    assert installation.queue.why(behind.id).reason == "paused"
    assert installation.run("sim", "job:beside-the-pause Say hi").state == "succeeded"
    assert installation.simulator.counts("behind-the-pause")["received"] == 0
    assert {installation.queue.cancel(waiting.id).state for waiting in (record, behind)} == {"cancelled"}


def test_a_key_that_is_not_set_pauses_its_connection_without_a_call(installation: Installation) -> None:
    record, pause = paused(installation, "no-key", "job:no-key Say hi")
    assert (record.state, record.attempts) == ("queued", [])
    assert pause["code"] == "key_missing"
    assert "TEST_NO_SUCH_KEY" in pause["message"]
    assert "Set TEST_NO_SUCH_KEY" in pause["remedy"]
    assert installation.simulator.counts("no-key")["received"] == 0


def test_an_account_without_money_pauses_its_connection(installation: Installation) -> None:
    record, pause = paused(installation, "no-money", "job:no-money [sim: quota_exhausted first 1]")
    assert record.state == "queued"
    [attempt] = record.attempts
    assert (attempt.error_code, attempt.counted, attempt.maybe_charged) == ("quota_exhausted", False, False)
    assert pause["code"] == "quota_exhausted"
    assert pause["remedy"]


def test_after_a_resume_the_job_that_was_refused_succeeds(installation: Installation) -> None:
    name = "no-money-for-a-while"
    refused, _ = paused(installation, name, "job:money-again [sim: quota_exhausted first 1]")
    assert installation.queue.resume(name)
    record = installation.queue.wait(refused.id, WAIT_S)
    assert record.state == "succeeded"
    assert [attempt.counted for attempt in record.attempts] == [False, True]
    assert installation.queue.overview()["connections"][name]["paused"] is None


def test_a_silent_provider_is_given_up_after_the_timeout(installation: Installation) -> None:
    record = failed(installation.run("impatient", "job:silent [sim: silence]"), "timeout")
    [attempt] = record.attempts
    assert attempt.ended_at is not None
    assert attempt.ended_at - attempt.started_at >= timedelta(seconds=0.4)
    assert installation.simulator.wait(job="silent", aborted=1)


def test_a_provider_that_falls_silent_in_its_answer_is_given_up_after_the_timeout(
    installation: Installation,
) -> None:
    failed(installation.run("impatient", "job:half-silent [sim: silence_mid_body]"), "timeout")


def test_a_provider_that_cannot_be_reached_uses_an_attempt_and_the_reason_is_said(
    installation: Installation,
) -> None:
    record = failed(installation.run("nobody-there", "job:unreachable Say hi"), "connect_error")
    [attempt] = record.attempts
    assert (attempt.http_status, attempt.error_code, attempt.counted) == (None, "connect_error", True)
    assert not attempt.maybe_charged
    assert record.error is not None
    assert record.error.message == "The provider cannot be reached: Connection refused."


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("reset_before_answer", "connect_error"),
        ("close_before_answer", "connect_error"),
        ("reset_mid_body", "connect_error"),
        ("close_mid_body", "connect_error"),
        ("truncated_json", "bad_answer"),
        ("empty_body", "bad_answer"),
        ("wrong_types", "bad_answer"),
        ("not_json_utf8", "bad_answer"),
        ("html_page 200", "bad_answer"),
        ("html_page 502", "server_error"),
        ("error_in_200", "server_error"),
        ("overloaded", "server_error"),
        ("redirect", "redirected"),
    ],
)
def test_a_spoilt_answer_fails_its_job_with(installation: Installation, fault: str, code: str) -> None:
    name = f"spoilt-{fault.replace(' ', '-')}"
    record = failed(installation.run("once", f"job:{name} [sim: {fault}]"), code)
    assert installation.simulator.counts(name)["received"] == 1
    [attempt] = record.attempts
    assert (attempt.error_code, attempt.maybe_charged) == (code, False)
    assert record.error is not None
    assert record.error.remedy
    assert not re.search(r"\w+Error", record.error.message), "the name of a class tells nobody anything"
    assert code != "connect_error" or "status page" in record.error.remedy
    # And the lane goes on; without a success between them, failures in a row open its breaker.
    assert installation.run("once", f"job:after-{name} Say hi").state == "succeeded"


def test_an_answer_larger_than_allowed_is_not_taken_in(installation: Installation) -> None:
    record = failed(installation.run("sim", "job:huge [sim: huge_answer 50000000]"), "answer_too_large")
    assert record.error is not None
    assert "1,048,576 bytes (bounds.answer_bytes)" in record.error.message


def test_a_small_answer_that_unpacks_to_a_large_one_is_not_taken_in(installation: Installation) -> None:
    [worker] = installation.workers
    before = peak_memory_mb(worker.pid)
    failed(installation.run("gzip-bomb", "Say hi"), "answer_too_large")
    assert peak_memory_mb(worker.pid) - before < 48


def peak_memory_mb(process: int) -> int:
    """0 where there is no /proc."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def test_a_compressed_answer_is_read(installation: Installation) -> None:
    record = installation.run("sim", "job:gzip [sim: gzip]")
    assert record.result is not None
    assert record.result.text.startswith("answer to job:gzip ")


def test_blank_lines_before_an_answer_are_no_fault(installation: Installation) -> None:
    record = installation.run("sim", "job:blank-lines [sim: blank_keep_alives 0.1]")
    assert record.state == "succeeded"


def test_a_success_without_usage_says_so(installation: Installation) -> None:
    record = installation.run("sim", "job:no-usage [sim: no_usage]")
    assert record.state == "succeeded"
    assert record.warnings == ["The provider did not say how many tokens were used."]
