"""What is special about Mistral: short tool ids, prefixes, and no unknown key anywhere."""

from __future__ import annotations

import pytest
from provider_testing import CLOCK, read, sent

CALL = {
    "id": "call_0fypS1hVX",
    "type": "function",
    "index": 0,
    "function": {"name": "f", "arguments": {"x": 1}},
}


def test_foreign_tool_ids_are_mapped_the_same_way_in_calls_and_results() -> None:
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_0fypS1hVX", "name": "f", "content": "A"},
    ]

    messages = sent("mistralai", history).body["messages"]

    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "718bcafb8", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "718bcafb8", "name": "f", "content": "A"},
    ]


@pytest.mark.parametrize("own", ["Ab3dE6gH9", "000000000"])
def test_ids_of_mistrals_own_stay(own: str) -> None:
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{**CALL, "id": own}]},
        {"role": "tool", "tool_call_id": own, "content": "A"},
    ]

    messages = sent("mistralai", history).body["messages"]

    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == own


def test_calls_without_ids_are_answered_in_their_order() -> None:
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "A"},
    ]

    messages = sent("mistralai", history).body["messages"]

    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]


def test_messages_hold_no_key_that_mistral_does_not_know() -> None:
    history = [
        {"role": "user", "content": "q", "name": "Bob", "mood": "good"},
        {"role": "assistant", "content": "r", "reasoning_content": "because", "refusal": None},
        {"role": "user", "content": "q2"},
    ]

    assert sent("mistralai", history).body["messages"] == [
        {"role": "user", "content": "Bob: q"},
        {"role": "assistant", "content": "r"},
        {"role": "user", "content": "q2"},
    ]


def test_a_prompt_that_ends_with_the_system_ends_with_the_user() -> None:
    assert sent("mistralai", [{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]).body[
        "messages"
    ] == [{"role": "user", "content": "q"}, {"role": "user", "content": "s"}]


def test_a_prompt_of_the_system_alone_gets_the_placeholder() -> None:
    assert sent("mistralai", [{"role": "system", "content": "s"}]).body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "[Start a new chat]"},
    ]


def test_tools_of_other_kinds_are_left_out_with_a_warning() -> None:
    request = sent("mistralai", tools=[CLOCK, {"type": "web_search"}])

    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["get_time"]
    assert request.says("web_search", "left out")


@pytest.mark.parametrize(
    ("given", "sent_as"), [("auto", "auto"), ("default", "standard_only"), ("priority", None)]
)
def test_service_tiers_in_mistrals_words(given: str, sent_as: str | None) -> None:
    request = sent("mistralai", params={"service_tier": given})

    assert request.body.get("service_tier") == sent_as
    assert request.says("service_tier") is (sent_as is None)


def test_mistrals_own_parameters_pass() -> None:
    own = {"safe_prompt": True, "prompt_mode": "reasoning", "random_seed": 3, "min_tokens": 2}

    body = sent("mistralai", params=own).body

    assert {name: body[name] for name in own} == own


def test_references_in_the_answer_are_kept_as_citations() -> None:
    chunks = [
        {"type": "text", "text": "Rain"},
        {"type": "reference", "reference_ids": [1, 2]},
        {"type": "text", "text": " falls."},
    ]
    body = {"choices": [{"message": {"content": chunks}, "finish_reason": "stop"}]}

    completion = read("mistralai", body)

    assert completion.text == "Rain falls."
    assert completion.response["choices"][0]["message"]["citations"] == [chunks[1]]
