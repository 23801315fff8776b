"""Mistral, Chat Completions. From: API reference, Error glossary; mistralai 3.7 client; messages that users quote."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.chat_completions import ChatCompletions, pieces
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
    mapping_of,
)
from chatq_sandbox.dialects.mistralai_messages import check_tools, read_messages
from chatq_sandbox.dialects.mistralai_words import WORDS, error
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    LimitReached,
    LimitState,
    Message,
    Reply,
    Tool,
    ToolCall,
)
from chatq_sandbox.wire import event

_UNAUTHORIZED = error(401, "Unauthorized", "authentication_error")


class MistralAI(ChatCompletions):
    """api.mistral.ai."""

    source = "mistralai"
    default_models = (
        "mistral-small-latest",
        "mistral-small-2603",
        "mistral-medium-3.5",
        "mistral-large-latest",
        "magistral-medium-latest",
        "mistral-embed",
    )
    words: Words = WORDS
    strict = True
    max_tokens_fields = ("max_tokens",)
    usage_needs_asking = False
    tells_limits_on = frozenset((400, 422, 429))
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "temperature": Number(0, 1.5),
        "top_p": Number(0, 1),
        "top_k": Number(0, whole=True),
        "max_tokens": Number(0, whole=True),
        "min_tokens": Number(0, whole=True),
        "stream": Flag(),
        "stop": Texts(single=True),
        "random_seed": Number(0, whole=True),
        "metadata": Object(),
        "response_format": Object(),
        "tools": Array(),
        "tool_choice": Anything(),
        "presence_penalty": Number(-2, 2),
        "frequency_penalty": Number(-2, 2),
        "repetition_penalty": Number(0),
        "n": Number(1, whole=True),
        "logprobs": Flag(),
        "top_logprobs": Number(0, whole=True),
        "prompt_logprobs": Number(0, whole=True),
        "prediction": Object(),
        "parallel_tool_calls": Flag(),
        "reasoning_effort": Text(),
        "prompt_mode": OneOf(("reasoning",)),
        "guardrails": Array(),
        "prompt_cache_key": Text(),
        "service_tier": OneOf(("auto", "standard_only")),
        "safe_prompt": Flag(),
    }
    refusals: ClassVar[Mapping[str, Reply]] = {
        "capacity": error(
            429,
            "Service tier capacity exceeded for this model.",
            "service_tier_capacity_exceeded",
            "3505",
        ),
        "payment": error(402, "Payment required"),
        "gateway_unauthorized": Reply(401, {"detail": "Unauthorized"}),
    }

    # Requests

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        return model in models and _chats(model)

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        return read_messages(raw)

    def read_tools(self, raw: Any) -> tuple[Tool, ...]:
        check_tools(raw)
        return super().read_tools(raw)

    def read_tool_choice(self, raw: Any, tools: tuple[Tool, ...]) -> str:
        if isinstance(raw, str) and raw not in ("auto", "none", "any", "required"):
            raise WORDS.not_one_of("tool_choice", raw, ("auto", "none", "any", "required"))
        return super().read_tool_choice(raw, tools)

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        if isinstance(raw, dict):
            kinds = ("text", "json_object", "json_schema")
            if raw.get("type", "text") not in kinds:
                raise WORDS.not_one_of("response_format.type", raw["type"], kinds)
            if raw.get("type") == "json_schema":
                wrapper = mapping_of(raw.get("json_schema"))
                for name in ("name", "schema"):
                    if name not in wrapper:
                        raise WORDS.missing(f"response_format.json_schema.{name}")
        return super().read_json_schema(raw, messages)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        if body.get("reasoning_effort") is not None:
            return bool(body["reasoning_effort"] != "none")
        return model.startswith("magistral") or body.get("prompt_mode") == "reasoning"

    def prefill(self, raw_messages: list[Any]) -> str:
        last = raw_messages[-1]
        return str(last.get("content") or "") if last["role"] == "assistant" else ""

    # Answers

    def answer_id(self, answer: Answer) -> str:
        return f"{answer.serial}{answer.serial[:8]}"

    def tool_call_id(self, call: ToolCall) -> str:
        return call.id[:9]

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        # The prefix stands in the answer again.
        text = request.prefill + answer.text
        content: Any = text
        if answer.reasoning:
            thoughts = [{"type": "text", "text": answer.reasoning}]
            content = [{"type": "thinking", "thinking": thoughts}, {"type": "text", "text": text}]
        calls = [
            {**self.tool_call(call), "index": position} for position, call in enumerate(answer.tool_calls)
        ]
        return {"role": "assistant", "content": content, "tool_calls": calls or None}

    def text_deltas(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        content = message["content"]
        if isinstance(content, str):
            return super().text_deltas(message)
        thinking, text = content
        thoughts = pieces(thinking["thinking"][0]["text"])
        deltas = [{**thinking, "thinking": [{"type": "text", "text": piece}]} for piece in thoughts]
        return [*({"content": [delta]} for delta in deltas), *super().text_deltas({"content": text["text"]})]

    def model_row(self, model: str) -> dict[str, Any]:
        chats = _chats(model)
        return {
            **super().model_row(model),
            "capabilities": {
                "completion_chat": chats,
                "function_calling": chats,
                "reasoning": chats,
                "completion_fim": False,
                "fine_tuning": False,
                "vision": chats,
                "ocr": False,
                "classification": False,
                "moderation": False,
                "audio": False,
            },
            "name": model,
            "description": None,
            "max_context_length": 262144,
            "aliases": [],
            "deprecation": None,
            "default_model_temperature": 0.7,
            "type": "base",
        }

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        name = f"019b{serial[:4]}-{serial[4:8]}-7{serial[8:11]}-8{serial[11:14]}-{serial[12:24]}"
        return (("mistral-correlation-id", name), ("x-kong-request-id", name))

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        headers: tuple[tuple[str, str], ...] = ()
        for name, allowance in (
            ("req-minute", limits.requests),
            ("tokens-minute", limits.tokens),
            ("tokens-month", limits.tokens_month),
        ):
            if allowance is not None:
                headers += (
                    (f"x-ratelimit-limit-{name}", str(allowance.limit)),
                    (f"x-ratelimit-remaining-{name}", str(allowance.remaining)),
                )
        return (*headers, ("x-ratelimit-tokens-query-cost", str(limits.charged))) if headers else ()

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return _UNAUTHORIZED

    def unknown_model(self, model: str) -> Reply:
        return error(400, f"Invalid model: {model}", "invalid_model", "1500")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        when = () if reached.wait_s is None else (("retry-after", str(ceil(reached.wait_s))),)
        refused = error(429, "Rate limit exceeded", "rate_limited", "1300")
        return refused._replace(headers=(*self.limit_headers(limits), *when))

    def out_of_quota(self, limits: LimitState) -> Reply:
        # The words of a reached limit; only a limit of 0 tells that waiting does not help.
        nothing = (("x-ratelimit-limit-req-minute", "0"), ("x-ratelimit-remaining-req-minute", "0"))
        return error(429, "Rate limit exceeded", "rate_limited", "1300")._replace(headers=nothing)

    def server_error(self, status: int) -> Reply:
        message = "Service unavailable." if status == 503 else "Internal server error"
        return error(status, message, "server_error")

    def overloaded(self) -> Reply:
        return self.server_error(503)

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def not_found(self, method: str, path: str) -> Reply:
        return Reply(404, {"detail": "Not Found"})

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return Reply(200, self.complete(request, answer._replace(finish_word="error")))

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))


def _chats(model: str) -> bool:
    return "embed" not in model
