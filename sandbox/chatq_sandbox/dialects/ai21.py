"""AI21, Jamba's chat completions. From: API reference (Jamba), ai21 4.3 client and its errors."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.chat_completions import ChatCompletions
from chatq_sandbox.dialects.fields import (
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
    Reply,
    Role,
    ToolCall,
)
from chatq_sandbox.wire import event

_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_FORMATS = ("text", "json_object")


def error(status: int, detail: object, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """FastAPI's error body: a text, or pydantic's list."""
    return Reply(status, {"detail": detail}, headers)


def _unprocessable(fault: Fault) -> Reply:
    return error(422, [{"loc": ["body", *fault.location], "msg": fault.message, "type": fault.type}])


class AI21(ChatCompletions):
    """api.ai21.com. What is not in its client's list of fields is refused."""

    source = "ai21"
    default_models = ("jamba-mini", "jamba-large")
    routes: ClassVar[Mapping[str, str]] = {
        "POST /studio/v1/chat/completions": CHAT,
        "GET /studio/v1/models": "models",
    }
    # Without a key it answers too: 200 and an empty list.
    open_endpoints = frozenset(("models",))
    words: Words = PydanticWords(_unprocessable)
    strict = True
    max_tokens_fields = ("max_tokens",)
    usage_needs_asking = False
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "max_tokens": Number(0, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "stop": Texts(single=True),
        "n": Number(1, 16, whole=True),
        "stream": Flag(),
        "tools": Array(),
        "tool_choice": Text(),
        "response_format": Object(),
        "documents": Array(),
        "seed": Number(whole=True),
    }
    refusals: ClassVar[Mapping[str, Reply]] = {
        "invalid_request": error(400, "Invalid request"),
        "model_error": error(424, "Model error"),
        "dependency": error(530, "Internal dependency failed"),
        "raw_text": Reply(500, b"Internal Server Error", content_type="text/plain"),
    }

    # Requests

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        for position, item in enumerate(raw):
            if isinstance(item, dict) and not isinstance(item.get("content"), str | None):
                raise self.words.wrong_type(f"messages[{position}].content", "string", item["content"])
        return read_messages(raw, self.words, _ROLES)

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        kind = (body.get("response_format") or {}).get("type", "text")
        if kind not in _FORMATS:
            raise self.words.not_one_of("response_format.type", kind, _FORMATS)
        if body.get("tool_choice") is not None:
            OneOf(("none", "auto", "required")).check("tool_choice", body["tool_choice"], self.words)
        if chat.choices > 1 and chat.stream:
            raise self.words.refused("n", "n must be 1 when stream is true")
        for position, document in enumerate(body.get("documents") or ()):
            if not isinstance(document, dict) or not isinstance(document.get("content"), str):
                raise self.words.missing(f"documents[{position}].content")

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        whole = super().complete(request, answer)
        return {name: whole[name] for name in ("id", "choices", "usage")}

    def chunk_head(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {"id": self.answer_id(answer)}

    def answer_id(self, answer: Answer) -> str:
        return f"chat-{answer.serial}"

    def tool_call_id(self, call: ToolCall) -> str:
        return f"chatcmpl-tool-{call.id}"

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {"logprobs": None, **super().choice(index, request, answer)}

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {"tool_calls": None, **super().message(request, answer)}

    def look_up(self, asked: LookUp) -> Reply:
        return super().look_up(asked if asked.key_is_valid else asked._replace(models=()))

    def model_row(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model"}

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return error(401, "Forbidden: Bad or missing Apikey/JWT.")

    def unknown_model(self, model: str) -> Reply:
        return error(422, f"Model not found: {model}")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        when = () if reached.wait_s is None else (("retry-after", str(ceil(reached.wait_s))),)
        return error(429, "Too Many Requests", when)

    def out_of_quota(self, limits: LimitState) -> Reply:
        return error(403, "Quota exceeded")

    def server_error(self, status: int) -> Reply:
        return error(status, "Service Unavailable" if status == 503 else "Internal Server Error")

    def overloaded(self) -> Reply:
        return self.server_error(503)

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Not Found")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return error(200, "Internal Server Error")

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
