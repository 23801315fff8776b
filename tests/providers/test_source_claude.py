"""What is special about Claude: its generations, thinking, prefill, and parameters of its own."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import WEATHER, Sent, roles, sent

from chatq_worker.providers.chat_messages import CONTINUE
from for_each import for_each

VERSIONS = {
    "claude-3-opus-20240229": "2023-06-01",
    "claude-3-5-haiku-20241022": "2023-06-01",
    "claude-haiku-4-5-20251001": "2023-06-01",
    "claude-opus-4-7": "2023-06-01",
    "claude-sonnet-5": "2026-10-21",
    "claude-opus-5-5": "2026-10-21",
    "claude-fable-6": "2026-10-21",
    "my-alias": "2023-06-01",
}


def claude(model: str, messages: Any = "Hi", **job: Any) -> Sent:
    return sent("claude", messages, model=model, **job)


@for_each(("model", "version"), VERSIONS.items())
def test_the_version_of_the_api_goes_by_the_model(model: str, version: str) -> None:
    assert claude(model).headers["anthropic-version"] == version


@for_each("model", VERSIONS)
def test_max_tokens_is_always_sent_and_small_enough_for_one_answer(model: str) -> None:
    assert 4096 <= claude(model).body["max_tokens"] <= 21_300


@for_each(
    ("model", "most"),
    [
        ("claude-3-opus-20240229", 4096),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-opus-5-5", 128_000),
    ],
)
def test_a_cap_above_the_models_is_lowered_with_a_warning(model: str, most: int) -> None:
    request = claude(model, params={"max_tokens": 500_000})

    assert request.body["max_tokens"] == most
    assert request.says("max_tokens", str(most))


@for_each(
    "model",
    ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-5-5", "claude-mythos-preview"],
)
@for_each("name", ["temperature", "top_p", "top_k"])
def test_newer_models_get_no_sampling_parameters(model: str, name: str) -> None:
    request = claude(model, params={name: 1})

    assert name not in request.body
    assert request.says(name, "left out")


@for_each("model", ["claude-3-5-haiku-20241022", "claude-sonnet-4-0", "claude-haiku-4-5", "claude-opus-4-6"])
@for_each("name", ["temperature", "top_p", "top_k"])
def test_older_models_get_them(model: str, name: str) -> None:
    assert claude(model, params={name: 1}).body[name] == 1


def test_of_temperature_and_top_p_models_from_opus_4_1_on_take_one() -> None:
    params = {"temperature": 0.5, "top_p": 0.9}

    assert {"temperature", "top_p"} <= set(claude("claude-sonnet-4-0", params=params).body)
    request = claude("claude-haiku-4-5", params=params)
    assert request.body["temperature"] == 0.5
    assert "top_p" not in request.body
    assert request.says("top_p", "left out")


def test_a_temperature_above_1_is_lowered_with_a_warning() -> None:
    request = claude("claude-haiku-4-5", params={"temperature": 1.5})

    assert request.body["temperature"] == 1
    assert request.says("temperature", "0 to 1")


# --- prefill ---

PREFILL = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure, \n"}]


@for_each(
    "model",
    [
        "claude-3-opus-20240229",
        "claude-3-7-sonnet-20250219",
        "claude-sonnet-4-0",
        "claude-haiku-4-5",
        "claude-opus-4-5",
    ],
)
def test_models_up_to_4_5_continue_a_prefill_which_ends_in_no_white_space(model: str) -> None:
    last = claude(model, PREFILL).body["messages"][-1]

    assert last == {"role": "assistant", "content": [{"type": "text", "text": "Sure,"}]}


@for_each("model", ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-7", "claude-opus-5-5", "my-alias"])
def test_later_models_are_asked_to_go_on_instead(model: str) -> None:
    request = claude(model, PREFILL)

    assert roles(request.body["messages"]) == ["user", "assistant", "user"]
    assert request.body["messages"][-1]["content"] == [{"type": "text", "text": CONTINUE}]
    assert request.says("prefill")


def test_a_model_that_thinks_continues_no_prefill() -> None:
    request = claude("claude-haiku-4-5", PREFILL, params={"reasoning_effort": "low"})

    assert request.body["messages"][-1]["role"] == "user"


# --- thinking ---

EFFORTS = [
    ("claude-haiku-4-5", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-haiku-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-haiku-4-5", "medium", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
    ("claude-haiku-4-5", "high", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
    ("claude-haiku-4-5", "none", {}),
    ("claude-opus-4-6", "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    ("claude-opus-4-6", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    (
        "claude-opus-5-5",
        "xhigh",
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
    ),
    (
        "claude-opus-5-5",
        "minimal",
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
    ),
    ("claude-opus-5-5", "none", {}),
    ("claude-3-5-haiku-20241022", "high", {}),
]


@for_each(("model", "effort", "expected"), EFFORTS)
def test_an_effort_becomes_what_the_models_generation_takes(
    model: str, effort: str, expected: dict[str, Any]
) -> None:
    body = claude(model, params={"reasoning_effort": effort}).body

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


def test_a_model_that_does_not_think_says_so() -> None:
    assert claude("claude-3-5-haiku-20241022", params={"reasoning_effort": "high"}).says("reasoning_effort")


def test_a_budget_is_an_effort_for_models_that_refuse_budgets() -> None:
    request = claude("claude-opus-5-5", params={"thinking": {"type": "enabled", "budget_tokens": 4000}})

    assert request.body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert request.body["output_config"] == {"effort": "medium"}
    assert request.says("thinking", "adaptive")


def test_an_effort_is_a_budget_for_models_that_know_no_effort() -> None:
    request = claude(
        "claude-haiku-4-5", params={"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}
    )

    assert request.body["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert request.says("thinking", "budget")


def test_opus_4_6_takes_a_budget_too() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}

    assert claude("claude-opus-4-6", params={"thinking": thinking}).body["thinking"] == thinking


@for_each(("cap", "budget"), [(20_000, 8192), (8192, 4096), (4000, 2000), (1500, 1024), (1025, 1024)])
def test_a_budget_fits_below_the_cap(cap: int, budget: int) -> None:
    body = claude("claude-haiku-4-5", params={"reasoning_effort": "high", "max_tokens": cap}).body

    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (cap, budget)


def test_a_cap_without_room_for_thoughts_leaves_the_thinking_out() -> None:
    request = claude("claude-haiku-4-5", params={"reasoning_effort": "high", "max_tokens": 1024})

    assert "thinking" not in request.body
    assert request.says("thinking", "max_tokens")


def test_while_thinking_no_sampling_and_no_forced_tool() -> None:
    request = claude(
        "claude-haiku-4-5",
        params={"reasoning_effort": "low", "temperature": 0.3, "top_k": 5},
        tools=[WEATHER],
        tool_choice="required",
    )

    assert not {"temperature", "top_k"} & set(request.body)
    assert request.body["tool_choice"] == {"type": "auto"}
    for name in ("temperature", "top_k", "tool_choice"):
        assert request.says(name)


@for_each("model", ["claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-1", "claude-mythos-5-2"])
def test_models_that_cannot_be_made_to_call_a_tool_may_call_it(model: str) -> None:
    request = claude(model, tools=[WEATHER], tool_choice="required")

    assert request.body["tool_choice"] == {"type": "auto"}
    assert request.says("tool_choice", "auto")


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5", "claude-fable-5"])
def test_their_siblings_must(model: str) -> None:
    assert claude(model, tools=[WEATHER], tool_choice="required").body["tool_choice"] == {"type": "any"}


# --- other parameters ---


@pytest.mark.parametrize(
    ("given", "sent_as"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)]
)
def test_service_tiers_in_claudes_words(given: str, sent_as: str | None) -> None:
    request = claude("claude-haiku-4-5", params={"service_tier": given})

    assert request.body.get("service_tier") == sent_as
    assert request.says("service_tier") is (sent_as is None)


def test_of_metadata_the_user_is_taken() -> None:
    request = claude("claude-haiku-4-5", params={"metadata": {"user_id": "u1", "team": "x"}})

    assert request.body["metadata"] == {"user_id": "u1"}
    assert request.says("metadata")


def test_stop_sequences_of_white_space_are_refused_and_left_out() -> None:
    request = claude("claude-haiku-4-5", params={"stop": ["\n", "END"]})

    assert request.body["stop_sequences"] == ["END"]
    assert request.says("stop", "white space")


def test_one_tool_at_a_time() -> None:
    body = claude("claude-haiku-4-5", tools=[WEATHER], params={"parallel_tool_calls": False}).body

    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_tools_of_claudes_own_pass_as_they_are() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}

    assert claude("claude-haiku-4-5", tools=[search]).body["tools"] == [search]


def test_a_schema_is_asked_for_in_words_of_models_that_take_none() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}

    request = claude("claude-sonnet-4-0", response_format=wanted)

    assert "output_config" not in request.body
    assert '{"type":"object"}' in request.body["system"][0]["text"]
