"""Every sample exchange that is an error: which failure it is, in whose words, without keys."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from wire_readings import SAMPLES, cases, read

from chatq.contract.redaction import redacted
from chatq_worker.failures import CODES, CallFailed
from for_each import for_each


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


@for_each(("source", "name", "expected"), cases(FAILURES))
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


@for_each(("source", "name", "expected"), cases(FAILURES))
def test_no_samples_error_shows_a_part_of_a_key(source: str, name: str, expected: Failure) -> None:
    with pytest.raises(CallFailed) as failed:
        read(source, name)

    shown = redacted(failed.value.provider_message, None, {}) or ""
    assert not re.search(r"\*{2,}|sk-sam|mple is", shown)


def test_every_sample_that_is_an_error_is_read_here() -> None:
    here = {(source, name) for source, rows in FAILURES.items() for name in rows}
    assert {key for key, sample in SAMPLES.items() if sample["kind"] == "error"} <= here
