"""What becomes of one job, from enqueue to its record, when the provider does as it should."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from installation import WAIT_S, Install, Installation

from chatq import BacklogFull, JobRecord, UnknownJob


def test_a_job_succeeds_with_the_answer_that_belongs_to_it(installation: Installation) -> None:
    record = installation.run("sim", "job:own-answer Say hi")
    assert record.state == "succeeded"
    assert record.result is not None
    assert record.result.text.startswith("answer to job:own-answer ")
    assert record.result.finish_reason == "stop"
    assert record.result.model == "demo"


def test_the_record_lists_the_one_call_that_was_made(installation: Installation) -> None:
    record = installation.run("sim", "job:attempt-list Say hi")
    [attempt] = record.attempts
    assert (attempt.number, attempt.connection, attempt.http_status) == (1, "sim", 200)
    assert (attempt.error_code, attempt.counted, attempt.maybe_charged) == (None, True, False)
    assert installation.simulator.counts("attempt-list")["received"] == 1


def test_the_moments_of_a_record_are_in_order(installation: Installation) -> None:
    record = installation.run("sim", "job:moments Say hi")
    assert record.started_at is not None
    assert record.finished_at is not None
    [attempt] = record.attempts
    assert attempt.ended_at is not None
    moments = [record.created_at, attempt.started_at, attempt.ended_at]
    assert moments == sorted(moments)
    assert record.started_at == attempt.started_at
    assert record.finished_at - attempt.ended_at < timedelta(milliseconds=1)


def test_the_tokens_and_the_latency_are_the_providers(installation: Installation) -> None:
    result = installation.run("sim", "job:usage [sim: tokens 40; latency 0.1]").result
    assert result is not None
    assert result.usage.completion_tokens == 40
    assert result.usage.total_tokens == result.usage.prompt_tokens + 40
    assert 0.1 <= result.latency_s < 5
    assert result.response["object"] == "chat.completion"
    assert result.response["choices"][0]["message"]["content"] == result.text


def test_the_result_key_holds_the_record_as_plain_json(installation: Installation) -> None:
    record = installation.run("sim", "job:plain-key Say hi", metadata={"order": "17"})
    stored = installation.redis.get(f"chatq:result:{record.id}")
    assert stored is not None
    assert JobRecord.model_validate_json(stored) == record
    assert orjson.loads(stored)["metadata"] == {"order": "17"}


def test_the_provider_gets_the_prompt_after_post_processing(installation: Installation) -> None:
    messages = [
        {"role": "assistant", "content": "I speak first."},
        {"role": "system", "content": "job:strict-messages Be brief."},
    ]
    job = installation.queue.enqueue("strict", messages=messages, params={"temperature": 0.5})
    assert installation.queue.wait(job.id, WAIT_S).state == "succeeded"
    [request] = installation.simulator.control("GET", "requests?job=strict-messages")
    assert request["body"] == {
        "model": "demo",
        "messages": [
            {"role": "user", "content": "[Start a new chat]"},
            {"role": "assistant", "content": "I speak first."},
            {"role": "user", "content": "job:strict-messages Be brief."},
        ],
        "temperature": 0.5,
    }


def test_a_job_with_tools_gets_the_models_tool_calls(installation: Installation) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            },
        },
    }  # fmt: skip
    record = installation.run("sim", "job:tools [sim: call_tool weather]", tools=[tool])
    assert record.result is not None
    assert record.result.finish_reason == "tool_calls"
    assert record.result.tool_calls is not None
    assert [call["function"]["name"] for call in record.result.tool_calls] == ["weather"]


def test_a_job_enqueued_twice_under_one_id_is_called_once(installation: Installation) -> None:
    first = installation.run("sim", "job:same-id Say hi", id="chosen-id-1")
    again = installation.queue.enqueue("sim", "job:same-id Say hi", id="chosen-id-1")
    assert again == first
    assert installation.simulator.counts("same-id")["received"] == 1


def test_a_job_with_not_before_is_not_called_earlier(installation: Installation) -> None:
    record = installation.run("sim", "job:not-before Say hi", not_before="1s")
    assert record.state == "succeeded"
    assert record.started_at is not None
    assert record.started_at - record.created_at >= timedelta(seconds=1)


def test_a_job_that_cannot_start_before_it_expires_is_expired_and_never_called(
    installation: Installation,
) -> None:
    record = installation.run("sim", "job:too-late Say hi", not_before="60s", expires_in="0.3s")
    assert record.state == "expired"
    assert record.attempts == []
    assert record.error is not None
    assert record.error.code == "expired"
    assert installation.simulator.counts("too-late")["received"] == 0


def test_a_deleted_job_is_gone(installation: Installation) -> None:
    record = installation.run("sim", "job:deleted Say hi")
    installation.queue.delete(record.id)
    with pytest.raises(UnknownJob):
        installation.queue.get(record.id)
    assert installation.redis.get(f"chatq:result:{record.id}") is None


@pytest.mark.thorough
def test_beyond_the_backlog_a_job_is_refused_with_the_moment_to_try_again(install: Install) -> None:
    installation = install(bounds={"backlog": {"jobs": 2}})
    first = installation.queue.enqueue("sim", "job:backlog-1", idempotency_key="k")
    installation.queue.enqueue("sim", "job:backlog-2")
    with pytest.raises(BacklogFull, match=r"bounds.backlog allows 2 ") as caught:
        installation.queue.enqueue("sim", "job:backlog-3")
    assert (caught.value.retryable, caught.value.retry_after_s) == (True, 2)
    again = installation.queue.enqueue("sim", "job:backlog-1", idempotency_key="k")
    assert again.id == first.id
    installation.start_worker()
    installation.queue.wait(first.id, WAIT_S)
    record = installation.run("sim", "job:backlog-3")
    assert record.state == "succeeded"
    # A batch comes in as there is room.
    batch = installation.queue.enqueue_batch((f"job:room-{n} [sim: no_such_thing]" for n in range(9)), "sim")
    assert [item.state for item in installation.queue.results(batch.id, follow=True)] == ["failed"] * 9
    retried = installation.queue.retry_batch(batch.id)
    assert len(list(installation.queue.results(retried.id, follow=True))) == 9
