"""What is special about Cohere: its ranges, two words of tool choice, and what does not go together."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import CLOCK, WEATHER, sent

from for_each import for_each


@for_each(
    ("name", "value", "key", "given"),
    [
        ("top_p", 1, "p", 0.99),
        ("top_p", 0, "p", 0.01),
        ("top_k", 1000, "k", 500),
        ("presence_penalty", -1, "presence_penalty", 0),
        ("frequency_penalty", 1.5, "frequency_penalty", 1),
    ],
)
def test_a_number_out_of_range_is_the_nearest_one_with_a_warning(
    name: str, value: float, key: str, given: float
) -> None:
    request = sent("cohere", params={name: value})

    assert request.body[key] == given
    assert request.says(name, "Cohere takes")


def test_more_than_five_stops_are_cut_with_a_warning() -> None:
    request = sent("cohere", params={"stop": list("abcdef")})

    assert request.body["stop_sequences"] == list("abcde")
    assert request.says("stop", "5")


@for_each("model", ["command-r", "command-r-plus", "command-r-08-2024", "command-r-plus-08-2024"])
def test_models_before_command_r7b_get_no_tool_choice(model: str) -> None:
    request = sent("cohere", model=model, tools=[WEATHER], tool_choice="required")

    assert "tool_choice" not in request.body
    assert request.says("tool_choice", "left out")


def test_for_them_no_tool_is_to_be_called_when_none_is_offered() -> None:
    assert "tools" not in sent("cohere", model="command-r", tools=[WEATHER], tool_choice="none").body


@pytest.mark.parametrize("model", ["command-r7b-12-2024", "command-a-03-2025"])
def test_later_models_get_it(model: str) -> None:
    assert sent("cohere", model=model, tools=[WEATHER], tool_choice="none").body["tool_choice"] == "NONE"


def test_a_function_always_has_parameters() -> None:
    (tool,) = sent("cohere", tools=[CLOCK]).body["tools"]

    assert tool["function"] == {"name": "get_time", "parameters": {"type": "object", "properties": {}}}


def test_strict_functions_are_strict_tools() -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}

    body = sent("cohere", tools=[strict]).body

    assert body["strict_tools"] is True
    assert "strict" not in body["tools"][0]["function"]


@pytest.mark.parametrize("beside", [{"tools": [WEATHER]}, {"params": {"documents": ["Rain falls."]}}])
def test_neither_a_format_nor_a_safety_mode_goes_together_with_tools_or_documents(
    beside: dict[str, Any],
) -> None:
    params = {**beside.get("params", {}), "safety_mode": "STRICT"}

    request = sent("cohere", **{**beside, "params": params}, response_format={"type": "json_object"})

    assert not {"response_format", "safety_mode"} & set(request.body)
    assert request.says("response_format", "left out")
    assert request.says("safety_mode", "left out")


@for_each(
    ("params", "thinking"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "low"}, {"type": "enabled", "token_budget": 1024}),
        ({"reasoning_effort": "high"}, {"type": "enabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, {"type": "enabled", "token_budget": 99}),
    ],
)
def test_thinking_in_coheres_words(params: dict[str, Any], thinking: dict[str, Any]) -> None:
    assert sent("cohere", model="command-a-plus-05-2026", params=params).body["thinking"] == thinking


def test_a_plan_that_came_with_an_answer_goes_back_as_a_plan() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_plan": "I will look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ]

    assert sent("cohere", history).body["messages"][1]["tool_plan"] == "I will look."


def test_messages_hold_no_key_that_cohere_does_not_know() -> None:
    messages = [{"role": "user", "content": "q", "mood": "good"}]

    assert sent("cohere", messages).body["messages"] == [{"role": "user", "content": "q"}]
