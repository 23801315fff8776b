"""What api.fireworks.ai takes, refuses and answers: from its documents and its client's types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

DEEPSEEK, QWEN = "accounts/fireworks/models/deepseek-v4-pro", "accounts/fireworks/models/qwen3-8b"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def fireworks(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "fireworks",
        "/inference/v1/chat/completions",
        {"model": DEEPSEEK},
        authorization="Bearer sim-fireworks-key",
    )


@for_each(
    ("fields", "message"),
    [
        ({"model": LEAVE_OUT}, "Field required, field: 'model', value: None"),
        ({"temperature": "hot"}, "Input should be a valid number, field: 'temperature', value: 'hot'"),
        ({"safe_prompt": True}, "Extra inputs are not permitted, field: 'safe_prompt', value: True"),
        ({"top_logprobs": 6}, "Input should be less than or equal to 5, field: 'top_logprobs', value: 6"),
        ({"context_length_exceeded_behavior": "cut"}, "Input should be 'error' or 'truncate'"),
        ({"response_format": {"type": "xml"}}, "field: 'response_format.type', value: 'xml'"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "are the same field"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "field: 'messages[0].role', value: 'bot'"),
    ],
)
def test_a_wrong_request_is_refused_in_fireworks_words(
    fireworks: SourceClient, fields: dict[str, Any], message: str
) -> None:
    answer = fireworks.chat(**fields)
    assert (answer.status, answer.json["error"]["object"]) == (400, "error")
    assert answer.json["error"]["message"].startswith("1 request validation error: ")
    assert message in answer.json["error"]["message"]


@for_each("model", ["deepseek-v4-pro", "accounts/fireworks/models/nope"])
def test_a_model_has_to_be_named_in_full(fireworks: SourceClient, model: str) -> None:
    answer = fireworks.chat(model=model)
    assert (answer.status, answer.json["error"]["code"]) == (404, "NOT_FOUND")


@for_each(
    "fields",
    [
        {"model": f"{DEEPSEEK}#accounts/me/deployments/one"},
        {
            "top_k": 40,
            "min_p": 0,
            "typical_p": 1,
            "repetition_penalty": 1.1,
            "ignore_eos": False,
            "user": "u",
        },
        {"response_format": {"type": "grammar", "grammar": "root ::= 'x'"}},
        {"reasoning_effort": 1024, "reasoning_history": "preserved"},
        {"max_completion_tokens": 5, "n": 2, "perf_metrics_in_response": True},
    ],
)
def test_what_fireworks_takes_is_taken(fireworks: SourceClient, fields: dict[str, Any]) -> None:
    assert fireworks.chat(**fields).status == 200


@for_each("effort", ["low", 512, True])
def test_reasoning_can_be_asked_for_by_word_number_or_flag(fireworks: SourceClient, effort: object) -> None:
    assert fireworks.chat(reasoning_effort=effort).json["choices"][0]["message"]["reasoning_content"]
    plain = fireworks.chat(reasoning_effort="none").json["choices"][0]["message"]
    assert "reasoning_content" not in plain


def test_a_prompt_that_is_too_long_is_refused_unless_it_may_be_cut(fireworks: SourceClient) -> None:
    prompt = "x" * (4 * 40_960 + 1)
    refused = fireworks.chat(prompt, model=QWEN)
    assert refused.status == 400
    assert "too long: 40961, model maximum context length: 40960" in refused.json["error"]["message"]
    assert fireworks.chat(prompt, model=QWEN, context_length_exceeded_behavior="truncate").status == 200


def test_the_list_is_patchy_and_the_management_list_is_not(fireworks: SourceClient) -> None:
    listed = [row["id"] for row in fireworks.get("/inference/v1/models").json["data"]]
    first = fireworks.get("/v1/accounts/fireworks/models?pageSize=2").json
    second = fireworks.get(
        f"/v1/accounts/fireworks/models?pageSize=2&pageToken={first['nextPageToken']}"
    ).json
    managed = [row["name"] for row in first["models"] + second["models"]]
    assert (len(listed), len(managed), second["nextPageToken"]) == (1, 3, "")
    assert set(listed) < set(managed)
    assert fireworks.chat(model=QWEN).status == 200


def test_an_account_that_owes_money_is_suspended_with_a_412(
    fireworks: SourceClient, simulator: SimulatorProcess
) -> None:
    key = {"source": "fireworks", "key": "sim-fireworks-key", "state": "out_of_quota"}
    simulator.control("POST", "keys", key)
    answer = fireworks.chat()
    assert (answer.status, answer.json["error"]["code"]) == (412, "PRECONDITION_FAILED")


def test_limits_of_a_minute_are_told_for_the_second(fireworks: SourceClient) -> None:
    limits = {"input_tokens_per_minute": 6000, "output_tokens_per_minute": 600, "bucket": "minute"}
    fireworks.configure(limits=limits)
    headers = fireworks.chat("12345678").headers
    assert headers["x-ratelimit-limit-tokens-prompt"] == "100"
    assert headers["x-ratelimit-remaining-tokens-prompt"] == "100"
    assert headers["x-ratelimit-limit-tokens-generated"] == "10"
    assert headers["fireworks-prompt-tokens"] == "2"
    fireworks.configure(limits={"output_tokens_per_minute": 40, "bucket": "minute"})
    answered, refused = fireworks.chat(), fireworks.chat()
    assert (answered.status, refused.status) == (200, 429)
    assert refused.headers["x-ratelimit-over-limit"] == "yes"
    assert "retry-after" not in refused.headers


def test_a_streams_last_chunk_has_the_usage_without_asking(fireworks: SourceClient) -> None:
    parts = fireworks.chat(stream=True).body.strip().split(b"\n\n")[:-1]
    last = orjson.loads(parts[-1].removeprefix(b"data: "))
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


def test_an_answer_with_a_high_cap_is_given_as_a_stream_only(fireworks: SourceClient) -> None:
    refused = fireworks.chat(max_tokens=4097)
    assert refused.status == 400
    assert refused.json["error"]["message"] == "Requests with max_tokens > 4096 must have stream=true"
    assert fireworks.chat(max_completion_tokens=4097).status == 400
    assert fireworks.chat(max_tokens=4096).status == 200
    assert fireworks.chat(max_tokens=4097, stream=True).status == 200


def test_a_tool_can_be_forced_with_any(fireworks: SourceClient) -> None:
    [call] = fireworks.chat(tools=[TOOL], tool_choice="any").json["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], call["index"]) == ("f", 0)
