"""A server of one's own that speaks OpenAI's shape: lenient, keyless, as most local servers are.

Reads what it knows, checks types only, ignores what it does not know. From: the rules common to vLLM, llama.cpp,
Ollama and their like; what one of them does differently is in `custom_servers.py` and `custom_engines.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.chat_completions import ChatCompletions
from chatq_sandbox.dialects.fields import Anything, Array, Check, Flag, Number, Object, Text, Texts
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import Answer, ChatRequest, LimitReached, LimitState, LookUp, Reply
from chatq_sandbox.wire import event

CHAT_PATHS: Mapping[str, str] = {"POST /v1/chat/completions": CHAT}
LIST_PATHS: Mapping[str, str] = {"GET /v1/models": "models", "GET /v1/models/*": "model"}


class Custom(ChatCompletions):
    """Any OpenAI-compatible server. A key is asked for only when the configuration has one."""

    source = "custom"
    default_models: ClassVar[tuple[str, ...]] = ("local-model",)
    needs_key = False
    routes: ClassVar[Mapping[str, str]] = {**CHAT_PATHS, **LIST_PATHS, "GET /health": "health"}
    open_endpoints = frozenset(("health",))
    reasoning_field: ClassVar[str | None] = "reasoning_content"
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
        "chat_template_kwargs": Object(),
    }

    key_headers: ClassVar[tuple[str, ...]] = ("authorization", "x-api-key")
    """Where the key may stand."""

    takes_any_model: ClassVar[bool] = False
    """Whether the model's name is not looked at: the one that is loaded answers, under its own name."""

    think_tags: ClassVar[bool] = False
    """Whether reasoning stands in the content, between <think> and </think>."""

    leaves_out: ClassVar[frozenset[str]] = frozenset()
    """What an answer and its choices lack of OpenAI's shape."""

    row_leaves_out: ClassVar[frozenset[str]] = frozenset()
    answer_extra: ClassVar[Mapping[str, Any]] = {}
    choice_extra: ClassVar[Mapping[str, Any]] = {}
    message_extra: ClassVar[Mapping[str, Any]] = {}
    row_extra: ClassVar[Mapping[str, Any]] = {}
    look_ups: ClassVar[Mapping[str, Reply]] = {"health": Reply(200, {"status": "ok"})}
    """Endpoints whose answer does not depend on anything."""

    def __init__(self) -> None:
        self.words = PydanticWords(self.wrong_field)

    # Requests

    def presented_key(self, headers: Mapping[bytes, bytes]) -> str | None:
        key = headers.get(b"x-api-key") if "x-api-key" in self.key_headers else None
        return key.decode("latin-1") if key else super().presented_key(headers)

    def check_required(self, body: dict[str, Any]) -> None:
        # The model is optional: many servers serve the one that is loaded.
        if body.get("messages") is None:
            raise self.words.missing("messages")

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        return self.takes_any_model or super().model_exists(model, models)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        told = (body.get("chat_template_kwargs") or {}).get("enable_thinking")
        return bool(told) or body.get("reasoning_effort") not in (None, "none")

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        whole = {**super().complete(request, answer), **self.answer_extra}
        return {name: value for name, value in whole.items() if name not in self.leaves_out}

    def answered_model(self, model: str) -> str:
        return self.default_models[0] if self.takes_any_model else model

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        choice = {**self.choice_extra, **super().choice(index, request, answer)}
        return {name: value for name, value in choice.items() if name not in self.leaves_out}

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message = {**self.message_extra, **super().message(request, answer)}
        if self.think_tags and answer.reasoning:
            message["content"] = f"<think>\n{answer.reasoning}\n</think>\n\n{answer.text}"
        return {name: value for name, value in message.items() if name not in self.leaves_out}

    def streamed_usage(self, request: ChatRequest, answer: Answer) -> dict[str, Any] | None:
        return None if "usage" in self.leaves_out else super().streamed_usage(request, answer)

    def chunk_head(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        head = super().chunk_head(request, answer)
        return {name: value for name, value in head.items() if name not in self.leaves_out}

    def look_up(self, asked: LookUp) -> Reply:
        return self.look_ups.get(asked.endpoint) or super().look_up(asked)

    def model_row(self, model: str) -> dict[str, Any]:
        row = {**super().model_row(model), **self.row_extra}
        return {name: value for name, value in row.items() if name not in self.row_leaves_out}

    # Refusals

    def refusal(
        self,
        status: int,
        message: str,
        kind: str,
        param: str | None = None,
        code: str | int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        """How this server says no."""
        return error(status, message, kind, param, code, headers)

    def wrong_field(self, fault: Fault) -> Reply:
        """The refusal of one field."""
        message = f"{fault.name}: {fault.message}" if fault.name else fault.message
        return self.refusal(400, message, "BadRequestError", fault.name or None, 400)

    def unauthorized(self, key: str | None) -> Reply:
        return self.refusal(401, "Invalid API key", "invalid_request_error", code="invalid_api_key")

    def unknown_model(self, model: str) -> Reply:
        return self.refusal(404, f"The model `{model}` does not exist.", "NotFoundError", "model", 404)

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        when = (("retry-after", str(ceil(reached.wait_s))),) if reached.wait_s is not None else ()
        kind, code = "rate_limit_error", "rate_limit_exceeded"
        return self.refusal(429, "Too many requests", kind, code=code, headers=when)

    def out_of_quota(self, limits: LimitState) -> Reply:
        kind = "insufficient_quota"
        return self.refusal(429, "Your quota is used up.", kind, code=kind)

    def server_error(self, status: int) -> Reply:
        return self.refusal(status, "Internal server error", "InternalServerError", code=status)

    def overloaded(self) -> Reply:
        return self.refusal(503, "The server is overloaded", "ServiceUnavailableError", code=503)

    def bad_request(self, message: str) -> Reply:
        return self.refusal(400, message, "BadRequestError", code=400)

    def not_found(self, method: str, path: str) -> Reply:
        return Reply(404, {"detail": "Not Found"})

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return error(200, "upstream failed", "api_error", code=502)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
