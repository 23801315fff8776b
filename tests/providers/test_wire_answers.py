"""Every sample exchange: what its answer is read as, and which failure its error is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from provider_testing import answer, chat, connection, exchanges

from chatq_worker.failures import CODES, CallFailed
from chatq_worker.providers import ADAPTERS, Completion, Usage
from chatq_worker.redaction import redacted


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


class Failure(NamedTuple):
    """The code of an error, what its words hold, and the moment and the id if it names them."""

    code: str
    words: str
    retry_after_s: float | None = None
    request_id: str | None = None


CLAUDE, MISTRAL = "req_sampleerr", "019b0000-0000-7000-8000-000000000001"
COHERE, COHERE_TRACE = "11864227-5c7f-4c4a-8c9b-6465ab44a26e", "b0aae57a1bc79ddfcba999e6897f9d06"

FAILURES: dict[str, dict[str, Failure]] = {
    "openai": {
        "error_401": Failure("unauthorized", "Incorrect API key provided", request_id="req_sample0401"),
        "error_400_max_tokens": Failure(
            "invalid_request", "'max_tokens' is not supported", request_id="req_sample0400"
        ),
        "error_400_context": Failure("request_too_large", "maximum context length is 128000"),
        "error_404_model": Failure("model_not_found", "`gpt-nope` does not exist"),
        "error_429_rate_requests": Failure("rate_limited", "requests per min", 0.82, "req_sample0001"),
        "error_429_rate_tokens": Failure("rate_limited", "tokens per min", 360.0, "req_sample0001"),
        "error_429_slow_down": Failure("rate_limited", "Slow down", 20.0),
        "error_429_quota": Failure("quota_exhausted", "exceeded your current quota"),
        "error_429_credit": Failure("quota_exhausted", "no prepaid credits"),
        "error_500": Failure("server_error", "had an error while processing", request_id="req_sample0500"),
        # Design section 5: an answer that names the moment to come back is a limit, whatever its status.
        "error_503_overloaded": Failure("overloaded", "currently overloaded", 5.0),
        "error_502_html": Failure("server_error", "502 Bad Gateway"),
    },
    "claude": {
        "error_401": Failure("unauthorized", "invalid x-api-key", request_id=CLAUDE),
        "error_400_sampling_2026_10_21": Failure("invalid_request", "Extra inputs", request_id=CLAUDE),
        "error_400_temperature_model": Failure(
            "invalid_request", "is deprecated for this model", request_id=CLAUDE
        ),
        "error_400_prefill": Failure(
            "invalid_request", "does not support assistant message prefill", request_id=CLAUDE
        ),
        "error_400_prefill_space": Failure("invalid_request", "trailing whitespace", request_id=CLAUDE),
        "error_400_empty_text": Failure("invalid_request", "must be non-empty", request_id=CLAUDE),
        "error_400_no_max_tokens": Failure("invalid_request", "Field required", request_id=CLAUDE),
        "error_400_own_spend_limit": Failure("quota_exhausted", "usage limits", request_id=CLAUDE),
        "error_402_billing": Failure("quota_exhausted", "billing or payment", request_id=CLAUDE),
        "error_404_model": Failure("model_not_found", "model: claude-nope", request_id=CLAUDE),
        "error_413": Failure("request_too_large", "maximum size", request_id=CLAUDE),
        "error_429_rate_limited": Failure("rate_limited", "50 requests per minute", 13.0, CLAUDE),
        "error_429_ramp": Failure("rate_limited", "Usage grew too fast", 30.0, CLAUDE),
        "error_429_quota": Failure("quota_exhausted", "monthly usage threshold", request_id=CLAUDE),
        "error_500": Failure("server_error", "Internal server error", request_id=CLAUDE),
        "error_504": Failure("server_error", "timed out", request_id=CLAUDE),
        "error_529_overloaded": Failure("overloaded", "Overloaded", request_id=CLAUDE),
    },
    "mistralai": {
        "error_401": Failure("unauthorized", "Unauthorized"),
        "error_400_last_role": Failure("invalid_request", "Expected last role", request_id=MISTRAL),
        "error_400_tool_id": Failure("invalid_request", "with a length of 9", request_id=MISTRAL),
        "error_422_extra_field": Failure(
            "invalid_request", "body.seed: Extra inputs are not permitted", request_id=MISTRAL
        ),
        "error_404_model": Failure("model_not_found", "Invalid model: mistral-nope", request_id=MISTRAL),
        "error_429_rate_limited": Failure("rate_limited", "Rate limit exceeded", 4.0, MISTRAL),
        "error_429_capacity": Failure("rate_limited", "capacity exceeded", request_id=MISTRAL),
        "error_429_quota": Failure("quota_exhausted", "Rate limit exceeded", request_id=MISTRAL),
        "error_402": Failure("quota_exhausted", "Payment required"),
        "error_503_overloaded": Failure("server_error", "Service unavailable."),
    },
    "deepseek": {
        "chat_insufficient_system_resource": Failure("server_error", ""),
        "error_401": Failure("unauthorized", "Authentication Fails"),
        "error_400_reasoning_missing": Failure("invalid_request", "must be passed back"),
        "error_404_model": Failure("model_not_found", "Model Not Exist"),
        "error_402_quota": Failure("quota_exhausted", "Insufficient Balance"),
        "error_422": Failure("invalid_request", "Failed to deserialize"),
        "error_429_rate_limited": Failure("rate_limited", "Rate limit reached"),
        "error_500": Failure("server_error", "Internal server error"),
        "error_503_overloaded": Failure("server_error", "Service is too busy"),
    },
    "ai21": {
        "error_401": Failure("unauthorized", "Bad or missing Apikey"),
        "error_400": Failure("invalid_request", "Invalid request"),
        "error_422": Failure("invalid_request", "body.temperature: Input should be a valid number"),
        "error_404_model": Failure("model_not_found", "Model not found: jamba-nope"),
        "error_429_rate_limited": Failure("rate_limited", "Too Many Requests", 2.0),
        "error_429_quota": Failure("quota_exhausted", "Quota exceeded"),
        "error_503_overloaded": Failure("server_error", "Service Unavailable"),
    },
    "cohere": {
        "error_401": Failure("unauthorized", "invalid api token", request_id=COHERE),
        "error_400": Failure("invalid_request", "p must be between 0.01 and 0.99", request_id=COHERE_TRACE),
        "error_422": Failure("invalid_request", "'top_p' is not a valid field", request_id=COHERE_TRACE),
        "error_404_model": Failure("model_not_found", "'command-nope' not found", request_id=COHERE_TRACE),
        "error_429_rate_limited": Failure("rate_limited", "20 API calls / minute", request_id=COHERE),
        "error_429_quota": Failure("quota_exhausted", "1000 API calls / month", request_id=COHERE),
        "error_402": Failure("quota_exhausted", "payment method", request_id=COHERE),
        "error_498": Failure("unauthorized", "invalid token", request_id=COHERE),
        "error_503_overloaded": Failure("overloaded", "service unavailable", 3.0, COHERE),
    },
    "perplexity": {
        "chat_failed": Failure("server_error", "The model failed.", request_id="resp_sample0001"),
        "error_401": Failure("unauthorized", "Invalid API key"),
        "error_400_model": Failure("model_not_found", 'model "sonar" is not supported'),
        "error_404_model": Failure("model_not_found", 'model "perplexity/nope" is not supported'),
        "error_400_none": Failure("invalid_request", "one of model, models or preset"),
        "error_429_rate_limited": Failure("rate_limited", "Rate limit exceeded", 2.0),
        "error_quota": Failure("quota_exhausted", "exceeded your current quota"),
        "error_503_overloaded": Failure("server_error", "Service unavailable"),
        "sonar_retired_403": Failure("api_retired", "Sonar is now the Agent API"),
        "sonar_legacy_error_401": Failure("unauthorized", "Invalid API key"),
        "sonar_legacy_error_400_alternate": Failure("invalid_request", "should alternate"),
        "sonar_legacy_error_400_last_role": Failure("invalid_request", "Last message must have role `user`."),
        "sonar_legacy_error_404_model": Failure("model_not_found", "Invalid model 'sonar-nope'"),
        "sonar_legacy_error_429": Failure("rate_limited", "Rate limit exceeded", 2.0),
        "sonar_legacy_error_503": Failure("server_error", "Service unavailable"),
    },
    "fireworks": {
        "error_401": Failure("unauthorized", "The API key you provided is invalid."),
        "error_400": Failure("invalid_request", "Input should be a valid number"),
        "error_404_model": Failure("model_not_found", "Model not found, inaccessible"),
        "error_412_suspended": Failure("quota_exhausted", "Account is suspended"),
        "error_402_quota": Failure("quota_exhausted", "Payment required"),
        "error_429_rate_limited": Failure("rate_limited", "first token before the given deadline"),
        "error_503_overloaded": Failure("server_error", "Service overloaded"),
    },
    "electronhub": {
        "error_401": Failure("unauthorized", "Invalid API key"),
        "error_400": Failure("invalid_request", "Invalid parameters"),
        "error_404_model": Failure("model_not_found", "Invalid model"),
        "error_429_rate_limited": Failure("rate_limited", "Rate limit exceeded", 180.0),
        "error_429_quota": Failure("quota_exhausted", "exceeded your plan limits"),
        "error_503_overloaded": Failure("server_error", "temporarily unavailable"),
    },
    "custom": {
        "lmstudio_error_no_model": Failure("model_not_found", "No models loaded"),
        "litellm_error_401": Failure("unauthorized", "Invalid proxy server token"),
        "litellm_error_429_budget": Failure("quota_exhausted", "Budget has been exceeded"),
        "litellm_error_wrapped": Failure("quota_exhausted", "Insufficient Balance"),
        "localai_error_401": Failure("unauthorized", "An authentication key is required"),
        "tabbyapi_error_401": Failure("unauthorized", "Invalid API key"),
        "oobabooga_error_401": Failure("unauthorized", "Unauthorized"),
        "llamacpp_health_loading": Failure("overloaded", "Loading model"),
        "llamacpp_error_context": Failure("request_too_large", "exceeds the available context size"),
        "vllm_error_401": Failure("unauthorized", "Unauthorized"),
        "vllm_error_404_model": Failure("model_not_found", "`nope` does not exist"),
        "ollama_error_404_model": Failure("model_not_found", "'nope' not found"),
        "ollama_error_503_busy": Failure("server_error", "server busy"),
        # Its date is gone by: then it says nothing.
        "generic_error_429": Failure("rate_limited", "Too many requests"),
        "generic_error_200_with_error": Failure("server_error", "upstream failed"),
        "generic_error_400": Failure("invalid_request", "Input should be a valid integer"),
    },
}

WORTH_A_RETRY = {"rate_limited", "transient", "account"}
SAMPLES = {
    (source, e["name"]): e
    for source, e in exchanges("response", "response_extra", "error", "models", "other")
}


def cases(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(source, name, expected, id=f"{source}-{name}")
        for source, rows in table.items()
        for name, expected in rows.items()
    ]


def read(source: str, name: str) -> Completion:
    exchange = SAMPLES[source, name]
    settings = {"api": "sonar"} if exchange.get("source") == "perplexity-sonar" else {}
    given, model = exchange["response"], (exchange["request"]["json"] or {}).get("model", "")
    got = answer(given["json"], given["status"], given["headers"])
    return ADAPTERS[source].read(got, chat(source, model=model), connection(source, **settings))


@pytest.mark.parametrize(("source", "name", "expected"), cases(READINGS))
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


@pytest.mark.parametrize(("source", "name", "expected"), cases(READINGS))
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


@pytest.mark.parametrize(("source", "name", "expected"), cases(FAILURES))
def test_a_samples_error_is_the_right_failure(source: str, name: str, expected: Failure) -> None:
    with pytest.raises(CallFailed) as failed:
        read(source, name)

    failure = failed.value
    assert failure.code == expected.code
    assert expected.words in (failure.provider_message or "")
    assert failure.retry_after_s == expected.retry_after_s
    assert failure.provider_request_id == expected.request_id
    assert failure.http_status == SAMPLES[source, name]["response"]["status"]
    assert failure.remedy
    assert failure.retryable is (CODES[expected.code].kind in WORTH_A_RETRY)


@pytest.mark.parametrize(("source", "name", "expected"), cases(FAILURES))
def test_no_samples_error_shows_a_part_of_a_key(source: str, name: str, expected: Failure) -> None:
    with pytest.raises(CallFailed) as failed:
        read(source, name)

    shown = redacted(failed.value.provider_message, None) or ""
    assert not re.search(r"\*{2,}|sk-sam|mple is", shown)


@pytest.mark.parametrize(("source", "name"), [pytest.param(*key, id="-".join(key)) for key in MODELS])
def test_a_samples_model_list_is_read_right(source: str, name: str) -> None:
    given = SAMPLES[source, name]["response"]

    page = ADAPTERS[source].read_models(answer(given["json"], given["status"]), connection(source))

    assert list(page.ids) == MODELS[source, name]


def test_every_sample_is_read_by_a_test() -> None:
    elsewhere = {("deepseek", "balance"), ("fireworks", "model_list_account")}  # test_model_lists_and_checks
    read_here = {(s, name) for table in (READINGS, FAILURES) for s, rows in table.items() for name in rows}
    assert read_here | set(MODELS) | elsewhere == set(SAMPLES)
