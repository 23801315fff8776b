"""What is special about DeepSeek: it thinks by default, continues prefixes on /beta, and reads plain texts."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import PNG, connection, sent

from for_each import for_each

PREFIX = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure,"}]


@for_each(
    ("base", "url"),
    [
        (None, "https://api.deepseek.com/beta/chat/completions"),
        ("https://api.deepseek.com/v1", "https://api.deepseek.com/beta/chat/completions"),
        ("https://api.deepseek.com/beta", "https://api.deepseek.com/beta/chat/completions"),
        ("http://gateway.test/deepseek", "http://gateway.test/deepseek/beta/chat/completions"),
    ],
)
def test_a_prefix_is_sent_to_the_beta_base(base: str | None, url: str) -> None:
    request = sent("deepseek", PREFIX, to=connection("deepseek", url=base))

    assert request.url == url
    assert request.body["messages"][-1] == {"role": "assistant", "content": "Sure,", "prefix": True}


THINKING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
    ({"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ({"reasoning_effort": "minimal"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
    ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
    ({"reasoning_effort": "medium"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
    ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
    ({"reasoning_effort": "xhigh"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
    ({"reasoning_effort": "max"}, {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {"thinking": {"type": "enabled"}}),
    ({"thinking": {"type": "adaptive"}}, {}),
]


@for_each(("params", "expected"), THINKING)
def test_thinking_in_deepseeks_words(params: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent("deepseek", params=params).body

    assert {name: body[name] for name in ("thinking", "reasoning_effort") if name in body} == expected


SAMPLING = {"temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5}


def test_sampling_is_left_out_while_it_thinks_because_it_would_be_ignored() -> None:
    request = sent("deepseek", params=SAMPLING)

    assert not set(SAMPLING) & set(request.body)
    assert all(request.says(name, "thinks") for name in SAMPLING)


@pytest.mark.parametrize(
    "job",
    [
        {"params": {**SAMPLING, "thinking": {"type": "disabled"}}},
        {"params": SAMPLING, "model": "deepseek-chat"},
    ],
)
def test_sampling_is_sent_when_it_does_not_think(job: dict[str, Any]) -> None:
    request = sent("deepseek", **job)

    assert {name: request.body[name] for name in SAMPLING} == SAMPLING
    assert request.warnings == []


def test_the_mode_semi_tools_is_applied_after_the_jobs_own() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "system", "content": "c"},
    ]

    assert sent("deepseek", messages).body["messages"] == [{"role": "user", "content": "a\n\nb\n\nc"}]


def test_images_go_to_models_that_see_and_are_left_out_for_others() -> None:
    part = {"type": "image_url", "image_url": {"url": PNG}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "See"}, part]}]

    sees, blind = sent("deepseek", messages), sent("deepseek", messages, model="deepseek-v4-pro")

    assert sees.body["messages"][0]["content"] == messages[0]["content"]
    assert blind.body["messages"][0]["content"] == "See"
    assert blind.says("image_url", "left out")


def test_tools_of_other_kinds_are_left_out_with_a_warning() -> None:
    request = sent(
        "deepseek", tools=[{"type": "web_search"}, {"type": "function", "function": {"name": "f"}}]
    )

    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["f"]
    assert request.says("web_search", "left out")
