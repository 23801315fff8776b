"""ElectronHub, an aggregator in OpenAI's shape. From: Chat Completions, List Models, Rate Limits, Error Handling; the
error bodies, which the documents do not show, are OpenAI's."""

from __future__ import annotations

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
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import Answer, ChatRequest, LimitReached, LimitState, Reply
from chatq_sandbox.wire import event

_WITHOUT_REASONING = ":reasoning-exclude"
_OWNERS = (("gpt", "openai"), ("claude", "anthropic"), ("deepseek", "deepseek"))


def _bad_request(fault: Fault) -> Reply:
    # The guide has one wording for all of them.
    return error(400, "Invalid parameters")


class ElectronHub(ChatCompletions):
    """api.electronhub.ai. Whatever a model does not know is dropped without a word."""

    source = "electronhub"
    default_models = ("gpt-4o", "claude-sonnet-4-6", "deepseek-r1")
    words: Words = PydanticWords(_bad_request)
    reasoning_field = "reasoning_content"
    default_bucket = "window"
    default_penalty_s = 180.0
    counts_failed_calls = True
    tells_limits_on = frozenset((400,))
    open_endpoints = frozenset(("models", "model"))
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "max_tokens": Number(1, whole=True),
        "max_completion_tokens": Number(1, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "top_k": Number(0, whole=True),
        "frequency_penalty": Number(-2, 2),
        "presence_penalty": Number(-2, 2),
        "seed": Number(whole=True),
        "n": Number(1, whole=True),
        "stop": Texts(single=True),
        "stream": Flag(),
        "stream_options": Object(),
        "tools": Array(),
        "tool_choice": Anything(),
        "response_format": Object(),
        "reasoning_effort": OneOf(("none", "minimal", "low", "medium", "high", "xhigh")),
        "reasoning": Object(),
        "web_search": Flag(),
    }

    # Requests

    def pool(self, model: str) -> str:
        # "Rate Limits": a plan's requests a minute, whatever they ask.
        return "plan"

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        return model.removesuffix(_WITHOUT_REASONING) in models

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
        return effort != "none" and (effort is not None or "-r1" in model)

    # Answers

    def answered_model(self, model: str) -> str:
        return model.removesuffix(_WITHOUT_REASONING)

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        excluded = (request.body.get("reasoning") or {}).get("exclude")
        if excluded or request.model.endswith(_WITHOUT_REASONING):
            answer = answer._replace(reasoning="")
        return super().message(request, answer)

    def model_row(self, model: str) -> dict[str, Any]:
        owner = next((owner for start, owner in _OWNERS if model.startswith(start)), "electronhub")
        return {"id": model, "object": "model", "owned_by": owner}

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        if limits.requests is None:
            return ()
        return (
            ("x-ratelimit-limit", str(limits.requests.limit)),
            ("x-ratelimit-remaining", str(limits.requests.remaining)),
            ("x-ratelimit-reset", str(ceil(limits.unix_s + limits.requests.reset_s))),
        )

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return error(401, "Invalid API key", code="invalid_api_key")

    def unknown_model(self, model: str) -> Reply:
        return error(400, "Invalid model", code="model_not_found")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        when = () if reached.wait_s is None else (("retry-after", str(ceil(reached.wait_s))),)
        return error(
            429,
            "Rate limit exceeded",
            "rate_limit_error",
            code="rate_limit_exceeded",
            headers=(*self.limit_headers(limits), *when),
        )

    def out_of_quota(self, limits: LimitState) -> Reply:
        kind = "insufficient_quota"
        return error(429, "Token usage has exceeded your plan limits", kind, code=kind)

    def server_error(self, status: int) -> Reply:
        message = "Service temporarily unavailable" if status == 503 else "Internal server error"
        return error(status, message, "server_error")

    def overloaded(self) -> Reply:
        return self.server_error(503)

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Not found")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return error(200, "upstream failed", "api_error", code=502)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
