"""Fireworks, Chat Completions. From: API reference, Inference Error Codes, Serverless Rate Limits; fireworks-ai 1.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs
from uuid import UUID

import orjson

from chatq_sandbox.dialects.base import CHAT
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
from chatq_sandbox.dialects.openai_checks import read_messages
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    LimitReached,
    LimitState,
    LookUp,
    Message,
    Refused,
    Reply,
)
from chatq_sandbox.tokens import prompt_tokens_of
from chatq_sandbox.wire import event

_PREFIX = "accounts/fireworks/models/"
_CONTEXTS = {f"{_PREFIX}qwen3-8b": 40_960, f"{_PREFIX}llama-v3p3-70b-instruct": 131_072}
_LONGEST_CONTEXT = 1_048_576
_MOST_UNSTREAMED = 4096
_OFF = (None, "none", False, 0)
_FORMATS = ("text", "json_object", "json_schema", "grammar")


def error(status: int, message: str, code: str, kind: str = "error", **more: str) -> Reply:
    """The error object."""
    return Reply(
        status, {"error": {"object": "error", "type": kind, "code": code, "message": message, **more}}
    )


def _bad_request(fault: Fault) -> Reply:
    kind = "invalid_request_error"
    place = f", field: '{fault.name}', value: {fault.value!r}" if fault.name else ""
    return error(400, f"1 request validation error: {fault.message}{place}", kind, kind)


class Fireworks(ChatCompletions):
    """api.fireworks.ai."""

    source = "fireworks"
    default_models = (
        f"{_PREFIX}deepseek-v4-pro",
        f"{_PREFIX}llama-v3p3-70b-instruct",
        f"{_PREFIX}qwen3-8b",
    )
    routes: ClassVar[Mapping[str, str]] = {
        "POST /inference/v1/chat/completions": CHAT,
        "GET /inference/v1/models": "models",
        "GET /v1/accounts/fireworks/models": "managed models",
    }
    words: Words = PydanticWords(_bad_request)
    strict = True
    reasoning_field = "reasoning_content"
    usage_needs_asking = False
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "max_tokens": Number(0, whole=True),
        "max_completion_tokens": Number(0, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "top_k": Number(0, 100, whole=True),
        "min_p": Number(0, 1),
        "typical_p": Number(0, 1),
        "frequency_penalty": Number(-2, 2),
        "presence_penalty": Number(-2, 2),
        "repetition_penalty": Number(0, 2),
        "mirostat_target": Number(),
        "mirostat_lr": Number(),
        "n": Number(1, 128, whole=True),
        "stop": Texts(most=4, single=True),
        "seed": Number(whole=True),
        "stream": Flag(),
        "stream_options": Object(),
        "logprobs": Anything(),
        "top_logprobs": Number(0, 5, whole=True),
        "logit_bias": Object(),
        "echo": Flag(),
        "ignore_eos": Flag(),
        "raw_output": Flag(),
        "perf_metrics_in_response": Flag(),
        "prompt_truncate_len": Number(0, whole=True),
        "context_length_exceeded_behavior": OneOf(("error", "truncate")),
        "response_format": Object(),
        "tools": Array(),
        "tool_choice": Anything(),
        "parallel_tool_calls": Flag(),
        "prediction": Anything(),
        "reasoning_effort": Anything(),
        "reasoning_history": Text(),
        "thinking": Object(),
        "prompt_cache_key": Text(),
        "prompt_cache_isolation_key": Text(),
        "service_tier": Text(),
        "metadata": Object(),
        "user": Text(),
    }
    refusals: ClassVar[Mapping[str, Reply]] = {
        "payment": error(402, "Payment required.", "PAYMENT_REQUIRED"),
        "forbidden": error(403, "You are not allowed to use this model.", "FORBIDDEN"),
        "timeout": error(408, "Request timed out.", "REQUEST_TIMEOUT"),
        "lora_not_loaded": error(412, "The LoRA addon is not loaded.", "PRECONDITION_FAILED"),
    }

    # Requests

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        # A deployment of a model is named `MODEL#DEPLOYMENT`.
        return model.partition("#")[0] in models

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        return read_messages(raw, self.words)

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        if raw is not None and raw.get("type") not in _FORMATS:
            raise self.words.not_one_of("response_format.type", raw.get("type"), _FORMATS)
        return super().read_json_schema(raw, messages)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        thinks = (body.get("thinking") or {}).get("type") == "enabled"
        return thinks or body.get("reasoning_effort") not in _OFF

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
            raise self.words.refused(
                None, "max_tokens and max_completion_tokens are the same field; send one"
            )
        if not chat.stream and (chat.max_tokens or 0) > _MOST_UNSTREAMED:
            # As public issues quote it.
            message = f"Requests with max_tokens > {_MOST_UNSTREAMED} must have stream=true"
            raise Refused("bad_request", error(400, message, "BAD_REQUEST", param="max_tokens"))
        tokens, context = prompt_tokens_of(chat.messages), _context(chat.model)
        if tokens > context and body.get("context_length_exceeded_behavior") != "truncate":
            raise self.words.refused(
                None, f"The prompt is too long: {tokens}, model maximum context length: {context}"
            )

    # Answers

    def answer_id(self, answer: Answer) -> str:
        return str(UUID(f"{answer.serial}{answer.serial[:8]}"))

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message = super().message(request, answer)
        for position, call in enumerate(message.get("tool_calls") or ()):
            call["index"] = position
        return message

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {**super().usage(answer), "prompt_tokens_details": {"cached_tokens": 0}}

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "managed models":
            return _managed(asked)
        # It lists fewer models than can be asked; the management list has them all.
        listed = asked.models[: max(1, len(asked.models) // 2)]
        return super().look_up(asked._replace(models=listed))

    def model_row(self, model: str) -> dict[str, Any]:
        return {
            **super().model_row(model),
            "kind": "HF_BASE_MODEL",
            "supports_chat": True,
            "supports_image_input": False,
            "supports_tools": True,
            "context_length": _context(model),
        }

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        return (
            ("fireworks-prompt-tokens", str(prompt_tokens)),
            ("fireworks-server-time-to-first-token", f"{latency_s:.3f}"),
        )

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        headers: tuple[tuple[str, str], ...] = ()
        for name, allowance in (("prompt", limits.input_tokens), ("generated", limits.output_tokens)):
            if allowance is not None:
                # Kept for the minute, told for the second.
                a_second = max(1, allowance.limit // 60)
                headers += (
                    (f"x-ratelimit-limit-tokens-{name}", str(a_second)),
                    (f"x-ratelimit-remaining-tokens-{name}", str(min(a_second, allowance.remaining))),
                )
        return headers

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return error(401, "The API key you provided is invalid.", "UNAUTHORIZED", "UNAUTHORIZED")

    def unknown_model(self, model: str) -> Reply:
        return error(404, "Model not found, inaccessible, and/or not deployed", "NOT_FOUND", param="model")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        refused = error(
            429, "Request didn't generate first token before the given deadline", "RATE_LIMIT_EXCEEDED"
        )
        over = ("x-ratelimit-over-limit", "yes")
        return refused._replace(headers=(*self.limit_headers(limits), over))

    def out_of_quota(self, limits: LimitState) -> Reply:
        return error(
            412,
            "Account is suspended, possibly due to reaching the monthly spending limit or failure to pay past "
            "invoices.",
            "PRECONDITION_FAILED",
        )

    def server_error(self, status: int) -> Reply:
        return self.overloaded() if status == 503 else error(status, "Internal server error", "INTERNAL")

    def overloaded(self) -> Reply:
        return error(503, "Service overloaded", "SERVICE_UNAVAILABLE")

    def bad_request(self, message: str) -> Reply:
        return error(400, message, "invalid_request_error", "invalid_request_error")

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Path not found", "NOT_FOUND")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return self.server_error(500)._replace(status=200)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))


def _context(model: str) -> int:
    return _CONTEXTS.get(model.partition("#")[0], _LONGEST_CONTEXT)


def _managed(asked: LookUp) -> Reply:
    query = {key: values[-1] for key, values in parse_qs(asked.request.query).items()}
    size, start = query.get("pageSize", "50"), query.get("pageToken", "0")
    if not size.isdecimal() or not 1 <= int(size) <= 200 or not start.isdecimal():
        return error(400, "pageSize must be from 1 to 200", "INVALID_ARGUMENT")
    end = int(start) + int(size)
    rows = [
        {
            "name": model,
            "displayName": model.rpartition("/")[2],
            "contextLength": _context(model),
            "supportsTools": True,
        }
        for model in asked.models[int(start) : end]
    ]
    token = str(end) if end < len(asked.models) else ""
    return Reply(200, {"models": rows, "nextPageToken": token, "totalSize": len(asked.models)})
