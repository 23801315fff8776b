"""What api.anthropic.com takes, refuses and answers: from its documents and messages that users quote."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, HttpAnswer, SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

HAIKU, SONNET_46, OPUS_47, OPUS_5 = (
    "claude-haiku-4-5",
    "claude-sonnet-4-6",
    "claude-opus-4-7",
    "claude-opus-5-5",
)
NEW = {"anthropic-version": "2026-10-21"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "hello"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "4 C"}
CALLING = {"role": "assistant", "content": [USE]}
REPLYING = {"role": "user", "content": [RESULT]}
BUDGET = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def claude(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "claude",
        "/v1/messages",
        {"model": HAIKU, "max_tokens": 64},
        x_api_key="sim-claude-key",
        anthropic_version="2023-06-01",
    )


def refusal(answer: HttpAnswer) -> str:
    assert answer.status == 400, answer.body
    assert answer.json["error"]["type"] == "invalid_request_error"
    return str(answer.json["error"]["message"])


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@for_each(
    ("fields", "message"),
    [
        ({"model": LEAVE_OUT}, "model: Field required"),
        ({"max_tokens": LEAVE_OUT}, "max_tokens: Field required"),
        ({"max_tokens": "64"}, "max_tokens: Input should be a valid integer"),
        (
            {"max_tokens": 64001},
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens",
        ),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"seed": 7}, "seed: Extra inputs are not permitted"),
        ({"stop": ["x"]}, "stop: Extra inputs are not permitted"),
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"temperature": None}, "temperature: Input should be a valid number"),
        ({"stop_sequences": ["\n"]}, "stop_sequences: each stop sequence must contain non-whitespace"),
        (
            {"temperature": 0.5, "top_p": 0.5},
            "`temperature` and `top_p` cannot both be specified for this model.",
        ),
        ({"system": [text("")]}, "system: text content blocks must be non-empty"),
        ({"messages": [{"role": "system", "content": "x"}, USER]}, 'messages: Unexpected role "system".'),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        ({"messages": [{**USER, "name": "Ann"}]}, "messages.0.name: Extra inputs are not permitted"),
        (
            {"messages": [{"role": "assistant", "content": "x"}, USER]},
            'first message must use the "user" role',
        ),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "messages.0: all messages must have non-empty content",
        ),
        (
            {"messages": [{"role": "user", "content": []}]},
            "messages.0: all messages must have non-empty content",
        ),
        ({"messages": [{"role": "user", "content": [text(" ")]}]}, "must contain non-whitespace text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0: Input tag 'image_url' found using 'type' does not match any of the expected tags",
        ),
        (
            {"messages": [USER, CALLING, USER], "tools": [TOOL]},
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1.",
        ),
        (
            {"messages": [USER, CALLING], "tools": [TOOL]},
            "found without `tool_result` blocks immediately after",
        ),
        (
            {"messages": [USER, CALLING, {"role": "user", "content": [text("here"), RESULT]}]},
            "found without `tool_result` blocks immediately after: toolu_1",
        ),
        (
            {"messages": [USER, REPLYING]},
            "messages.0.content.1: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1.",
        ),
        (
            {"messages": [USER, CALLING, {"role": "user", "content": [RESULT, RESULT]}]},
            "messages.2.content.1: each tool_use must have a single result.",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": [{**USE, "id": "a b"}]}, REPLYING]},
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": [{**USE, "input": "{}"}]}, REPLYING]},
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools.0: Input tag 'function' found using",
        ),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        (
            {"tools": [{"name": "a b", "input_schema": {"type": "object"}}]},
            "tools.0.custom.name: String should",
        ),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "input_schema.type: Input should be 'object'"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
        ({"tool_choice": {"type": "auto"}}, "tool_choice: may only be specified while providing tools."),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be a valid dictionary"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice: Input tag 'required' found"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
            "Tool 'g' not found in provided tools",
        ),
        ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be 'low', 'medium',"),
        ({"output_config": {"format": {"type": "json_object"}}}, "Input should be 'json_schema'"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "'additionalProperties' must be explicitly set to false",
        ),
        (
            {"max_tokens": 1024, "thinking": BUDGET},
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 10}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        ({"thinking": {"type": "adaptive"}}, "thinking.type: 'adaptive' is not supported on this model"),
        ({"thinking": {"type": "on"}}, "thinking: Input tag 'on' found using 'type'"),
        (
            {"max_tokens": 2000, "thinking": BUDGET, "temperature": 0.5},
            "`temperature` may only be set to 1 when",
        ),
        (
            {"max_tokens": 2000, "thinking": BUDGET, "top_k": 5},
            "`top_k` must be unset when thinking is enabled.",
        ),
        (
            {"max_tokens": 2000, "thinking": BUDGET, "tools": [TOOL], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            {"max_tokens": 2000, "thinking": BUDGET, "messages": [USER, CALLING, REPLYING], "tools": [TOOL]},
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
        ),
        (
            {
                "max_tokens": 2000,
                "thinking": BUDGET,
                "messages": [USER, {"role": "assistant", "content": "So"}],
            },
            "a final `assistant` message must start with a thinking block.",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_claudes_words(
    claude: SourceClient, fields: dict[str, Any], message: str
) -> None:
    assert message in refusal(claude.chat(**fields))


@for_each(
    ("model", "fields", "message"),
    [
        (
            SONNET_46,
            {"messages": [USER, {"role": "assistant", "content": "So"}]},
            "does not support assistant message",
        ),
        (OPUS_47, {"temperature": 0.5}, "`temperature` is deprecated for this model."),
        (OPUS_47, {"top_k": 5}, "`top_k` is deprecated for this model."),
        (OPUS_47, {"thinking": BUDGET, "max_tokens": 2000}, "thinking.type: 'enabled' is not supported"),
        (OPUS_5, {"top_p": 1}, "`top_p` is deprecated for this model."),
        (OPUS_5, {"thinking": {"type": "adaptive", "budget_tokens": 1024}}, "budget_tokens: Extra inputs"),
    ],
)
def test_newer_models_refuse_what_older_ones_take(
    claude: SourceClient, model: str, fields: dict[str, Any], message: str
) -> None:
    assert message in refusal(claude.chat(model=model, **fields))


@for_each(
    ("fields", "message"),
    [
        ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
        ({"top_p": 0.9}, "top_p: Extra inputs are not permitted"),
        ({"top_k": 40}, "top_k: Extra inputs are not permitted"),
        (
            {"messages": [{"role": "user", "content": [{**text("x"), "citations": []}]}]},
            "messages.0.content.0.text.citations: Extra inputs are not permitted",
        ),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [{"type": "document", "source": {}}]},
                    USER,
                ]
            },
            "document blocks are not permitted in assistant turns",
        ),
    ],
)
def test_the_newer_version_refuses_more(claude: SourceClient, fields: dict[str, Any], message: str) -> None:
    assert message in refusal(claude.chat(headers=NEW, **fields))


@for_each(
    "fields",
    [
        {"temperature": 0.5, "top_k": 40, "metadata": {"user_id": "u"}, "service_tier": "auto"},
        {"model": OPUS_5, "temperature": 1},
        {"model": SONNET_46, "thinking": BUDGET, "max_tokens": 2000},
        {"model": SONNET_46, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"model": OPUS_5, "messages": [USER, {"role": "system", "content": "Be brief."}, USER]},
        {"messages": [USER, USER, {"role": "assistant", "content": [text("a"), USE]}, REPLYING, USER]},
        {"system": [text("a"), text("b")], "messages": [{"role": "user", "content": [text("x")]}]},
        {
            "model": OPUS_5,
            "thinking": {"type": "adaptive"},
            "messages": [USER, CALLING, REPLYING],
            "tools": [TOOL],
        },
    ],
)
def test_what_claude_takes_is_taken(claude: SourceClient, fields: dict[str, Any]) -> None:
    assert claude.chat(**fields).status == 200


def test_the_version_header_is_required_and_known(claude: SourceClient) -> None:
    assert (
        refusal(claude.chat(headers={"anthropic-version": None})) == "anthropic-version: header is required"
    )
    assert "is not a valid version" in refusal(claude.chat(headers={"anthropic-version": "2026-01-01"}))
    assert refusal(claude.get("/v1/models", headers={"anthropic-version": None})).endswith("is required")


def test_the_key_may_come_in_either_header(claude: SourceClient) -> None:
    bearer = {"x-api-key": None, "authorization": "Bearer sim-claude-key"}
    assert claude.chat(headers=bearer).status == 200
    missing = claude.chat(headers={"x-api-key": None})
    assert (missing.status, missing.json["error"]["message"]) == (401, "x-api-key header is required")


def test_every_refusal_names_its_request_in_the_body_and_the_header(claude: SourceClient) -> None:
    wrong, key = claude.chat(max_tokens="x"), claude.chat(headers={"x-api-key": "no"})
    for answer in (wrong, key):
        assert answer.json["type"] == "error"
        assert answer.json["request_id"] == answer.headers["request-id"]
    assert wrong.json["request_id"] != key.json["request_id"]
    assert key.headers["x-should-retry"] == "false"


def test_an_alias_stands_for_the_dated_model(claude: SourceClient) -> None:
    assert claude.chat().json["model"] == "claude-haiku-4-5-20251001"
    assert claude.get("/v1/models/claude-haiku-4-5").json["id"] == "claude-haiku-4-5-20251001"
    answer = claude.chat(model="claude-haiku-4")
    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")


def test_the_model_list_comes_in_pages(claude: SourceClient) -> None:
    claude.configure(models=[f"claude-haiku-4-5-202510{day}" for day in range(10, 35)])
    first = claude.get("/v1/models").json
    assert (len(first["data"]), first["has_more"]) == (20, True)
    second = claude.get(f"/v1/models?after_id={first['last_id']}").json
    assert (len(second["data"]), second["has_more"], second["first_id"]) == (
        5,
        False,
        "claude-haiku-4-5-20251030",
    )
    before = claude.get(f"/v1/models?limit=2&before_id={second['first_id']}").json
    assert [row["id"][-2:] for row in before["data"]] == ["10", "11"]
    assert refusal(claude.get("/v1/models?limit=1001")) == "limit: Input should be less than or equal to 1000"


def test_tokens_of_a_prompt_can_be_counted_without_asking_a_model(claude: SourceClient) -> None:
    body = {"model": HAIKU, "system": "1234", "messages": [{"role": "user", "content": "12345"}]}
    assert claude.send("POST", "/v1/messages/count_tokens", body).json == {"input_tokens": 3}
    wrong = claude.send("POST", "/v1/messages/count_tokens", {**body, "max_tokens": 5})
    assert refusal(wrong) == "max_tokens: Extra inputs are not permitted"


@for_each(
    ("prompt", "fields", "reason", "stopped_by"),
    [
        ("hi", {}, "end_turn", None),
        ("hi", {"max_tokens": 3}, "max_tokens", None),
        ("hi", {"max_tokens": 0}, "max_tokens", None),
        ("[sim: say one END two]", {"stop_sequences": ["END"]}, "stop_sequence", "END"),
        ("[sim: call_tool]", {"tools": [TOOL]}, "tool_use", None),
        ("[sim: finish refusal]", {}, "refusal", None),
        ("[sim: finish_as pause_turn]", {}, "pause_turn", None),
    ],
)
def test_why_an_answer_ends(
    claude: SourceClient, prompt: str, fields: dict[str, Any], reason: str, stopped_by: str | None
) -> None:
    answer = claude.chat(prompt, **fields).json
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, stopped_by)


def test_no_block_of_an_answer_has_an_empty_text(claude: SourceClient) -> None:
    for fields in ({"max_tokens": 0}, {"model": OPUS_5, "thinking": {"type": "adaptive"}, "max_tokens": 16}):
        content = claude.chat(**fields).json["content"]
        assert [block for block in content if block["type"] == "text" and not block["text"]] == []


def test_a_forced_tool_is_called_without_a_word(claude: SourceClient) -> None:
    free = claude.chat("[sim: call_tool f]", tools=[TOOL]).json["content"]
    forced = claude.chat(tools=[TOOL], tool_choice={"type": "tool", "name": "f"}).json["content"]
    assert [block["type"] for block in free] == ["text", "tool_use"]
    assert [block["type"] for block in forced] == ["tool_use"]
    assert forced[0]["input"] == {}


def test_thinking_has_to_come_back_unchanged_with_its_signature(claude: SourceClient) -> None:
    asked: dict[str, Any] = {"max_tokens": 2000, "thinking": BUDGET, "tools": [TOOL]}
    blocks = claude.chat("[sim: call_tool]", **asked).json["content"]
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": blocks[2]["id"], "content": "4 C"}

    def go_on(thinking: dict[str, Any]) -> HttpAnswer:
        turns = [
            USER,
            {"role": "assistant", "content": [thinking, *blocks[1:]]},
            {"role": "user", "content": [result]},
        ]
        return claude.chat(messages=turns, **asked)

    assert go_on(blocks[0]).status == 200
    message = "messages.1.content.0: Invalid `signature` in `thinking` block"
    assert refusal(go_on({**blocks[0], "thinking": "other"})) == message
    assert refusal(go_on({**blocks[0], "signature": "AAAA"})) == message


def test_newer_models_keep_their_thinking_to_themselves_unless_asked(claude: SourceClient) -> None:
    hidden = claude.chat(model=OPUS_5, thinking={"type": "adaptive"}).json["content"][0]
    shown = claude.chat(model=OPUS_5, thinking={"type": "adaptive", "display": "summarized"}).json["content"][
        0
    ]
    older = claude.chat(model=SONNET_46, thinking={"type": "adaptive"}).json["content"][0]
    assert (hidden["thinking"], bool(hidden["signature"])) == ("", True)
    assert shown["thinking"]
    assert older["thinking"]


def test_limits_are_told_in_claudes_headers_with_moments_in_utc(claude: SourceClient) -> None:
    limits = {"requests_per_minute": 2, "input_tokens_per_minute": 100, "output_tokens_per_minute": 100}
    claude.configure(limits={**limits, "bucket": "minute"})
    answers = [claude.chat("12345678") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    headers = answers[0].headers
    found = {
        name: headers[f"anthropic-ratelimit-{name}-remaining"]
        for name in ("requests", "input-tokens", "tokens")
    }
    assert found == {"requests": "1", "input-tokens": "98", "tokens": "166"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", headers["anthropic-ratelimit-requests-reset"])
    refused = answers[2]
    assert "rate limit of 2 requests per minute" in refused.json["error"]["message"]
    assert 20 < int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-should-retry"] == "true"


def test_models_of_a_line_and_generation_share_their_limits(claude: SourceClient) -> None:
    claude.configure(limits={"requests_per_minute": 1, "bucket": "minute"})
    models = ("claude-opus-4-6", "claude-opus-4-7", "claude-opus-5-5", "claude-sonnet-4-6", SONNET_46)
    assert [claude.chat(model=model).status for model in models] == [200, 429, 200, 200, 429]


def test_a_stream_has_named_events_that_make_up_the_answer(claude: SourceClient) -> None:
    asked: dict[str, Any] = {"max_tokens": 2000, "thinking": BUDGET, "tools": [TOOL]}
    answer = claude.chat("job:s [sim: call_tool]", stream=True, **asked)
    events = [part.split(b"\n", 1) for part in answer.body.strip().split(b"\n\n")]
    names = [name.removeprefix(b"event: ").decode() for name, _ in events]
    datas = [orjson.loads(data.removeprefix(b"data: ")) for _, data in events]
    assert names == [data["type"] for data in datas]
    assert (names[0], names[1], names[-2], names[-1]) == (
        "message_start",
        "ping",
        "message_delta",
        "message_stop",
    )
    whole = claude.chat("job:s [sim: call_tool]", **asked).json
    thought = "".join(
        data["delta"].get("thinking", "") for data in datas if data["type"] == "content_block_delta"
    )
    assert thought == whole["content"][0]["thinking"]
    starts = [data["content_block"]["type"] for data in datas if data["type"] == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use"]
    assert datas[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert datas[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    kinds = {data["delta"]["type"] for data in datas if data["type"] == "content_block_delta"}
    assert kinds == {"thinking_delta", "signature_delta", "text_delta", "input_json_delta"}


def test_an_error_in_a_stream_is_an_error_event(claude: SourceClient) -> None:
    last = claude.chat("[sim: error_mid_stream]", stream=True).body.strip().split(b"\n\n")[-1]
    assert last.startswith(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"')


def test_a_body_that_is_too_large_is_refused_in_claudes_shape(claude: SourceClient) -> None:
    claude.simulator.control("PUT", "config", {"request_bytes": 1024})
    answer = claude.chat("x" * 2000)
    assert (answer.status, answer.json["error"]["type"]) == (413, "request_too_large")
