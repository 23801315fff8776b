"""Every sample exchange that is a success: what its answer is read as."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from provider_testing import answer, connection
from wire_readings import SAMPLES, cases, read

from chatq_worker.providers import ADAPTERS, Usage
from for_each import for_each


class Reading(NamedTuple):
    """What a sample says; None where it says nothing."""

    text: str
    finish: str
    usage: tuple[int, int]
    cached: int | None = None
    thought: int | None = None
    reasoning: str | None = None
    call: str | None = None
    """The id of the one tool call, get_weather for Oslo."""
    native: str | None = None
    cost: float | None = None
    model: str | None = None
    warnings: int = 0


ALL_NIGHT = "Rain taps the roof all night."
ROOF = "Rain taps the roof."
JSON = '{"title":"Rain","score":4}'
OSLO = "4 C in Oslo."
THOUGHT = "One line about rain."
WATER = "Rain is water. [1]"

READINGS: dict[str, dict[str, Reading]] = {
    "openai": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9), 0, 0, model="gpt-4o-mini-2024-07-18"),
        "chat_tool_call": Reading("", "tool_calls", (60, 15), 0, 0, call="call_sampleA1"),
        "chat_tool_result": Reading(OSLO, "stop", (80, 7), 0, 0),
        "chat_reasoning": Reading(ROOF, "stop", (20, 210), 0, 192),
        "chat_json_schema": Reading(JSON, "stop", (55, 12), 0, 0),
        "chat_n2_logprobs_cached": Reading("Rain", "length", (1500, 8), 1408, 0),
        "chat_refusal": Reading("I can't help with that.", "stop", (20, 7), 0, 0),
    },
    "claude": {
        "chat_text": Reading(
            ALL_NIGHT, "stop", (21, 10), 0, native="end_turn", model="claude-haiku-4-5-20251001"
        ),
        "chat_text_2026_10_21": Reading(ALL_NIGHT, "stop", (1203, 10), 1200, native="end_turn"),
        "chat_tool_call": Reading(
            "I will look.", "tool_calls", (380, 54), 0, call="toolu_sampleA1", native="tool_use"
        ),
        "chat_tool_result": Reading(OSLO, "stop", (430, 9), 0, native="end_turn"),
        "chat_reasoning": Reading(ROOF, "stop", (40, 60), 0, 40, THOUGHT, native="end_turn"),
        "chat_reasoning_adaptive": Reading(ROOF, "stop", (40, 60), 0, native="end_turn"),
        "chat_json_schema": Reading(JSON, "stop", (20, 10), 0, native="end_turn"),
        "chat_prefill": Reading(" taps the roof.", "stop", (20, 10), 0, native="end_turn"),
        "chat_stop_sequence": Reading("Rain", "stop", (20, 10), 0, native="stop_sequence"),
        "chat_max_tokens": Reading("Rain taps", "length", (20, 10), 0, native="max_tokens"),
        "chat_refusal": Reading("", "content_filter", (20, 10), 0, native="refusal", warnings=1),
    },
    "mistralai": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9)),
        "chat_tool_call": Reading("", "tool_calls", (21, 9), call="Ab3dE6gH9"),
        "chat_tool_result": Reading(OSLO, "stop", (21, 9)),
        "chat_reasoning": Reading(ROOF, "stop", (21, 9), reasoning=THOUGHT),
        "chat_prefix": Reading(ROOF, "stop", (21, 9)),
        "chat_json_schema": Reading(JSON, "stop", (21, 9)),
        "chat_length": Reading("Rain taps", "length", (21, 9)),
    },
    "deepseek": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9), 0),
        "chat_tool_call": Reading("", "tool_calls", (160, 20), 128, call="call_00_sample"),
        "chat_reasoning": Reading(ROOF, "stop", (20, 60), 0, 48, THOUGHT),
        "chat_tool_result": Reading(OSLO, "stop", (190, 20), 128, 8, "It is 4."),
        "chat_prefix_beta": Reading(" taps the roof.", "stop", (21, 9), 0),
        "chat_json_object": Reading(JSON, "stop", (21, 9), 0),
        "chat_length": Reading("Rain taps", "length", (21, 9), 0),
    },
    "ai21": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9), model="jamba-mini"),
        "chat_tool_call": Reading("", "tool_calls", (21, 9), call="chatcmpl-tool-sample"),
        "chat_tool_result": Reading(OSLO, "stop", (21, 9)),
        "chat_json_object": Reading(JSON, "stop", (21, 9)),
        "chat_length": Reading("Rain taps", "length", (21, 9)),
    },
    "cohere": {
        "chat_text": Reading(ALL_NIGHT, "stop", (82, 11), 0, native="COMPLETE"),
        "chat_tool_call": Reading(
            "",
            "tool_calls",
            (82, 11),
            0,
            reasoning="I will look up the weather.",
            call="get_weather_sample1",
            native="TOOL_CALL",
        ),
        "chat_tool_result": Reading(OSLO, "stop", (82, 11), 0, native="COMPLETE"),
        "chat_reasoning": Reading(ROOF, "stop", (82, 11), 0, reasoning=THOUGHT, native="COMPLETE"),
        "chat_json_schema": Reading(JSON, "stop", (82, 11), 0, native="COMPLETE"),
        "chat_max_tokens": Reading("Rain taps", "length", (82, 11), 0, native="MAX_TOKENS"),
    },
    "perplexity": {
        "chat_text_with_search": Reading(WATER, "stop", (420, 30), 0, native="completed", cost=0.00554),
        "chat_text": Reading(ROOF, "stop", (420, 30), 0, native="completed", cost=0.00554),
        "chat_preset": Reading(WATER, "stop", (420, 30), 0, native="completed", cost=0.00554),
        "chat_tool_call": Reading(
            "", "tool_calls", (420, 30), 0, call="call_sample1", native="requires_action", cost=0.00554
        ),
        "chat_tool_result": Reading(OSLO, "stop", (420, 30), 0, native="completed", cost=0.00554),
        "chat_json_schema": Reading(JSON, "stop", (420, 30), 0, native="completed", cost=0.00554),
        "sonar_legacy_chat": Reading(WATER, "stop", (14, 9), cost=0.00614),
        "sonar_legacy_reasoning": Reading(WATER, "stop", (14, 9), None, 6, THOUGHT, cost=0.00614),
        "sonar_legacy_length": Reading("Rain is", "length", (14, 9), cost=0.00614),
        "sonar_legacy_json_schema": Reading(JSON, "stop", (14, 9), cost=0.00614),
    },
    "fireworks": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9), 0),
        "chat_tool_call": Reading("", "tool_calls", (21, 9), 0, call="call_sampleA1"),
        "chat_tool_result": Reading(OSLO, "stop", (21, 9), 0),
        "chat_reasoning": Reading(ROOF, "stop", (21, 9), 0, reasoning=THOUGHT),
        "chat_json_schema": Reading(JSON, "stop", (21, 9), 0),
        "chat_length": Reading("Rain taps", "length", (21, 9), 0),
    },
    "electronhub": {
        "chat_text": Reading(ALL_NIGHT, "stop", (21, 9)),
        "chat_tool_call": Reading("", "tool_calls", (21, 9), call="call_sampleA1"),
        "chat_reasoning": Reading(ROOF, "stop", (21, 9), reasoning=THOUGHT),
        "chat_reasoning_excluded": Reading(ROOF, "stop", (21, 9)),
        "chat_length": Reading("Rain taps", "length", (21, 9)),
    },
    "custom": {
        "lmstudio_chat_text": Reading(ROOF, "stop", (21, 9)),
        "litellm_chat_text": Reading(ROOF, "stop", (21, 9), cost=0.00001),
        "localai_chat_text": Reading(ROOF, "stop", (21, 9)),
        "tabbyapi_chat_text": Reading(ROOF, "stop", (21, 9), model="Meta-Llama-3-8B-exl3"),
        "oobabooga_chat_text": Reading(ROOF, "stop", (21, 9)),
        "aphrodite_chat_text": Reading(ROOF, "stop", (21, 9)),
        "llamacpp_chat_reasoning": Reading(ROOF, "stop", (21, 9), reasoning=THOUGHT),
        "vllm_chat_reasoning": Reading(ROOF, "stop", (21, 9), reasoning=THOUGHT, model="Qwen/Qwen3-8B"),
        "vllm_chat_tool_call": Reading("", "tool_calls", (21, 9), call="chatcmpl-tool-sample"),
        "ollama_chat_text": Reading(ROOF, "stop", (21, 9)),
        "ollama_chat_reasoning": Reading(ROOF, "stop", (21, 9), reasoning=THOUGHT),
    },
}

MODELS: dict[tuple[str, str], list[str]] = {
    ("openai", "model_list"): ["gpt-4o-mini", "gpt-5.2"],
    ("claude", "model_list"): ["claude-opus-5-5", "claude-haiku-4-5-20251001"],
    ("mistralai", "model_list"): ["mistral-small-2603"],
    ("deepseek", "model_list"): ["deepseek-flash", "deepseek-v4-pro"],
    ("ai21", "model_list"): ["jamba-mini", "jamba-large"],
    ("ai21", "model_list_without_key"): [],
    ("cohere", "model_list"): ["command-a-03-2025"],
    ("perplexity", "model_list"): ["perplexity/sonar", "openai/gpt-5.2"],
    ("fireworks", "model_list"): ["accounts/fireworks/models/deepseek-v4-pro"],
    ("electronhub", "model_list"): ["gpt-4o", "claude-sonnet-4-6"],
    ("custom", "vllm_model_list"): ["Qwen/Qwen3-8B"],
    ("custom", "ollama_model_list"): ["llama3.2:latest"],
    ("custom", "lmstudio_model_list"): ["local-model"],
}


@for_each(("source", "name", "expected"), cases(READINGS))
def test_a_samples_answer_is_read_right(source: str, name: str, expected: Reading) -> None:
    completion = read(source, name)

    prompt, answered = expected.usage
    assert completion.text == expected.text
    assert completion.finish_reason == expected.finish
    assert completion.usage == Usage(prompt, answered, prompt + answered, expected.cached, expected.thought)
    assert completion.reasoning == expected.reasoning
    assert completion.cost_usd == expected.cost
    assert len(completion.warnings) == expected.warnings
    if expected.model is not None:
        assert completion.model == expected.model
    if expected.call is None:
        assert completion.tool_calls is None
    else:
        (call,) = completion.tool_calls or ()
        assert call["id"] == expected.call
        assert call["function"] == {"name": "get_weather", "arguments": '{"city":"Oslo"}'}


@for_each(("source", "name", "expected"), cases(READINGS))
def test_a_samples_answer_becomes_a_chat_completion(source: str, name: str, expected: Reading) -> None:
    response = read(source, name).response

    assert response["object"] == "chat.completion"
    assert isinstance(response["id"], str)
    assert isinstance(response["created"], int)
    assert isinstance(response["model"], str)
    first = response["choices"][0]
    assert (first["index"], first["finish_reason"]) == (0, expected.finish)
    assert first.get("native_finish_reason") == expected.native
    assert first["message"]["role"] == "assistant"
    assert (first["message"]["content"] or first["message"].get("refusal") or "") == expected.text
    assert first["message"].get("reasoning_content") == expected.reasoning
    prompt, answered = expected.usage
    counts = {
        name: response["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    assert counts == {
        "prompt_tokens": prompt,
        "completion_tokens": answered,
        "total_tokens": prompt + answered,
    }
    details = response["usage"].get("prompt_tokens_details") or {}
    assert details.get("cached_tokens") == expected.cached


@for_each(("source", "name"), [pytest.param(*key, id="-".join(key)) for key in MODELS])
def test_a_samples_model_list_is_read_right(source: str, name: str) -> None:
    given = SAMPLES[source, name]["response"]

    page = ADAPTERS[source].read_models(answer(given["json"], given["status"]), connection(source))

    assert list(page.ids) == MODELS[source, name]


def test_every_sample_that_is_no_error_is_read_here() -> None:
    elsewhere = {("deepseek", "balance"), ("fireworks", "model_list_account")}  # test_model_lists_and_checks
    errors = {
        ("deepseek", "chat_insufficient_system_resource"),
        ("perplexity", "chat_failed"),
    }  # test_wire_errors
    here = {(source, name) for source, rows in READINGS.items() for name in rows} | set(MODELS)
    assert here | elsewhere | errors == {key for key, sample in SAMPLES.items() if sample["kind"] != "error"}
