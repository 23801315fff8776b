"""Perplexity's old Sonar shape, as gateways and older proxies still speak it.

From: the Chat Completions reference as it stood before the Agent API; message rules from answers that users quote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
    Words,
    text_of,
)
from chatq_sandbox.dialects.perplexity_words import (
    OUT_OF_QUOTA,
    UNAUTHORIZED,
    WORDS,
    error,
    rate_limited,
    server_error,
)
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    LimitReached,
    LimitState,
    LookUp,
    Message,
    Refused,
    Reply,
    Role,
)
from chatq_sandbox.wire import event

_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_ASKING = ("user", "tool")
_URL = "https://example.org/rain"


class PerplexitySonar(ChatCompletions):
    """A gateway that speaks Sonar. It has no model list."""

    source = "perplexity-sonar"
    default_models = ("sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research")
    routes: ClassVar[Mapping[str, str]] = {
        "POST /chat/completions": CHAT,
        "POST /v1/chat/completions": CHAT,
    }
    words: Words = WORDS
    max_tokens_fields = ("max_tokens",)
    usage_needs_asking = False
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "max_tokens": Number(1, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "top_k": Number(0, 2048, whole=True),
        "presence_penalty": Number(-2, 2),
        "frequency_penalty": Number(),
        "stream": Flag(),
        "response_format": Object(),
        "search_domain_filter": Anything(),
        "search_recency_filter": OneOf(("hour", "day", "week", "month", "year")),
        "web_search_options": Object(),
        "disable_search": Flag(),
        "return_images": Flag(),
        "return_related_questions": Flag(),
        "reasoning_effort": OneOf(("minimal", "low", "medium", "high")),
    }

    # Requests

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        messages = []
        for position, item in enumerate(raw):
            role = item.get("role") if isinstance(item, dict) else None
            if not isinstance(role, str) or role not in _ROLES:
                raise WORDS.not_one_of(f"messages[{position}].role", role, tuple(_ROLES))
            messages.append(Message(_ROLES[role], text_of(item.get("content"))))
        talk = [message.role for message in messages]
        while talk and talk[0] == "system":
            talk.pop(0)
        for position, role in enumerate(talk):
            if role not in (_ASKING if position % 2 == 0 else ("assistant",)):
                raise _wrong_order(
                    "After the (optional) system message(s), user or tool message(s) should alternate with assistant "
                    "message(s)."
                )
        if not talk or talk[-1] not in _ASKING:
            raise _wrong_order("Last message must have role `user`.")
        return tuple(messages)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        return "reasoning" in model or "deep-research" in model

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        frequency = body.get("frequency_penalty")
        if frequency is not None and frequency <= 0:
            raise WORDS.refused(None, "frequency_penalty must be greater than 0")
        if frequency is not None and body.get("presence_penalty") is not None:
            raise WORDS.refused(None, "only one of presence_penalty and frequency_penalty can be set")
        kind = (body.get("response_format") or {}).get("type")
        if kind not in (None, "text", "json_schema", "regex"):
            raise WORDS.not_one_of("response_format.type", kind, ("text", "json_schema", "regex"))

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        whole = {**super().complete(request, answer), "usage": self._usage(request, answer)}
        return {**whole, **_found(request)}

    def chunk_head(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {**super().chunk_head(request, answer), **_found(request)}

    def streamed_usage(self, request: ChatRequest, answer: Answer) -> dict[str, Any] | None:
        return self._usage(request, answer)

    def answer_id(self, answer: Answer) -> str:
        return answer.serial

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        empty = {"role": "assistant", "content": ""}
        return {**super().choice(index, request, answer), "delta": empty}

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        searched = not request.body.get("disable_search") and request.json_schema is None
        content = f"{answer.text} [1]" if searched and answer.finish == "stop" else answer.text
        if answer.reasoning:
            content = f"<think>\n{answer.reasoning}\n</think>\n{content}"
        return {"role": "assistant", "content": content}

    def _usage(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        spent = {
            "input_tokens_cost": round(answer.prompt_tokens * 3e-6, 8),
            "output_tokens_cost": round(answer.completion_tokens * 15e-6, 8),
            "request_cost": 0.006,
        }
        size = (request.body.get("web_search_options") or {}).get("search_context_size", "low")
        reasoning = {"reasoning_tokens": answer.reasoning_tokens} if answer.reasoning_tokens else {}
        return {
            **super().usage(answer),
            "search_context_size": size,
            "cost": {**spent, "total_cost": round(sum(spent.values()), 8)},
            **reasoning,
        }

    def look_up(self, asked: LookUp) -> Reply:
        return self.not_found(asked.request.method, asked.request.path)

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return UNAUTHORIZED

    def unknown_model(self, model: str) -> Reply:
        message = f"Invalid model '{model}'. Permitted models can be found in the documentation."
        return error(400, message, "invalid_model")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        return rate_limited(reached)

    def out_of_quota(self, limits: LimitState) -> Reply:
        return OUT_OF_QUOTA

    def server_error(self, status: int) -> Reply:
        return server_error(status)

    def overloaded(self) -> Reply:
        return server_error(503)

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Not found", "not_found_error")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return server_error(500)._replace(status=200)

    def error_event(self) -> bytes:
        return event(orjson.dumps(server_error(500).body))


def _found(request: ChatRequest) -> dict[str, Any]:
    """What the search brought."""
    if request.body.get("disable_search"):
        return {}
    page = {"title": "Rain", "url": _URL, "date": "2026-01-02", "last_updated": None}
    return {
        "citations": [_URL],
        "search_results": [{**page, "snippet": "Rain is water.", "source": "web"}],
    }


def _wrong_order(message: str) -> Refused:
    return Refused("bad_request", error(400, message, "invalid_message"))
