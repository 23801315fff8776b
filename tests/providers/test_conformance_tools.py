"""One suite for all sources: what tools, choices among them and formats of answers become, source by source."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_tables import each, said, shared
from provider_testing import CLOCK, SOURCES, WEATHER, sent

from for_each import for_each

# --- tools ---

FUNCTION = WEATHER["function"]
FLAT = {"type": "function", **FUNCTION}
TOOLS = shared(
    WEATHER,
    claude={
        "name": "get_weather",
        "description": FUNCTION["description"],
        "input_schema": FUNCTION["parameters"],
    },
    perplexity=FLAT,
)


@for_each(("source", "expected"), each(TOOLS))
def test_a_tool_on_offer(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, tools=[WEATHER])

    assert request.body["tools"] == [expected]
    assert "tool_choice" not in request.body
    assert request.warnings == []


CALLS = [
    {
        "id": "Ab3dE6gH9",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
    }
]
HISTORY = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": CALLS},
    {"role": "tool", "tool_call_id": "Ab3dE6gH9", "content": '{"c": 4}'},
]


def history(**turn: Any) -> dict[str, Any]:
    return {"messages": [HISTORY[0], {"role": "assistant", "tool_calls": CALLS, **turn}, HISTORY[2]]}


TOOL_HISTORY = {
    **{source: {"messages": HISTORY} for source in ("openai", "fireworks", "electronhub", "custom", "ai21")},
    "mistralai": history(content=""),
    "deepseek": history(content="", reasoning_content=" "),
    "cohere": history(tool_plan="I'm going to call a tool for that: get_weather"),
    "claude": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "Ab3dE6gH9", "name": "get_weather", "input": {"city": "Oslo"}}
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "Ab3dE6gH9", "content": '{"c": 4}'}],
            },
        ]
    },
    "perplexity": {
        "input": [
            {"role": "user", "content": "Weather?"},
            {
                "type": "function_call",
                "call_id": "Ab3dE6gH9",
                "name": "get_weather",
                "arguments": '{"city":"Oslo"}',
            },
            {"type": "function_call_output", "call_id": "Ab3dE6gH9", "output": '{"c": 4}'},
        ]
    },
}


@for_each(("source", "expected"), each(TOOL_HISTORY))
def test_a_tool_call_and_its_result_in_the_history(source: str, expected: dict[str, Any]) -> None:
    assert said(sent(source, HISTORY, tools=[WEATHER]).body) == expected


NAMES_WEATHER = {"type": "function", "function": {"name": "get_weather"}}
CHOICES: dict[str, dict[str, Any]] = {
    "none": shared("none", claude={"type": "none"}, cohere="NONE", perplexity="none"),
    "auto": shared("auto", claude={"type": "auto"}, cohere=None, perplexity="auto"),
    "required": shared("required", claude={"type": "any"}, cohere="REQUIRED", perplexity="required"),
    "any": shared(
        "required",
        claude={"type": "any"},
        cohere="REQUIRED",
        perplexity="required",
        # They know the word, and custom servers get what the job says.
        mistralai="any",
        fireworks="any",
        custom="any",
    ),
    "function": shared(
        NAMES_WEATHER,
        claude={"type": "tool", "name": "get_weather"},
        perplexity={"type": "function", "name": "get_weather"},
        # These can demand a call, and not of which function: the others are not offered.
        cohere="REQUIRED",
        ai21="required",
    ),
}


@for_each(
    ("form", "source", "expected"),
    [
        pytest.param(form, *row.values, id=f"{form}-{row.id}")
        for form, table in CHOICES.items()
        for row in each(table)
    ],
)
def test_tool_choice_in_every_form(form: str, source: str, expected: Any) -> None:
    wanted = NAMES_WEATHER if form == "function" else form

    request = sent(source, tools=[WEATHER, CLOCK], tool_choice=wanted)

    assert request.body.get("tool_choice") == expected
    one_offered = form == "function" and source in ("cohere", "ai21")
    assert len(request.body["tools"]) == (1 if one_offered else 2)


@for_each("source", [source for source in SOURCES if source != "custom"])
def test_a_tool_choice_without_tools_is_not_sent(source: str) -> None:
    assert "tool_choice" not in sent(source, tool_choice="required").body


# --- response_format ---

SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "line", "schema": SCHEMA}}
JSON_OBJECT = {"type": "json_object"}
IN_WORDS = "IN_WORDS"


SCHEMAS = shared(
    {"response_format": JSON_SCHEMA},
    cohere={"response_format": {"type": "json_object", "json_schema": SCHEMA}},
    claude={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    perplexity={"response_format": JSON_SCHEMA},
    deepseek={"response_format": JSON_OBJECT, IN_WORDS: True},
    ai21={"response_format": JSON_OBJECT, IN_WORDS: True},
)


@for_each(("source", "expected"), each(SCHEMAS))
def test_a_json_schema(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, "Rain as JSON.", response_format=JSON_SCHEMA)

    wanted = dict(expected)
    in_words = wanted.pop(IN_WORDS, False)
    assert {name: request.body.get(name) for name in wanted} == wanted
    assert ('"title"' in str(said(request.body))) is in_words
    assert request.says("response_format json_schema") is in_words


OBJECTS = shared(
    {"response_format": JSON_OBJECT},
    claude={IN_WORDS: True},
    perplexity={IN_WORDS: True},
)


@for_each(("source", "expected"), each(OBJECTS))
def test_json_mode(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, "Rain as JSON.", response_format=JSON_OBJECT)

    wanted = dict(expected)
    in_words = wanted.pop(IN_WORDS, False)
    assert {name: request.body.get(name) for name in wanted} == wanted
    assert ("Answer with one JSON object" in str(said(request.body))) is in_words
    assert request.says("response_format json_object") is in_words


@for_each("source", ["openai", "mistralai", "deepseek", "cohere"])
def test_json_mode_puts_the_word_into_a_prompt_that_lacks_it_where_the_source_demands_it(source: str) -> None:
    request = sent(source, "Rain.", response_format=JSON_OBJECT)

    assert request.body["messages"][0] == {
        "role": "system",
        "content": "Answer with one JSON object and nothing else.",
    }
    assert request.says("JSON", "added")
