"""What api.openai.com refuses, and in which words: from its API reference and messages that users quote."""

from __future__ import annotations

from typing import Any

from simulator_testing import KEY, Client, send

from chatq_sandbox.dialects.openai import duration
from for_each import for_each

USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
REPLY = {"role": "tool", "tool_call_id": "c1", "content": "4 C"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


@for_each(
    ("fields", "param", "code", "message"),
    [
        ({"model": None}, None, None, "you must provide a model parameter"),
        (
            {"messages": None},
            "messages",
            "missing_required_parameter",
            "Missing required parameter: 'messages'.",
        ),
        (
            {"messages": []},
            "messages",
            "empty_array",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array",
        ),
        ({"messages": "hi"}, "messages", "invalid_type", "expected an array, but got a string instead."),
        (
            {"messages": ["hi"]},
            "messages[0]",
            "invalid_type",
            "expected an object, but got a string instead.",
        ),
        (
            {"messages": [{"role": "bot", "content": "hi"}]},
            "messages[0].role",
            "invalid_value",
            "Invalid value: 'bot'. Supported values are: 'system', 'developer', 'user', 'assistant', 'tool', and",
        ),
        (
            {"messages": [{"content": "hi"}]},
            "messages[0].role",
            "missing_required_parameter",
            "'messages[0].role'",
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            "messages.[0].content",
            None,
            "Invalid value for 'content': expected a string, got null.",
        ),
        (
            {"messages": [{"role": "user", "content": []}]},
            "messages[0].content",
            "empty_array",
            "empty array",
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
            "invalid_value",
            "Invalid value: 'image_url'. Supported values are: 'text'.",
        ),
        (
            {"messages": [USER, REPLY]},
            "messages.[1].role",
            None,
            "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        ),
        (
            {"messages": [USER, CALLING, USER]},
            "messages",
            None,
            "The following tool_call_ids did not have response messages: c1",
        ),
        ({"messages": [USER, CALLING]}, "messages", None, "did not have response messages: c1"),
        (
            {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": []}]},
            "messages[1].tool_calls",
            "empty_array",
            "empty array",
        ),
        (
            {"messages": [{**USER, "name": "a b"}]},
            "messages[0].name",
            "invalid_value",
            "string does not match pattern",
        ),
        ({"top_k": 5}, "top_k", "unknown_parameter", "Unknown parameter: 'top_k'."),
        (
            {"temperature": "hot"},
            "temperature",
            "invalid_type",
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
        ),
        (
            {"temperature": 3},
            "temperature",
            "decimal_above_max_value",
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        ),
        (
            {"presence_penalty": -3},
            "presence_penalty",
            "decimal_below_min_value",
            "Expected a value >= -2, but got -3",
        ),
        (
            {"max_completion_tokens": 0},
            "max_completion_tokens",
            "integer_below_min_value",
            "integer below minimum",
        ),
        (
            {"max_completion_tokens": 1.5},
            "max_completion_tokens",
            "invalid_type",
            "expected an integer, but got a dec",
        ),
        ({"n": True}, "n", "invalid_type", "expected an integer, but got a boolean"),
        (
            {"stop": ["1", "2", "3", "4", "5"]},
            "stop",
            "array_above_max_length",
            "Expected an array with maximum length 4, but got an array with length 5 instead.",
        ),
        ({"stream_options": {}}, "stream_options", None, "only allowed when 'stream' is enabled"),
        ({"top_logprobs": 2}, "top_logprobs", None, "only allowed when 'logprobs' is enabled"),
        ({"tool_choice": "auto"}, "tool_choice", None, "only allowed when 'tools' are specified"),
        (
            {"parallel_tool_calls": True},
            "parallel_tool_calls",
            None,
            "only allowed when 'tools' are specified",
        ),
        ({"tools": []}, "tools", "empty_array", "empty array"),
        (
            {"tools": [{"type": "function", "function": {"name": "get weather"}}]},
            "tools[0].function.name",
            "invalid_value",
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "invalid_value", "Invalid value: 'any'"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            None,
            "Tool choice 'g' not found in 'tools' parameter.",
        ),
        (
            {"response_format": {"type": "yaml"}},
            "response_format.type",
            "invalid_value",
            "Invalid value: 'yaml'",
        ),
        (
            {"response_format": {"type": "json_object"}},
            "messages",
            None,
            "'messages' must contain the word 'json' in some form",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
            "Missing required parameter",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
            "response_format",
            None,
            "'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            {"max_tokens": 5, "max_completion_tokens": 5},
            "max_tokens",
            "invalid_parameter_combination",
            "same time",
        ),
        (
            {"max_completion_tokens": 20_000},
            "max_tokens",
            "invalid_value",
            "supports at most 16384 completion tokens",
        ),
        (
            {"reasoning_effort": "low"},
            "reasoning_effort",
            "unknown_parameter",
            "Unrecognized request argument",
        ),
    ],
)
def test_a_wrong_request_is_a_400_in_openais_words(
    client: Client, fields: dict[str, Any], param: str | None, code: str | None, message: str
) -> None:
    answer = client.chat(**fields)
    error = answer.json["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert message in error["message"]


@for_each(
    ("model", "fields", "param", "code"),
    [
        ("gpt-5.2", {"max_tokens": 64}, "max_tokens", "unsupported_parameter"),
        ("o4-mini", {"max_tokens": 64}, "max_tokens", "unsupported_parameter"),
        ("gpt-5.2", {"temperature": 0.7}, "temperature", "unsupported_value"),
        ("gpt-5.2", {"top_p": 1}, "top_p", "unsupported_parameter"),
        ("gpt-5.2", {"presence_penalty": 0}, "presence_penalty", "unsupported_parameter"),
        ("gpt-5.2", {"logprobs": True}, "logprobs", "unsupported_parameter"),
        ("o4-mini", {"stop": "x"}, "stop", "unsupported_parameter"),
    ],
)
def test_reasoning_models_refuse_what_they_do_not_use(
    client: Client, model: str, fields: dict[str, Any], param: str, code: str
) -> None:
    answer = client.chat(model=model, **fields)
    assert answer.status == 400
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (param, code)


@for_each(
    "fields",
    [
        {"model": "gpt-5.2", "temperature": 1, "max_completion_tokens": 64, "reasoning_effort": "low"},
        {"model": "gpt-5.2", "stop": "x"},
        {"max_tokens": 5, "seed": 7, "stop": None, "logit_bias": {"1": 2}, "user": "u", "n": 2},
        {"messages": [USER, CALLING, REPLY, USER], "tools": [TOOL], "parallel_tool_calls": False},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"response_format": {"type": "text"}},
    ],
)
def test_what_openai_takes_is_taken(client: Client, fields: dict[str, Any]) -> None:
    assert client.chat(**fields).status == 200


def test_a_prompt_that_is_longer_than_the_models_context_is_refused(client: Client) -> None:
    answer = client.chat("x" * (4 * 128_000 + 1))
    assert (answer.status, answer.json["error"]["code"]) == (400, "context_length_exceeded")
    assert "However, your messages resulted in 128001 tokens." in answer.json["error"]["message"]
    assert client.chat("x" * (4 * 128_000), model="gpt-4o").status == 200


def test_a_body_that_is_not_json_is_a_400(client: Client) -> None:
    url = client.simulator.url
    answer = send(url, "POST", "/v1/chat/completions", b'{"model": ', {"authorization": f"Bearer {KEY}"})
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("We could not parse the JSON body of your request")


@for_each(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (60, "1m0s"),
        (179.56, "2m59.56s"),
        (360, "6m0s"),
        (3723.5, "1h2m3.5s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
