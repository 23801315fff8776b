"""OpenAI, Chat Completions. From: API reference (Chat), guides "Error codes" and "Rate limits"; openai-python
3.54."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.chat_completions import ChatCompletions
from chatq_sandbox.dialects.fields import (
    Anything,
    Array,
    Check,
    Flag,
    Number,
    Object,
    OneOf,
    Text,
    Texts,
    Words,
)
from chatq_sandbox.dialects.openai_checks import check_response_format, check_tools, only_when, read_messages
from chatq_sandbox.dialects.openai_words import OpenAIWords, error
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    LimitReached,
    LimitState,
    Message,
    Refused,
    Reply,
    Tool,
)
from chatq_sandbox.tokens import prompt_tokens_of
from chatq_sandbox.wire import event

_REASONING_MODEL = re.compile(r"o\d|gpt-[5-9]")
_NO_STOP_MODEL = re.compile(r"o3|o4-mini")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_UNUSED_BY_REASONING = ("top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")

_COUNTED_AS = {
    "requests": "requests per min (RPM)",
    "tokens": "tokens per min (TPM)",
    "input_tokens": "input tokens per min",
    "output_tokens": "output tokens per min",
    "concurrency": "concurrent requests",
}
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_SPEND = "You have reached the spend limit. Raise it in your billing settings to go on."

# Of the models in the default list, by the beginning of the name; others are taken to be like the latest.
_CONTEXTS = (("gpt-4o", 128000), ("gpt-4.1", 1047576), ("o", 200000), ("", 400000))
_OUTPUT_LIMITS = (("gpt-4o", 16384), ("gpt-4.1", 32768), ("o", 100000), ("", 128000))


def duration(seconds: float) -> str:
    """Seconds as Go writes a duration: `0s`, `120ms`, `1.5s`, `6m0s`, `1h2m3.5s`."""
    milliseconds = ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60000)
    hours, minutes = divmod(minutes, 60)
    ending = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{ending}"
    return f"{minutes}m{ending}" if minutes else ending


def _quota(code: str, message: str) -> Reply:
    return error(429, message, "insufficient_quota", code=code)


class OpenAI(ChatCompletions):
    """api.openai.com."""

    source = "openai"
    # "Rate limits": the prompt's estimate and max_tokens are taken at the door, whatever the answer uses.
    default_charge = "reserved"
    refusals: ClassVar[Mapping[str, Reply]] = {
        "slow_down": error(
            429,
            "Slow down. Your traffic grew too fast.",
            "rate_limit_error",
            code="slow_down",
            headers=(("retry-after", "20"),),
        ),
        "credit_balance_exhausted": _quota(
            "credit_balance_exhausted", "Your organization has no prepaid credits remaining."
        ),
        "organization_spend_limit_exceeded": _quota("organization_spend_limit_exceeded", _SPEND),
        "project_spend_limit_exceeded": _quota("project_spend_limit_exceeded", _SPEND),
        "organization_usage_limit_exceeded": _quota("organization_usage_limit_exceeded", _QUOTA),
        "billing_not_active": _quota("billing_not_active", "Your account is not active."),
        "billing_hard_limit_reached": _quota("billing_hard_limit_reached", _SPEND),
        "country": error(
            403,
            "Country, region, or territory not supported",
            "request_forbidden",
            code="unsupported_country_region_territory",
        ),
    }
    default_models = ("gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-5-mini", "gpt-5.2", "o4-mini")
    words: Words = OpenAIWords()
    strict = True
    max_tokens_fields = ("max_completion_tokens", "max_tokens")
    fields: ClassVar[dict[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "audio": Object(),
        "frequency_penalty": Number(-2, 2),
        "function_call": Anything(),
        "functions": Array(),
        "logit_bias": Object(),
        "logprobs": Flag(),
        "max_completion_tokens": Number(1, whole=True),
        "max_tokens": Number(1, whole=True),
        "metadata": Object(),
        "modalities": Texts(),
        "moderation": Anything(),
        "n": Number(1, 128, whole=True),
        "parallel_tool_calls": Flag(),
        "prediction": Object(),
        "presence_penalty": Number(-2, 2),
        "prompt_cache_key": Text(),
        "prompt_cache_options": Object(),
        "prompt_cache_retention": Text(),
        "reasoning_effort": OneOf(_EFFORTS),
        "response_format": Object(),
        "safety_identifier": Text(),
        "seed": Number(whole=True),
        "service_tier": Text(),
        "stop": Texts(most=4, single=True),
        "store": Flag(),
        "stream": Flag(),
        "stream_options": Object(),
        "temperature": Number(0, 2),
        "tool_choice": Anything(),
        "tools": Array(fewest=1, most=128),
        "top_logprobs": Number(0, 20, whole=True),
        "top_p": Number(0, 1),
        "user": Text(),
        "verbosity": OneOf(("low", "medium", "high")),
        "web_search_options": Object(),
    }

    # Requests

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        return read_messages(raw, self.words)

    def read_tools(self, raw: Any) -> tuple[Tool, ...]:
        check_tools(raw, self.words)
        return super().read_tools([item for item in raw if item["type"] == "function"])

    def read_tool_choice(self, raw: Any, tools: tuple[Tool, ...]) -> str:
        if raw is None:
            return "auto"
        if not tools:
            raise self.words.refused("tool_choice", only_when("tool_choice", "'tools' are specified"))
        if isinstance(raw, str):
            if raw not in ("none", "auto", "required"):
                raise self.words.not_one_of("tool_choice", raw, ("none", "auto", "required"))
            return raw
        name = super().read_tool_choice(raw, tools)
        if name not in {tool.name for tool in tools}:
            raise self.words.refused("tool_choice", f"Tool choice '{name}' not found in 'tools' parameter.")
        return name

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        check_response_format(raw, messages, self.words)
        return super().read_json_schema(raw, messages)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        return bool(_REASONING_MODEL.match(model)) and body.get("reasoning_effort") != "none"

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        words = self.words
        if body.get("stream_options") is not None and not chat.stream:
            raise words.refused("stream_options", only_when("stream_options", "'stream' is enabled"))
        if body.get("top_logprobs") is not None and not body.get("logprobs"):
            raise words.refused("top_logprobs", only_when("top_logprobs", "'logprobs' is enabled"))
        if body.get("parallel_tool_calls") is not None and not chat.tools:
            name = "parallel_tool_calls"
            raise words.refused(name, only_when(name, "'tools' are specified"))
        if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
            raise words.refused(
                "max_tokens",
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                "invalid_parameter_combination",
            )
        context = next(tokens for start, tokens in _CONTEXTS if chat.model.startswith(start))
        prompt_tokens = prompt_tokens_of(chat.messages)
        if prompt_tokens > context:
            raise words.refused(
                "messages",
                f"This model's maximum context length is {context} tokens. However, your messages resulted "
                f"in {prompt_tokens} tokens. Please reduce the length of the messages.",
                "context_length_exceeded",
            )
        limit = next(limit for start, limit in _OUTPUT_LIMITS if chat.model.startswith(start))
        if chat.max_tokens is not None and chat.max_tokens > limit:
            raise words.refused(
                "max_tokens",
                f"max_tokens is too large: {chat.max_tokens}. This model supports at most {limit} "
                f"completion tokens, whereas you provided {chat.max_tokens}.",
                "invalid_value",
            )
        if _REASONING_MODEL.match(chat.model):
            self._check_reasoning_model(chat.model, body)
        elif body.get("reasoning_effort") is not None:
            raise words.refused(
                "reasoning_effort",
                "Unrecognized request argument supplied: reasoning_effort",
                "unknown_parameter",
            )

    def _check_reasoning_model(self, model: str, body: dict[str, Any]) -> None:
        if body.get("max_tokens") is not None:
            raise self._unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        temperature = body.get("temperature")
        if temperature is not None and temperature != 1:
            raise self.words.refused(
                "temperature",
                f"Unsupported value: 'temperature' does not support {temperature:g} with this model. Only "
                "the default (1) value is supported.",
                "unsupported_value",
            )
        for name in _UNUSED_BY_REASONING:
            if body.get(name) is not None:
                raise self._unsupported(name)
        if body.get("stop") is not None and _NO_STOP_MODEL.match(model):
            raise self._unsupported("stop")

    def _unsupported(self, name: str, remedy: str = "") -> Refused:
        return self.words.refused(
            name,
            f"Unsupported parameter: '{name}' is not supported with this model.{remedy}",
            "unsupported_parameter",
        )

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        return {
            **super().complete(request, answer),
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {"logprobs": None, **super().choice(index, request, answer)}

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message = super().message(request, answer)
        refuses = answer.finish == "refusal"
        message["refusal"] = answer.text if refuses else None
        message["annotations"] = []
        if refuses:
            message["content"] = None
        return message

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            **super().usage(answer),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": answer.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def model_row(self, model: str) -> dict[str, Any]:
        return {**super().model_row(model), "owned_by": "system", "shutdown_date": None}

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        return (
            ("x-request-id", f"req_{serial}"),
            ("openai-processing-ms", str(round(latency_s * 1000))),
            ("openai-version", "2020-10-01"),
        )

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        headers: tuple[tuple[str, str], ...] = ()
        for name, allowance in (("requests", limits.requests), ("tokens", limits.tokens)):
            if allowance is not None:
                headers += (
                    (f"x-ratelimit-limit-{name}", str(allowance.limit)),
                    (f"x-ratelimit-remaining-{name}", str(allowance.remaining)),
                    (f"x-ratelimit-reset-{name}", duration(allowance.reset_s)),
                )
        return headers

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        challenge = (("www-authenticate", 'Bearer realm="OpenAI API"'),)
        if key is None:
            return error(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header "
                "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                headers=challenge,
            )
        # The real one echoes both ends of the key, so an error text is no place to trust.
        shown = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > 12 else f"{key[:6]}***"
        return error(
            401,
            f"Incorrect API key provided: {shown}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
            headers=challenge,
        )

    def unknown_model(self, model: str) -> Reply:
        return error(
            404,
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        per = _COUNTED_AS[reached.what]
        place = f"for {reached.model} in organization org-simulator on {per}: Limit {reached.limit}"
        if reached.wait_s is None:
            message = (
                f"Request too large {place}, Requested {reached.requested}. The input or output tokens must "
                "be reduced in order to run successfully."
            )
            when: tuple[tuple[str, str], ...] = ()
        else:
            message = (
                f"Rate limit reached {place}, Used {reached.used}, Requested {reached.requested}. Please try "
                f"again in {duration(reached.wait_s)}."
            )
            when = (
                ("retry-after", str(ceil(reached.wait_s))),
                ("retry-after-ms", str(ceil(reached.wait_s * 1000))),
            )
        what = "tokens" if reached.what == "tokens" else "requests"
        headers = (*self.limit_headers(limits), *when)
        return error(429, message, what, code="rate_limit_exceeded", headers=headers)

    def out_of_quota(self, limits: LimitState) -> Reply:
        return _quota("insufficient_quota", _QUOTA)

    def server_error(self, status: int) -> Reply:
        return error(
            status, "The server had an error while processing your request. Sorry about that!", "server_error"
        )

    def overloaded(self) -> Reply:
        return error(
            503,
            "The server is currently overloaded. Please try again later.",
            "service_unavailable_error",
            code="server_is_overloaded",
            headers=(("retry-after", "5"),),
        )

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, f"Invalid URL ({method} {path})")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return error(200, "upstream failed", "api_error", code=502)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
