"""What api.cohere.com takes, refuses and answers: from its documents and its client's types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
CALL = {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "tool_plan": "I will.", "tool_calls": [CALL]}
DOCUMENT = {"type": "document", "document": {"data": {"c": "4"}}}
REPLY = {"role": "tool", "tool_call_id": "f_1", "content": [DOCUMENT]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
REASONER = "command-a-reasoning-08-2025"


@pytest.fixture
def cohere(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "cohere",
        "/v2/chat",
        {"model": "command-a-03-2025"},
        authorization="Bearer sim-cohere-key",
    )


def events_of(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(part.split(b"data: ", 1)[1]) for part in body.strip().split(b"\n\n")]


@for_each(
    ("fields", "status", "message"),
    [
        ({"model": LEAVE_OUT}, 400, "invalid request: model is required."),
        ({"top_p": 0.5}, 422, "unknown field: parameter 'top_p' is not a valid field"),
        ({"top_k": 5}, 422, "parameter 'top_k' is not a valid field"),
        ({"stop": ["x"]}, 422, "parameter 'stop' is not a valid field"),
        ({"n": 2}, 422, "parameter 'n' is not a valid field"),
        ({"messages": [{**USER, "name": "Ann"}]}, 422, "parameter 'messages[0].name' is not a valid field"),
        ({"p": 1}, 400, "invalid request: p must be between 0.01 and 0.99 inclusive."),
        ({"k": 501}, 400, "invalid request: k must be between 0 and 500 inclusive."),
        ({"presence_penalty": -1}, 400, "presence_penalty must be between 0 and 1 inclusive."),
        ({"stop_sequences": ["a"] * 6}, 400, "stop_sequences: List should have at most 5 items"),
        ({"temperature": "hot"}, 400, "temperature: Input should be a valid number"),
        ({"safety_mode": "NONE"}, 400, "safety_mode: Input should be 'CONTEXTUAL', 'STRICT' or 'OFF'"),
        ({"tools": [TOOL], "tool_choice": "auto"}, 400, "tool_choice: Input should be 'REQUIRED' or 'NONE'"),
        ({"tool_choice": "REQUIRED"}, 400, "tool_choice needs tools."),
        (
            {"tools": [TOOL], "tool_choice": "NONE", "model": "command-r-08-2024"},
            400,
            "tool_choice is not supported",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            400,
            "tools[0].function.parameters is required.",
        ),
        (
            {"tools": [TOOL], "safety_mode": "STRICT"},
            400,
            "safety_mode is not supported together with tools.",
        ),
        (
            {"documents": ["x"], "response_format": {"type": "json_object"}},
            400,
            "response_format is not supported together with documents.",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            400,
            "response_format.type: Input should be 'text' or 'json_obj",
        ),
        ({"thinking": {"type": "enabled"}}, 400, "thinking is not supported by model 'command-a-03-2025'."),
        ({"model": "command-nope"}, 404, "model 'command-nope' not found"),
        ({"model": "embed-v4.0"}, 404, "model 'embed-v4.0' not found"),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            400,
            "messages[0].role: Input should be 'system',",
        ),
        (
            {"messages": [{"role": "user", "content": ""}]},
            400,
            "messages[0].content must be a string or a list",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "x"}]},
            400,
            "the last message must be from the user",
        ),
        ({"messages": [USER, {**CALLING, "content": "x"}, REPLY]}, 400, "carries tool_plan and not content."),
        ({"messages": [USER, CALLING, USER]}, 400, "tool calls without a tool message: f_1."),
        ({"messages": [USER, REPLY]}, 400, "tool_call_id 'f_1' belongs to no tool call before it."),
    ],
)
def test_a_wrong_request_is_refused_in_coheres_words(
    cohere: SourceClient, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = cohere.chat(**fields)
    assert answer.status == status
    assert message in answer.json["message"]
    assert set(answer.json) == {"id", "message"}


@for_each(
    "fields",
    [
        {"stream": False, "p": 0.75, "k": 0, "seed": 7, "frequency_penalty": 0.5, "safety_mode": "OFF"},
        {"messages": [{"role": "system", "content": "x"}, USER, CALLING, REPLY], "tools": [TOOL]},
        {"messages": [USER, CALLING, {**REPLY, "content": "4 C"}], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"model": REASONER, "thinking": {"type": "enabled", "token_budget": 100}},
        {"documents": ["Rain falls."], "citation_options": {"mode": "OFF"}, "priority": 0},
    ],
)
def test_what_cohere_takes_is_taken(cohere: SourceClient, fields: dict[str, Any]) -> None:
    assert cohere.chat(**fields).status == 200


@for_each(
    ("prompt", "fields", "reason"),
    [
        ("hi", {}, "COMPLETE"),
        ("hi", {"max_tokens": 3}, "MAX_TOKENS"),
        ("[sim: say one END two]", {"stop_sequences": ["END"]}, "STOP_SEQUENCE"),
        ("hi", {"tools": [TOOL], "tool_choice": "REQUIRED"}, "TOOL_CALL"),
        ("[sim: error_in_200]", {}, "ERROR"),
        ("[sim: finish_as TIMEOUT]", {}, "TIMEOUT"),
    ],
)
def test_why_an_answer_ends_is_said_in_capitals(
    cohere: SourceClient, prompt: str, fields: dict[str, Any], reason: str
) -> None:
    assert cohere.chat(prompt, **fields).json["finish_reason"] == reason


def test_a_tool_call_comes_with_a_plan_and_without_content(cohere: SourceClient) -> None:
    message = cohere.chat("[sim: call_tool]", tools=[TOOL]).json["message"]
    assert set(message) == {"role", "tool_plan", "tool_calls"}
    assert message["tool_plan"] == "I will use f."


def test_models_that_reason_do_so_unless_told_not_to(cohere: SourceClient) -> None:
    def kinds(**fields: Any) -> list[str]:
        return [block["type"] for block in cohere.chat(model=REASONER, **fields).json["message"]["content"]]

    assert kinds() == ["thinking", "text"]
    assert kinds(thinking={"type": "disabled"}) == ["text"]


def test_answers_cite_the_documents_of_tool_replies_unless_told_not_to(cohere: SourceClient) -> None:
    turns = [USER, CALLING, REPLY]
    [citation] = cohere.chat(messages=turns).json["message"]["citations"]
    assert citation["sources"] == [{"type": "tool", "id": "f_1:0", "tool_output": {"c": "4"}}]
    quiet = cohere.chat(messages=turns, citation_options={"mode": "OFF"})
    assert "citations" not in quiet.json["message"]


def test_what_is_billed_is_less_than_what_the_model_reads(cohere: SourceClient) -> None:
    usage = cohere.chat("12345678").json["usage"]
    assert usage["billed_units"]["input_tokens"] == 2
    assert usage["tokens"]["input_tokens"] == 72


def test_the_model_list_has_only_chat_models_when_asked_and_comes_in_pages(cohere: SourceClient) -> None:
    everything = cohere.get("/v1/models").json
    chats = cohere.get("/v1/models?endpoint=chat").json
    assert {row["name"] for row in everything["models"]} - {row["name"] for row in chats["models"]} == {
        "embed-v4.0"
    }
    first = cohere.get("/v1/models?endpoint=chat&page_size=3").json
    second = cohere.get(f"/v1/models?endpoint=chat&page_size=3&page_token={first['next_page_token']}").json
    assert first["models"] + second["models"] == chats["models"]
    assert second["next_page_token"] is None
    assert cohere.get("/v1/models?page_size=0").status == 400


def test_a_trial_key_is_told_its_limits_but_not_on_a_429(cohere: SourceClient) -> None:
    limits = {"requests_per_minute": 2, "requests_per_month": 1000, "bucket": "minute"}
    cohere.configure(limits=limits)
    answers = [cohere.chat() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers.get("x-trial-endpoint-call-remaining") for answer in answers] == ["1", "0", None]
    assert answers[0].headers["x-endpoint-monthly-call-limit"] == "1000"
    assert "limited to 2 API calls / minute" in answers[2].json["message"]
    assert "retry-after" not in answers[2].headers
    assert cohere.chat(p=2).headers["x-trial-endpoint-call-remaining"] == "0"


def test_the_end_of_a_months_calls_is_told_by_its_text_alone(cohere: SourceClient) -> None:
    cohere.configure(limits={"requests_per_month": 1})
    assert cohere.chat().status == 200
    answer = cohere.chat()
    assert answer.status == 429
    assert "limited to 1 API calls / month" in answer.json["message"]


def test_a_stream_brings_the_answer_in_typed_events(cohere: SourceClient) -> None:
    events = events_of(cohere.chat("job:s", model=REASONER, stream=True).body)
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[1], kinds[-1]) == ("message-start", "content-start", "message-end")
    deltas = [event["delta"]["message"]["content"] for event in events if event["type"] == "content-delta"]
    assert "".join(delta.get("thinking", "") for delta in deltas).startswith("Rain")
    assert "".join(delta.get("text", "") for delta in deltas).startswith("answer to job:s")
    assert events[-1]["delta"]["finish_reason"] == "COMPLETE"
    assert events[-1]["delta"]["usage"]["billed_units"]["input_tokens"] == 2


def test_a_streamed_tool_call_comes_in_pieces(cohere: SourceClient) -> None:
    events = events_of(cohere.chat(tools=[TOOL], tool_choice="REQUIRED", stream=True).body)
    kinds = [event["type"] for event in events]
    assert kinds == [
        "message-start",
        "tool-plan-delta",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-end",
        "message-end",
    ]
    assert events[2]["delta"]["message"]["tool_calls"]["function"] == {"name": "f", "arguments": ""}
