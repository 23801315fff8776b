"""How the answer of every sample exchange in `data/` is brought about.

A text is a directive for the prompt, '' sends the request as it is, `By` says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.registry import DIALECTS

DATA = Path(__file__).parent / "data"


class By(NamedTuple):
    """`directive` for the prompt; `padding` characters more in it; `settings` of the source; sent so many
    `times`, of which the last answer counts; `mount`: the source's prefix when it is not the sample's own."""

    directive: str = ""
    padding: int = 0
    settings: Mapping[str, Any] = {}
    times: int = 1
    mount: str = ""


def limited(**limits: Any) -> dict[str, Any]:
    """Settings with these limits, each a minute's worth at once."""
    return {"limits": {**limits, "bucket": "minute"}}


WAYS: dict[str, dict[str, str | By]] = {
    "openai": {
        "chat_text": "",
        "chat_tool_call": "call_tool",
        "chat_tool_result": "",
        "chat_reasoning": "",
        "chat_json_schema": "",
        "chat_n2_logprobs_cached": "",
        "chat_refusal": "finish refusal",
        "model_list": "",
        "error_401": "bad_key",
        "error_400_max_tokens": "",
        "error_400_context": By(padding=512_001),
        "error_404_model": "",
        "error_429_rate_requests": "rate_limit 0.82",
        "error_429_rate_tokens": By(
            settings=limited(requests_per_minute=9, tokens_per_minute=100, charge="reserved"), times=2
        ),
        "error_429_slow_down": "refuse slow_down",
        "error_429_quota": "quota_exhausted",
        "error_429_credit": "refuse credit_balance_exhausted",
        "error_500": "server_error",
        "error_503_overloaded": "overloaded 5",
        "error_502_html": "html_page",
    },
    "claude": {
        "chat_text": "",
        "chat_text_2026_10_21": "",
        "chat_tool_call": "call_tool",
        "chat_tool_result": "",
        "chat_reasoning": "",
        "chat_reasoning_adaptive": "",
        "chat_json_schema": "",
        "chat_prefill": "",
        "chat_stop_sequence": "say one\n\nEND two",
        "chat_max_tokens": "",
        "chat_refusal": "finish refusal",
        "model_list": "",
        "error_401": "bad_key",
        "error_400_sampling_2026_10_21": "",
        "error_400_temperature_model": "",
        "error_400_prefill": "",
        "error_400_prefill_space": "",
        "error_400_empty_text": "",
        "error_400_no_max_tokens": "",
        "error_400_own_spend_limit": "refuse own_spend_limit",
        "error_402_billing": "refuse billing",
        "error_404_model": "",
        "error_413": "refuse request_too_large",
        "error_429_rate_limited": "rate_limit 13",
        "error_429_ramp": "refuse ramp_limit_exceeded",
        "error_429_quota": "quota_exhausted",
        "error_500": "server_error",
        "error_504": "server_error 504",
        "error_529_overloaded": "overloaded",
    },
    "mistralai": {
        "chat_text": "",
        "chat_tool_call": "",
        "chat_tool_result": "",
        "chat_reasoning": "",
        "chat_prefix": "",
        "chat_json_schema": "",
        "chat_length": "",
        "model_list": "",
        "error_401": "bad_key",
        "error_400_last_role": "",
        "error_400_tool_id": "",
        "error_422_extra_field": "",
        "error_404_model": "",
        "error_429_rate_limited": "rate_limit 4",
        "error_429_capacity": "refuse capacity",
        "error_429_quota": "quota_exhausted",
        "error_402": "refuse payment",
        "error_503_overloaded": "overloaded",
    },
    "deepseek": {
        "chat_text": "",
        "chat_tool_call": "call_tool",
        "chat_reasoning": "",
        "chat_tool_result": "",
        "chat_prefix_beta": "",
        "chat_json_object": "",
        "chat_length": "",
        "chat_insufficient_system_resource": "error_in_200",
        "model_list": "",
        "balance": "",
        "error_401": "bad_key",
        "error_400_reasoning_missing": "",
        "error_404_model": "",
        "error_402_quota": "quota_exhausted",
        "error_422": "",
        "error_429_rate_limited": "rate_limit",
        "error_500": "server_error",
        "error_503_overloaded": "overloaded",
    },
    "cohere": {
        "chat_text": "",
        "chat_tool_call": "",
        "chat_tool_result": "",
        "chat_reasoning": "",
        "chat_json_schema": "",
        "chat_max_tokens": "",
        "model_list": "",
        "error_401": "bad_key",
        "error_400": "",
        "error_422": "",
        "error_404_model": "",
        "error_429_rate_limited": "rate_limit",
        "error_429_quota": "quota_exhausted",
        "error_402": "refuse payment",
        "error_498": "refuse invalid_token",
        "error_503_overloaded": "overloaded",
    },
    "perplexity": {
        "chat_text_with_search": "",
        "chat_text": "",
        "chat_preset": "",
        "chat_tool_call": "call_tool",
        "chat_tool_result": "",
        "chat_json_schema": "",
        "chat_failed": "error_in_200",
        "model_list": "",
        "error_401": "bad_key",
        "error_400_model": "",
        "error_404_model": "",
        "error_400_none": "",
        "error_429_rate_limited": "rate_limit 2",
        "error_quota": "quota_exhausted",
        "error_503_overloaded": "overloaded",
        "sonar_retired_403": By(mount="perplexity"),
        "sonar_legacy_chat": "",
        "sonar_legacy_reasoning": "",
        "sonar_legacy_length": "",
        "sonar_legacy_json_schema": "",
        "sonar_legacy_error_401": "bad_key",
        "sonar_legacy_error_400_alternate": "",
        "sonar_legacy_error_400_last_role": "",
        "sonar_legacy_error_404_model": "",
        "sonar_legacy_error_429": "rate_limit 2",
        "sonar_legacy_error_503": "overloaded",
    },
    "fireworks": {
        "chat_text": "",
        "chat_tool_call": "",
        "chat_tool_result": "",
        "chat_reasoning": "",
        "chat_json_schema": "",
        "chat_length": "",
        "model_list": "",
        "model_list_account": "",
        "error_401": "bad_key",
        "error_400": "",
        "error_404_model": "",
        "error_412_suspended": "quota_exhausted",
        "error_402_quota": "refuse payment",
        "error_429_rate_limited": "rate_limit",
        "error_503_overloaded": "overloaded",
    },
    "electronhub": {
        "chat_text": "",
        "chat_tool_call": "call_tool",
        "chat_reasoning": "",
        "chat_reasoning_excluded": "",
        "chat_length": "",
        "model_list": "",
        "error_401": "bad_key",
        "error_400": "",
        "error_404_model": "",
        "error_429_rate_limited": By(settings={"limits": {"requests_per_minute": 1}}, times=2),
        "error_429_quota": "quota_exhausted",
        "error_503_overloaded": "overloaded",
    },
    "ai21": {
        "chat_text": "",
        "chat_tool_call": "call_tool",
        "chat_tool_result": "",
        "chat_json_object": "",
        "chat_length": "",
        "model_list": "",
        "model_list_without_key": "",
        "error_401": "bad_key",
        "error_400": "refuse invalid_request",
        "error_422": "",
        "error_404_model": "",
        "error_429_rate_limited": "rate_limit 2",
        "error_429_quota": "quota_exhausted",
        "error_503_overloaded": "overloaded",
    },
    "custom": {
        "lmstudio_chat_text": "",
        "lmstudio_model_list": "",
        "lmstudio_error_no_model": By(settings={"models": []}),
        "litellm_chat_text": "",
        "litellm_error_401": "bad_key",
        "litellm_error_429_budget": "quota_exhausted",
        "litellm_error_wrapped": "refuse wrapped",
        "localai_chat_text": "",
        "localai_error_401": By(settings={"keys": ["right"]}),
        "tabbyapi_chat_text": By(settings={"keys": ["right"]}),
        "tabbyapi_error_401": "bad_key",
        "oobabooga_chat_text": "",
        "oobabooga_error_401": By(settings={"keys": ["right"]}),
        "aphrodite_chat_text": "",
        "llamacpp_chat_reasoning": "",
        "llamacpp_health_loading": By(settings={"loading_s": 3600}),
        "llamacpp_error_context": By(padding=262_144),
        "vllm_chat_reasoning": By(settings={"models": ["local-model"]}),
        "vllm_chat_tool_call": "call_tool",
        "vllm_model_list": "",
        "vllm_error_401": By(settings={"keys": ["right"]}),
        "vllm_error_404_model": "",
        "ollama_chat_text": "",
        "ollama_chat_reasoning": "",
        "ollama_error_404_model": "",
        "ollama_error_503_busy": "overloaded",
        "ollama_model_list": "",
        "generic_error_429": By("rate_limit 30", mount="custom/gateway"),
        "generic_error_200_with_error": By("error_in_200", mount="custom/gateway"),
        "generic_error_400": By(mount="custom"),
    },
}


@cache
def samples(file: str) -> dict[str, Any]:
    """The sample exchanges of a file by their names."""
    return {sample["name"]: sample for sample in orjson.loads((DATA / f"{file}.json").read_bytes())}


def requests_of(name: str) -> list[tuple[str, Any]]:
    """The chat requests of the samples that this source answers, as (path, body), each once."""
    found = {}
    for sample in samples(name.partition("/")[0].removesuffix("-sonar")).values():
        path, body = urlsplit(sample["request"]["url"]).path, sample["request"]["json"]
        if DIALECTS[name].routes.get(f"POST {path}") == CHAT and body:
            found[orjson.dumps((path, body))] = (path, body)
    return list(found.values())
