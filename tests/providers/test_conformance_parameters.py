"""One suite for all sources: what each parameter becomes, source by source."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_tables import each, shared
from provider_testing import SOURCES, WEATHER, sent

from for_each import for_each

LEFT_OUT = object()
"""Nothing is sent, and a warning names the parameter."""


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


@for_each(
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


@for_each("source", SOURCES)
def test_a_null_parameter_is_one_that_was_not_given(source: str) -> None:
    assert sent(source, params={"temperature": None, "seed": None, "stop": None}) == sent(source)


@for_each("source", SOURCES)
def test_streaming_is_left_out_because_a_queued_job_is_answered_as_a_whole(source: str) -> None:
    request = sent(source, params={"stream": True, "stream_options": {"include_usage": True}})

    assert request.body == sent(source).body
    assert request.warnings == ["stream was left out: a queued job is answered as a whole."]


@for_each("source", SOURCES)
def test_nobody_is_warned_of_a_stream_that_was_not_asked_for(source: str) -> None:
    assert sent(source, params={"stream": False}).warnings == []


@for_each("source", SOURCES)
def test_tools_and_formats_may_stand_among_the_parameters(source: str) -> None:
    among = {"tools": [WEATHER], "tool_choice": "auto"}

    assert sent(source, params=among).body == sent(source, **among).body


@for_each("source", SOURCES)
def test_the_newer_cap_counts_when_both_are_given(source: str) -> None:
    request = sent(source, params={"max_tokens": 10, "max_completion_tokens": 20})

    assert request.body == sent(source, params={"max_tokens": 20}).body
    assert request.says("max_tokens", "left out")
