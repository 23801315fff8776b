"""A connection to a real LiteLLM proxy, through a real worker: jobs, models, checks, and its words when it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatq.contract.record import Attempt
from installation import WAIT_S, Installation, until
from litellm_proxy import ANSWER, MASTER_KEY, WRONG_KEY, LiteLLMProxy


@pytest.fixture(scope="session")
def proxy(litellm_command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteLLMProxy]:
    """The session's proxy."""
    with LiteLLMProxy(litellm_command, tmp_path_factory.mktemp("litellm")) as running:
        yield running


@pytest.fixture(scope="session")
def installation(proxy: LiteLLMProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One worker with connections to the proxy."""
    base = {"source": "custom", "url": proxy.url, "model": "greeter", "api_key": "env:TEST_PROXY_KEY"}
    connections = {
        "litellm": base,
        "no-v1": {**base, "url": proxy.url.removesuffix("/v1")},
        "x-api-key": {**base, "auth_header": "x-api-key"},
        "wrong-key": {**base, "api_key": "env:TEST_WRONG_KEY"},
    }
    environ = {"TEST_PROXY_KEY": MASTER_KEY, "TEST_WRONG_KEY": WRONG_KEY}
    with Installation(tmp_path_factory.mktemp("chatq"), connections=connections, environ=environ) as running:
        running.start_worker()
        yield running


def test_a_job_gets_the_proxys_answer(installation: Installation) -> None:
    record = installation.run("litellm", "Write one short line about rain.", params={"max_tokens": 64})
    assert record.state == "succeeded"
    assert record.result is not None
    assert record.result.text == ANSWER
    assert record.result.model == "greeter"
    assert record.result.finish_reason == "stop"
    assert record.result.usage.total_tokens > 0
    assert record.result.response["object"] == "chat.completion"
    assert record.warnings == []


def test_the_record_keeps_the_id_under_which_the_proxy_knows_the_call(installation: Installation) -> None:
    result = installation.run("litellm", "Hi").result
    assert result is not None
    # x-litellm-call-id, a UUID: what its spend log is searched by.
    assert result.provider_request_id is not None
    assert len(result.provider_request_id) == 36


def test_a_batch_gets_an_answer_for_each_of_its_jobs(installation: Installation) -> None:
    batch = installation.queue.enqueue_batch((f"Line {number}" for number in range(30)), connection="litellm")
    records = installation.follow(batch.id)
    assert [record.state for record in records] == ["succeeded"] * 30
    assert {record.result.text for record in records if record.result} == {ANSWER}


def test_the_models_are_those_that_the_proxy_lists(installation: Installation) -> None:
    assert sorted(installation.queue.models("litellm")) == ["greeter", "limited"]


def test_a_check_finds_the_connection_good(installation: Installation) -> None:
    outcome = installation.queue.check("litellm")
    assert (outcome.state, sorted(outcome.models)) == ("ok", ["greeter", "limited"])
    assert installation.queue.status("litellm").state == "ok"


def test_a_check_costs_no_chat(installation: Installation, proxy: LiteLLMProxy) -> None:
    before = proxy.calls("/v1/chat/completions")
    installation.queue.check("litellm")
    assert proxy.calls("/v1/chat/completions") == before


def test_a_test_message_goes_the_way_of_a_job(installation: Installation) -> None:
    record = installation.queue.test_message("litellm")
    assert record.state == "succeeded"
    assert record.result is not None
    assert record.result.text == ANSWER


def test_the_url_without_v1_works_as_well(installation: Installation) -> None:
    assert installation.queue.check("no-v1").state == "ok"
    assert installation.run("no-v1", "Hi").state == "succeeded"


def test_the_key_may_travel_as_x_api_key(installation: Installation) -> None:
    assert installation.queue.check("x-api-key").state == "ok"
    assert installation.run("x-api-key", "Hi").state == "succeeded"


def test_a_check_with_a_wrong_key_says_unauthorized(installation: Installation) -> None:
    outcome = installation.queue.check("wrong-key")
    # Without a database the proxy knows its master key alone, and calls every other key a missing database, status 400.
    assert outcome.state == "unauthorized"
    assert "No connected db." in outcome.message
    assert "master key" in (outcome.remedy or "")
    assert WRONG_KEY not in outcome.model_dump_json()


def test_a_job_with_a_wrong_key_waits_for_a_connection_that_paused_in_the_proxys_words(
    installation: Installation,
) -> None:
    job = installation.queue.enqueue("wrong-key", "Hi")
    pause = until(
        lambda: installation.queue.overview()["connections"]["wrong-key"]["paused"], "wrong-key to pause"
    )
    record = installation.queue.get(job.id)
    assert record.state == "queued"
    [attempt] = record.attempts
    assert (attempt.error_code, attempt.http_status, attempt.counted) == ("unauthorized", 400, False)
    assert pause["code"] == "unauthorized"
    assert "No connected db." in pause["message"]
    assert "master key" in pause["remedy"]
    assert WRONG_KEY not in record.model_dump_json() + repr(pause)


def test_a_model_that_the_proxy_has_not_fails_the_job_in_the_proxys_words(installation: Installation) -> None:
    record = installation.run("litellm", "Hi", model="greeter-2")
    assert record.state == "failed"
    assert record.error is not None
    assert (record.error.http_status, record.error.retryable) == (400, False)
    assert "Invalid model name passed in model=greeter-2" in (record.error.provider_message or "")
    assert len(record.attempts) == 1


def test_a_rate_limit_that_the_proxy_passes_on_costs_no_attempt(installation: Installation) -> None:
    job = installation.queue.enqueue("litellm", "Hi", model="limited")

    def ended() -> list[Attempt]:
        return [attempt for attempt in installation.queue.get(job.id).attempts if attempt.ended_at]

    first = until(ended, "the first call to end")[0]
    assert (first.http_status, first.error_code, first.counted) == (429, "rate_limited", False)
    installation.queue.cancel(job.id)
    assert installation.queue.wait(job.id, WAIT_S).state == "cancelled"
