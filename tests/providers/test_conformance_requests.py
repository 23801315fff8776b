"""One suite for all sources: what becomes of each thing that a job can say, source by source.

The tables: a thing, and for each source what its request holds for it. `LEFT_OUT` means that nothing is sent, and a
warning names the thing.
"""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import CLOCK, KEY, PNG, SOURCES, WEATHER, connection, sent

from chatq_worker.prompts import Names

LEFT_OUT = object()

OPENAI_SHAPED = ("openai", "mistralai", "deepseek", "ai21", "fireworks", "electronhub", "custom")


def each(table: dict[str, Any]) -> list[Any]:
    """A row for each source; a table without all ten is a hole in the suite."""
    assert set(table) == set(SOURCES)
    return [pytest.param(source, expected, id=source) for source, expected in table.items()]


def shared(expected: Any, **others: Any) -> dict[str, Any]:
    """The same for the sources of OpenAI's shape (and Cohere, unless it is among the others)."""
    return {**dict.fromkeys((*OPENAI_SHAPED, "cohere"), expected), **others}


def said(body: dict[str, Any]) -> dict[str, Any]:
    """What a body says to the model, in the source's own shape."""
    return {name: body[name] for name in ("messages", "system", "input", "instructions") if name in body}


# --- keys and addresses ---

HEADERS = {
    **{
        source: {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        for source in SOURCES
        if source not in ("claude", "cohere")
    },
    "claude": {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"},
    "cohere": {
        "authorization": f"Bearer {KEY}",
        "x-client-name": "chatq",
        "content-type": "application/json",
    },
}


@pytest.mark.parametrize(("source", "headers"), each(HEADERS))
def test_the_key_travels_in_the_sources_own_header(source: str, headers: dict[str, str]) -> None:
    assert sent(source).headers == headers


@pytest.mark.parametrize("source", SOURCES)
def test_without_a_key_no_header_carries_one(source: str) -> None:
    assert not {"authorization", "x-api-key"} & set(sent(source, key=None).headers)


ELSEWHERE = {
    "openai": "http://gateway.test/v1/chat/completions",
    "claude": "http://gateway.test/v1/messages",
    "mistralai": "http://gateway.test/v1/chat/completions",
    "deepseek": "http://gateway.test/v1/chat/completions",
    "ai21": "http://gateway.test/v1/chat/completions",
    "cohere": "http://gateway.test/v2/chat",
    "perplexity": "http://gateway.test/v1/agent",
    "fireworks": "http://gateway.test/v1/chat/completions",
    "electronhub": "http://gateway.test/v1/chat/completions",
    "custom": "http://gateway.test/v1/chat/completions",
}


@pytest.mark.parametrize(("source", "url"), each(ELSEWHERE))
def test_another_base_url_is_joined_without_doubling_its_version(source: str, url: str) -> None:
    assert sent(source, to=connection(source, url="http://gateway.test/v1")).url == url


# --- messages ---

PLAIN = shared(
    {"messages": [{"role": "user", "content": "Hi"}]},
    claude={"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    perplexity={"input": "Hi"},
)


@pytest.mark.parametrize(("source", "expected"), each(PLAIN))
def test_plain_text(source: str, expected: dict[str, Any]) -> None:
    request = sent(source)

    assert said(request.body) == expected
    assert request.warnings == []


SYSTEM = shared(
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    claude={
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    },
    perplexity={"instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}]},
)


@pytest.mark.parametrize(("source", "expected"), each(SYSTEM))
def test_what_the_system_says(source: str, expected: dict[str, Any]) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    assert said(sent(source, messages).body) == expected


DEVELOPER = SYSTEM | {
    source: {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    for source in ("openai", "electronhub", "custom")
}


@pytest.mark.parametrize(("source", "expected"), each(DEVELOPER))
def test_a_developer_is_the_system_where_openais_word_is_not_known(source: str, expected: Any) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    assert said(sent(source, messages).body) == expected


def with_image(url: str) -> list[dict[str, Any]]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}],
        }
    ]


def images(data_source: dict[str, Any], url: str) -> dict[str, Any]:
    return shared(
        {"messages": with_image(url)},
        ai21={"messages": [{"role": "user", "content": "See"}]},
        claude={
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "See"}, {"type": "image", "source": data_source}],
                }
            ]
        },
        perplexity={
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See"},
                        {"type": "input_image", "image_url": url},
                    ],
                }
            ]
        },
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    each(images({"type": "base64", "media_type": "image/png", "data": "AAA1"}, PNG)),
)
def test_an_image_inside_the_message(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, with_image(PNG))

    assert said(request.body) == expected
    assert request.says("image_url") is (source == "ai21")


@pytest.mark.parametrize(
    ("source", "expected"),
    each(images({"type": "url", "url": "https://x.test/a.png"}, "https://x.test/a.png")),
)
def test_an_image_on_the_web(source: str, expected: dict[str, Any]) -> None:
    assert said(sent(source, with_image("https://x.test/a.png")).body) == expected


NAMED = shared(
    {"messages": [{"role": "user", "content": "Bob: Hi"}]},
    claude={"messages": [{"role": "user", "content": [{"type": "text", "text": "Bob: Hi"}]}]},
    perplexity={"input": "Bob: Hi"},
    **{
        source: {"messages": [{"role": "user", "name": "Bob", "content": "Hi"}]}
        for source in ("openai", "electronhub", "custom")
    },
)


@pytest.mark.parametrize(("source", "expected"), each(NAMED))
def test_a_speakers_name_is_written_into_the_text_where_there_is_no_field_for_it(
    source: str, expected: dict[str, Any]
) -> None:
    request = sent(source, [{"role": "user", "name": "Bob", "content": "Hi"}], names=Names(user="Bob"))

    assert said(request.body) == expected


@pytest.mark.parametrize("source", SOURCES)
def test_an_answer_that_was_sent_back_as_it_came_holds_nothing_that_a_source_refuses(source: str) -> None:
    came = {
        "role": "assistant",
        "content": "Hello.",
        "annotations": [],
        "citations": ["https://x.test"],
        "tool_calls": None,
    }

    text = str(
        sent(source, [{"role": "user", "content": "Hi"}, came, {"role": "user", "content": "More."}]).body
    )

    assert "Hello." in text
    if source != "custom":  # its messages go out as they are
        assert "citations" not in text
        assert "annotations" not in text
        assert "tool_calls" not in text


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


@pytest.mark.parametrize(("source", "expected"), each(TOOLS))
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


@pytest.mark.parametrize(("source", "expected"), each(TOOL_HISTORY))
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "custom"])
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


@pytest.mark.parametrize(("source", "expected"), each(SCHEMAS))
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


@pytest.mark.parametrize(("source", "expected"), each(OBJECTS))
def test_json_mode(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, "Rain as JSON.", response_format=JSON_OBJECT)

    wanted = dict(expected)
    in_words = wanted.pop(IN_WORDS, False)
    assert {name: request.body.get(name) for name in wanted} == wanted
    assert ("Answer with one JSON object" in str(said(request.body))) is in_words
    assert request.says("response_format json_object") is in_words


@pytest.mark.parametrize("source", ["openai", "mistralai", "deepseek", "cohere"])
def test_json_mode_puts_the_word_into_a_prompt_that_lacks_it_where_the_source_demands_it(source: str) -> None:
    request = sent(source, "Rain.", response_format=JSON_OBJECT)

    assert request.body["messages"][0] == {
        "role": "system",
        "content": "Answer with one JSON object and nothing else.",
    }
    assert request.says("JSON", "added")


# --- parameters ---

SAME = object()

PARAMETERS: list[tuple[str, Any, dict[str, Any]]] = [
    # (OpenAI's word, a value): what each source gets, as {its word: value}
    (
        "max_tokens",
        64,
        shared(
            {"max_tokens": 64},
            openai={"max_completion_tokens": 64},
            claude={"max_tokens": 64},
            perplexity={"max_output_tokens": 64},
        ),
    ),
    (
        "max_completion_tokens",
        64,
        shared(
            {"max_tokens": 64},
            openai={"max_completion_tokens": 64},
            claude={"max_tokens": 64},
            perplexity={"max_output_tokens": 64},
        ),
    ),
    ("temperature", 0.5, shared({"temperature": 0.5}, claude=SAME, perplexity=SAME, deepseek=LEFT_OUT)),
    (
        "top_p",
        0.5,
        shared({"top_p": 0.5}, claude=SAME, perplexity=SAME, cohere={"p": 0.5}, deepseek=LEFT_OUT),
    ),
    (
        "top_k",
        40,
        shared(
            {"top_k": 40},
            openai=LEFT_OUT,
            claude=SAME,
            deepseek=LEFT_OUT,
            ai21=LEFT_OUT,
            cohere={"k": 40},
            perplexity=LEFT_OUT,
        ),
    ),
    (
        "stop",
        ["END"],
        shared(
            {"stop": ["END"]},
            claude={"stop_sequences": ["END"]},
            cohere={"stop_sequences": ["END"]},
            perplexity=LEFT_OUT,
        ),
    ),
    (
        "seed",
        7,
        shared(
            {"seed": 7}, claude=LEFT_OUT, mistralai={"random_seed": 7}, deepseek=LEFT_OUT, perplexity=LEFT_OUT
        ),
    ),
    (
        "presence_penalty",
        0.5,
        shared(
            {"presence_penalty": 0.5}, claude=LEFT_OUT, deepseek=LEFT_OUT, ai21=LEFT_OUT, perplexity=LEFT_OUT
        ),
    ),
    (
        "frequency_penalty",
        0.5,
        shared(
            {"frequency_penalty": 0.5}, claude=LEFT_OUT, deepseek=LEFT_OUT, ai21=LEFT_OUT, perplexity=LEFT_OUT
        ),
    ),
    ("n", 2, shared({"n": 2}, claude=LEFT_OUT, deepseek=LEFT_OUT, cohere=LEFT_OUT, perplexity=LEFT_OUT)),
    ("logprobs", True, shared({"logprobs": True}, claude=LEFT_OUT, ai21=LEFT_OUT, perplexity=LEFT_OUT)),
    (
        "logit_bias",
        {"50256": -100},
        shared(
            {"logit_bias": {"50256": -100}},
            claude=LEFT_OUT,
            mistralai=LEFT_OUT,
            deepseek=LEFT_OUT,
            ai21=LEFT_OUT,
            cohere=LEFT_OUT,
            perplexity=LEFT_OUT,
        ),
    ),
    (
        "user",
        "u1",
        shared(
            {"user": "u1"},
            claude={"metadata": {"user_id": "u1"}},
            mistralai=LEFT_OUT,
            deepseek={"user_id": "u1"},
            ai21=LEFT_OUT,
            cohere=LEFT_OUT,
            perplexity=LEFT_OUT,
        ),
    ),
    (
        "reasoning_effort",
        "low",
        shared(
            {"reasoning_effort": "low"},
            openai=LEFT_OUT,  # gpt-4o-mini does not reason
            claude={"thinking": {"type": "enabled", "budget_tokens": 1024}},
            deepseek={"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
            ai21=LEFT_OUT,
            cohere=LEFT_OUT,  # command-a-03-2025 does not think
            perplexity={"reasoning": {"effort": "low"}},
        ),
    ),
    (
        "parallel_tool_calls",
        False,
        shared(
            LEFT_OUT,
            claude=LEFT_OUT,
            perplexity=LEFT_OUT,
            electronhub=LEFT_OUT,
            custom=SAME,
        ),
    ),
    (
        "made_up_parameter",
        1,
        shared(
            LEFT_OUT,
            claude=LEFT_OUT,
            perplexity=LEFT_OUT,
            # What they take is not known, or not limited.
            electronhub=SAME,
            custom=SAME,
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "source", "expected"),
    [
        pytest.param(name, value, *row.values, id=f"{name}-{row.id}")
        for name, value, table in PARAMETERS
        for row in each(table)
    ],
)
def test_each_parameter_is_translated_or_left_out_with_a_warning_that_names_it(
    name: str, value: Any, source: str, expected: Any
) -> None:
    bare, request = sent(source), sent(source, params={name: value})

    added = {key: found for key, found in request.body.items() if bare.body.get(key) != found}
    if expected is LEFT_OUT:
        assert added == {}
        assert request.says(name, "left out")
    else:
        assert added == ({name: value} if expected is SAME else expected)
        assert request.warnings == []


@pytest.mark.parametrize("source", SOURCES)
def test_a_null_parameter_is_one_that_was_not_given(source: str) -> None:
    assert sent(source, params={"temperature": None, "seed": None, "stop": None}) == sent(source)


@pytest.mark.parametrize("source", SOURCES)
def test_streaming_is_left_out_because_a_queued_job_is_answered_as_a_whole(source: str) -> None:
    request = sent(source, params={"stream": True, "stream_options": {"include_usage": True}})

    assert request.body == sent(source).body
    assert request.warnings == ["stream was left out: a queued job is answered as a whole."]


@pytest.mark.parametrize("source", SOURCES)
def test_nobody_is_warned_of_a_stream_that_was_not_asked_for(source: str) -> None:
    assert sent(source, params={"stream": False}).warnings == []


@pytest.mark.parametrize("source", SOURCES)
def test_tools_and_formats_may_stand_among_the_parameters(source: str) -> None:
    among = {"tools": [WEATHER], "tool_choice": "auto"}

    assert sent(source, params=among).body == sent(source, **among).body


@pytest.mark.parametrize("source", SOURCES)
def test_the_newer_cap_counts_when_both_are_given(source: str) -> None:
    request = sent(source, params={"max_tokens": 10, "max_completion_tokens": 20})

    assert request.body == sent(source, params={"max_tokens": 20}).body
    assert request.says("max_tokens", "left out")


# --- and nothing else ---

NEEDED = {
    **{source: {"model", "messages"} for source in SOURCES},
    "claude": {"model", "messages", "max_tokens"},
    "cohere": {"model", "messages", "stream"},
    "ai21": {"model", "messages", "stream"},
    "perplexity": {"model", "input"},
}


@pytest.mark.parametrize(("source", "keys"), each(NEEDED))
def test_nothing_is_sent_that_neither_the_job_said_nor_the_source_needs(source: str, keys: set[str]) -> None:
    assert set(sent(source).body) == keys
