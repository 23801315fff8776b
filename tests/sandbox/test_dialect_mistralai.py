"""What api.mistral.ai takes, refuses and answers: from its documents and messages that users quote."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
CALL = {"id": "Ab3dE6gH9", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
REPLY = {"role": "tool", "name": "f", "tool_call_id": "Ab3dE6gH9", "content": "4 C"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def mistral(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "mistralai",
        "/v1/chat/completions",
        {"model": "mistral-small-latest"},
        authorization="Bearer sim-mistralai-key",
    )


@for_each(
    ("fields", "kind", "place"),
    [
        ({"model": LEAVE_OUT}, "missing", ["model"]),
        ({"seed": 7}, "extra_forbidden", ["seed"]),
        ({"max_completion_tokens": 5}, "extra_forbidden", ["max_completion_tokens"]),
        ({"stream_options": {}}, "extra_forbidden", ["stream_options"]),
        ({"logit_bias": {}}, "extra_forbidden", ["logit_bias"]),
        ({"user": "u"}, "extra_forbidden", ["user"]),
        ({"temperature": "hot"}, "float_type", ["temperature"]),
        ({"temperature": 2}, "less_than_equal", ["temperature"]),
        ({"tool_choice": "some"}, "literal_error", ["tool_choice"]),
        ({"prompt_mode": "thinking"}, "literal_error", ["prompt_mode"]),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "missing",
            ["response_format", "json_schema", "name"],
        ),
        (
            {"messages": [{"role": "developer", "content": "x"}, USER]},
            "literal_error",
            ["messages", 0, "role"],
        ),
        ({"messages": [{**USER, "name": "Ann"}]}, "extra_forbidden", ["messages", 0, "user", "name"]),
        (
            {"messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "y"}, USER]},
            "extra_forbidden",
            ["messages", 1, "assistant", "reasoning_content"],
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "missing",
            ["tools", 0, "function", "parameters"],
        ),
    ],
)
def test_a_wrong_field_is_a_422_with_pydantics_list_inside_the_message(
    mistral: SourceClient, fields: dict[str, Any], kind: str, place: list[str | int]
) -> None:
    answer = mistral.chat(**fields)
    assert answer.status == 422
    [detail] = answer.json["message"]["detail"]
    assert (detail["type"], detail["loc"]) == (kind, ["body", *place])


@for_each(
    ("fields", "code", "message"),
    [
        (
            {"messages": [USER, {"role": "assistant", "content": "x"}]},
            "3230",
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
        ),
        ({"messages": [USER, {"role": "system", "content": "x"}]}, "3230", "for serving but got system"),
        ({"messages": [USER, CALLING, USER]}, "3230", "Not the same number of function calls and responses"),
        ({"messages": [USER, CALLING, REPLY, USER]}, "3230", "Unexpected role 'user' after role 'tool'"),
        ({"messages": [USER, REPLY]}, "3230", "Unexpected role 'tool' after role 'user'"),
        (
            {"messages": [USER, CALLING, {**REPLY, "tool_call_id": "Zz3dE6gH9"}]},
            "3230",
            "Unexpected tool call id Zz3dE6gH9 in tool results",
        ),
        (
            {"messages": [USER, {**CALLING, "tool_calls": [{**CALL, "id": "call_1"}]}, REPLY]},
            "3280",
            "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": ""}, USER]},
            "3240",
            "Assistant message must have either content or tool_calls, but not none.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "get weather", "parameters": {}}}]},
            "3280",
            "Function name was get weather but must be a-z",
        ),
        ({"model": "mistral-nope"}, "1500", "Invalid model: mistral-nope"),
        ({"model": "mistral-embed"}, "1500", "Invalid model: mistral-embed"),
    ],
)
def test_a_wrong_conversation_is_a_400_with_a_code_of_its_own(
    mistral: SourceClient, fields: dict[str, Any], code: str, message: str
) -> None:
    answer = mistral.chat(**fields)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert message in answer.json["message"]


@for_each(
    "fields",
    [
        {"messages": [USER, USER, {"role": "system", "content": "x"}, USER]},
        {"messages": [USER, CALLING, REPLY, {"role": "assistant", "content": "4"}, USER], "tools": [TOOL]},
        {
            "messages": [
                USER,
                {**CALLING, "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]},
                REPLY,
            ]
        },
        {"random_seed": 7, "top_k": 40, "safe_prompt": True, "stop": "x", "temperature": None, "n": 2},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_mistral_takes_is_taken(mistral: SourceClient, fields: dict[str, Any]) -> None:
    assert mistral.chat(**fields).status == 200


def test_the_answer_to_a_prefix_repeats_it(mistral: SourceClient) -> None:
    turns = [
        {"role": "user", "content": "[sim: say sunny.]"},
        {"role": "assistant", "content": "It is ", "prefix": True},
    ]
    assert mistral.chat(messages=turns).text == "It is sunny."


def test_a_model_that_reasons_answers_with_a_list_of_chunks(mistral: SourceClient) -> None:
    for fields in (
        {"model": "magistral-medium-latest"},
        {"model": "mistral-medium-3.5", "reasoning_effort": "high"},
    ):
        chunks = mistral.chat(**fields).json["choices"][0]["message"]["content"]
        assert [chunk["type"] for chunk in chunks] == ["thinking", "text"]
        assert chunks[0]["thinking"][0]["text"]
    plain = mistral.chat(model="mistral-medium-3.5", reasoning_effort="none")
    assert plain.text.startswith("answer to")


def test_tool_calls_have_nine_character_ids(mistral: SourceClient) -> None:
    choice = mistral.chat(tools=[TOOL], tool_choice="any").json["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert (len(call["id"]), call["id"].isalnum(), choice["message"]["content"]) == (9, True, "")
    assert choice["finish_reason"] == "tool_calls"


def test_a_stream_brings_thinking_in_chunks_and_usage_in_its_last(mistral: SourceClient) -> None:
    body = mistral.chat("job:s", model="magistral-medium-latest", stream=True).body
    *parts, done = body.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    chunks = [orjson.loads(part.removeprefix(b"data: ")) for part in parts]
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    thoughts = [item[0]["thinking"][0]["text"] for item in contents if isinstance(item, list)]
    texts = [item for item in contents if isinstance(item, str)]
    whole = mistral.chat("job:s", model="magistral-medium-latest").json["choices"][0]["message"]["content"]
    assert "".join(thoughts) == whole[0]["thinking"][0]["text"]
    assert "".join(texts).replace("call:1", "call:2") == whole[1]["text"]
    assert ["usage" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_limits_are_told_as_counts_with_what_the_call_cost(mistral: SourceClient) -> None:
    limits = {"requests_per_minute": 2, "tokens_per_minute": 1000, "tokens_per_month": 5000}
    mistral.configure(limits={**limits, "bucket": "minute"})
    answer = mistral.chat("12345678", max_tokens=500)
    found = {
        name.removeprefix("x-ratelimit-"): value
        for name, value in answer.headers.items()
        if "ratelimit" in name
    }
    assert found == {
        "limit-req-minute": "2",
        "remaining-req-minute": "1",
        "limit-tokens-minute": "1000",
        "remaining-tokens-minute": "966",
        "limit-tokens-month": "5000",
        "remaining-tokens-month": "4966",
        "tokens-query-cost": "34",
    }
    assert mistral.chat(seed=1).headers["x-ratelimit-remaining-req-minute"] == "1"
    mistral.chat()
    refused = mistral.chat()
    assert (refused.status, refused.json["code"]) == (429, "1300")
    assert 20 < int(refused.headers["retry-after"]) <= 30


def test_a_key_without_allowance_is_told_by_a_limit_of_zero_alone(
    mistral: SourceClient, simulator: SimulatorProcess
) -> None:
    mistral.configure(limits={"requests_per_minute": 60})
    key = {"source": "mistralai", "key": "sim-mistralai-key", "state": "out_of_quota"}
    simulator.control("POST", "keys", key)
    answer = mistral.chat()
    assert (answer.status, answer.json["code"]) == (429, "1300")
    assert answer.headers["x-ratelimit-limit-req-minute"] == "0"
    assert "retry-after" not in answer.headers


def test_a_failure_can_hide_in_the_finish_reason(mistral: SourceClient) -> None:
    answer = mistral.chat("[sim: error_in_200]")
    assert (answer.status, answer.json["choices"][0]["finish_reason"]) == (200, "error")


def test_the_list_has_models_that_cannot_chat(mistral: SourceClient) -> None:
    rows = {row["id"]: row for row in mistral.get("/v1/models").json["data"]}
    assert rows["mistral-embed"]["capabilities"]["completion_chat"] is False
    assert rows["mistral-small-latest"]["capabilities"]["completion_chat"] is True
