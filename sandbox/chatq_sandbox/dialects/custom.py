"""A server of one's own that speaks OpenAI's shape: lenient, keyless, any model, as most local servers are.

Reads what it knows, checks types only, ignores what it does not know. From: the rules common to vLLM,
llama.cpp, Ollama and their like; what one of them does differently is in `custom_variants.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.chat_completions import ChatCompletions
from chatq_sandbox.dialects.fields import Anything, Array, Check, Flag, Number, Object, Text, Texts, Words
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import Answer, ChatRequest, LimitReached, LimitState, LookUp, Reply
from chatq_sandbox.wire import event


def _bad_request(fault: Fault) -> Reply:
    message = f"{fault.name}: {fault.message}" if fault.name else fault.message
    return error(400, message, "BadRequestError", param=fault.name or None, code=400)


class Custom(ChatCompletions):
    """Any OpenAI-compatible server. A key is asked for only when the configuration has one."""

    source = "custom"
    default_models = ("local-model",)
    needs_key = False
    routes: ClassVar[Mapping[str, str]] = {
        "POST /v1/chat/completions": CHAT,
        "GET /v1/models": "models",
        "GET /v1/models/*": "model",
        "GET /health": "health",
    }
    open_endpoints = frozenset(("health",))
    words: ClassVar[Words] = PydanticWords(_bad_request)
    reasoning_field = "reasoning_content"
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "max_tokens": Number(1, whole=True),
        "max_completion_tokens": Number(1, whole=True),
        "temperature": Number(0),
        "top_p": Number(0, 1),
        "top_k": Number(-1, whole=True),
        "min_p": Number(0, 1),
        "frequency_penalty": Number(-2, 2),
        "presence_penalty": Number(-2, 2),
        "repetition_penalty": Number(0),
        "seed": Number(whole=True),
        "n": Number(1, whole=True),
        "stop": Texts(single=True),
        "stream": Flag(),
        "stream_options": Object(),
        "tools": Array(),
        "tool_choice": Anything(),
        "response_format": Object(),
        "reasoning_effort": Text(),
    }

    def presented_key(self, headers: Mapping[bytes, bytes]) -> str | None:
        key = headers.get(b"x-api-key")
        return key.decode("latin-1") if key else super().presented_key(headers)

    def check_required(self, body: dict[str, Any]) -> None:
        # The model is optional: many servers serve the one that is loaded.
        if body.get("messages") is None:
            raise self.words.missing("messages")

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        return body.get("reasoning_effort") not in (None, "none")

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "health":
            return Reply(200, {"status": "ok"})
        return super().look_up(asked)

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return error(401, "Invalid API key", "invalid_request_error", code="invalid_api_key")

    def unknown_model(self, model: str) -> Reply:
        return error(404, f"The model `{model}` does not exist.", "NotFoundError", param="model", code=404)

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        when = (("retry-after", str(ceil(reached.wait_s))),) if reached.wait_s is not None else ()
        return error(429, "Too many requests", "rate_limit_error", code="rate_limit_exceeded", headers=when)

    def out_of_quota(self, limits: LimitState) -> Reply:
        return error(429, "Your quota is used up.", "insufficient_quota", code="insufficient_quota")

    def server_error(self, status: int) -> Reply:
        return error(status, "Internal server error", "InternalServerError", code=status)

    def overloaded(self) -> Reply:
        return error(503, "The server is overloaded", "ServiceUnavailableError", code=503)

    def bad_request(self, message: str) -> Reply:
        return error(400, message, "BadRequestError", code=400)

    def not_found(self, method: str, path: str) -> Reply:
        return Reply(404, {"detail": "Not Found"})

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return error(200, "upstream failed", "api_error", code=502)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
