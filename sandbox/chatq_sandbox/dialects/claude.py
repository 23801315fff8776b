"""Claude, the Messages API in both its versions. From: API reference (Messages, Models, Errors, Rate limits), Migrating
to API version 2026-10-21; anthropic-sdk-python 2.12."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT, Dialect
from chatq_sandbox.dialects.claude_fields import (
    FIELDS,
    SAMPLING_FIELDS,
    check_sampling,
    check_sizes,
    forces_tool,
    read_json_schema,
    read_tool_choice,
    read_tools,
    thinks,
)
from chatq_sandbox.dialects.claude_models import DEFAULT_MODELS, model_of, page, resolved, row
from chatq_sandbox.dialects.claude_stream import events_of
from chatq_sandbox.dialects.claude_turns import (
    check_thinking_sent_back,
    messages_of,
    read_system,
    read_turns,
    signature_of,
)
from chatq_sandbox.dialects.claude_words import OLD_VERSION, REFUSALS, WORDS, error, version_of
from chatq_sandbox.dialects.fields import check_fields
from chatq_sandbox.exchange import (
    Allowance,
    Answer,
    ChatRequest,
    Finish,
    HttpRequest,
    LimitReached,
    LimitState,
    LookUp,
    Refused,
    Reply,
)
from chatq_sandbox.tokens import prompt_tokens_of
from chatq_sandbox.wire import event

_COUNTED_AS = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "concurrency": "concurrent connections",
}
_RETRY, _NO_RETRY = (("x-should-retry", "true"),), (("x-should-retry", "false"),)


class Claude(Dialect):
    """api.anthropic.com."""

    source = "claude"
    default_models = DEFAULT_MODELS
    routes: ClassVar[Mapping[str, str]] = {
        "POST /v1/messages": CHAT,
        "POST /v1/messages/count_tokens": "count_tokens",
        "GET /v1/models": "models",
        "GET /v1/models/*": "model",
    }
    refusals = REFUSALS
    finish_words: ClassVar[Mapping[Finish, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "refusal": "refusal",
    }

    # Requests

    def presented_key(self, headers: Mapping[bytes, bytes]) -> str | None:
        key = headers.get(b"x-api-key")
        return key.decode("latin-1") if key else super().presented_key(headers)

    def pool(self, model: str) -> str:
        # "Rate limits": one limit for all models of a line and a generation.
        known = model_of(model)
        return f"{known.line}-{known.generation[0]}"

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        old = version_of(request) == OLD_VERSION
        if not isinstance(body, dict):
            raise WORDS.wrong_type("", "object", body)
        for name in ("model", "max_tokens", "messages"):
            if name not in body:
                raise WORDS.missing(name)
        fields = {**FIELDS, **SAMPLING_FIELDS} if old else FIELDS
        check_fields(body, fields, WORDS, strict=True, null_is_absent=False)
        model = resolved(body["model"], models)
        if model is None:
            raise Refused("unknown_model", self.unknown_model(body["model"]))
        known = model_of(model)
        turns = read_turns(body["messages"], known, old_version=old)
        tools = read_tools(body.get("tools") or [])
        chat = ChatRequest(
            model=model,
            messages=(*read_system(body.get("system")), *messages_of(turns)),
            max_tokens=body["max_tokens"],
            stop=tuple(body.get("stop_sequences") or ()),
            stream=bool(body.get("stream")),
            tools=tools,
            tool_choice=read_tool_choice(body, tools),
            json_schema=read_json_schema(body.get("output_config") or {}),
            reasons=thinks(body, known),
            body=body,
        )
        if any(not stop.strip() for stop in chat.stop):
            raise WORDS.refused(None, "stop_sequences: each stop sequence must contain non-whitespace")
        check_sampling(body, known, thinking=chat.reasons)
        check_sizes(chat, known)
        if chat.reasons and forces_tool(body.get("tool_choice")):
            raise WORDS.refused(None, "Thinking may not be enabled when tool_choice forces tool use.")
        if chat.reasons and body["thinking"]["type"] == "enabled":
            check_thinking_sent_back(turns)
        return chat

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        stopped = answer.finish == "stop" and bool(answer.stopped_by)
        message: dict[str, Any] = {
            "id": f"msg_{answer.serial}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": _content(request, answer),
            "stop_reason": answer.finish_word
            or ("stop_sequence" if stopped else self.finish_words[answer.finish]),
            "stop_sequence": answer.stopped_by if stopped else None,
            "usage": {
                "input_tokens": answer.prompt_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": answer.completion_tokens,
                "service_tier": "standard",
            },
        }
        if request.reasons:
            message["usage"] |= {"output_tokens_details": {"thinking_tokens": answer.reasoning_tokens}}
        if message["stop_reason"] == "refusal":
            message["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
        return message

    def stream(self, request: ChatRequest, answer: Answer) -> list[bytes]:
        return events_of(self.complete(request, answer))

    def look_up(self, asked: LookUp) -> Reply:
        try:
            version_of(asked.request)
            match asked.endpoint:
                case "models":
                    found = page(asked.request.query, asked.models)
                    return Reply(200, found) if isinstance(found, dict) else error(400, found)
                case "count_tokens":
                    return self._count_tokens(asked)
        except Refused as refused:
            return refused.reply
        model = resolved(asked.rest, asked.models)
        return Reply(200, row(model)) if model else self.unknown_model(asked.rest)

    def _count_tokens(self, asked: LookUp) -> Reply:
        try:
            body = orjson.loads(asked.request.body)
        except orjson.JSONDecodeError as problem:
            return self.bad_request(f"The request body is not valid JSON: {problem}")
        if isinstance(body, dict):
            for name in ("max_tokens", "stream", "temperature", "stop_sequences", "metadata"):
                if name in body:
                    return WORDS.unknown(name, body[name]).reply
            body["max_tokens"] = 64_000
        chat = self.read(asked.request, body, asked.models)
        return Reply(200, {"input_tokens": prompt_tokens_of(chat.messages)})

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        return (
            ("request-id", f"req_{serial}"),
            ("anthropic-organization-id", "00000000-0000-0000-0000-000000000001"),
        )

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        found = (
            ("requests", limits.requests),
            ("input-tokens", limits.input_tokens),
            ("output-tokens", limits.output_tokens),
            ("tokens", limits.tokens or _together(limits.input_tokens, limits.output_tokens)),
        )
        headers: tuple[tuple[str, str], ...] = ()
        for name, allowance in found:
            if allowance is not None:
                headers += (
                    (f"anthropic-ratelimit-{name}-limit", str(allowance.limit)),
                    (f"anthropic-ratelimit-{name}-remaining", str(allowance.remaining)),
                    (f"anthropic-ratelimit-{name}-reset", _moment(limits.unix_s + allowance.reset_s)),
                )
        return headers

    def signed(self, reply: Reply, serial: str, latency_s: float, limits: LimitState | None) -> Reply:
        if isinstance(reply.body, dict) and reply.body.get("type") == "error":
            reply = reply._replace(body={**reply.body, "request_id": f"req_{serial}"})
        return super().signed(reply, serial, latency_s, limits)

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        message = "x-api-key header is required" if key is None else "invalid x-api-key"
        return error(401, message, headers=_NO_RETRY)

    def unknown_model(self, model: str) -> Reply:
        return error(404, f"model: {model}")

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        message = (
            f"This request would exceed your organization's rate limit of {reached.limit:,} "
            f"{_COUNTED_AS[reached.what]}{'' if reached.what == 'concurrency' else ' per minute'}."
        )
        when = () if reached.wait_s is None else (("retry-after", str(ceil(reached.wait_s))), *_RETRY)
        return error(429, message, headers=(*self.limit_headers(limits), *when))

    def out_of_quota(self, limits: LimitState) -> Reply:
        message = "Your organization has reached its monthly usage threshold."
        return error(429, message, "enforced_spend_limit_reached")

    def server_error(self, status: int) -> Reply:
        if status == 529:
            return self.overloaded()
        timed_out = "The request timed out while processing."
        return error(status, timed_out if status == 504 else "Internal server error")

    def overloaded(self) -> Reply:
        return error(529, "Overloaded", headers=_RETRY)

    def bad_request(self, message: str) -> Reply:
        return error(400, message)

    def too_large(self) -> Reply:
        return REFUSALS["request_too_large"]

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Not Found")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        # A gateway's doing: the API itself says so only inside a stream.
        return error(500, "Internal server error")._replace(status=200)

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.overloaded().body), "error")


def _content(request: ChatRequest, answer: Answer) -> list[dict[str, Any]]:
    if answer.finish in ("refusal", "content_filter"):
        return []
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        default = "omitted" if model_of(request.model).hides_thinking else "summarized"
        hidden = request.body["thinking"].get("display", default) == "omitted"
        thinking = "" if hidden else answer.reasoning
        signature = signature_of(answer.serial, thinking)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
    if answer.tool_calls and request.tool_choice == "auto":
        blocks.append({"type": "text", "text": f"I will use {answer.tool_calls[0].name}."})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    blocks += [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": call.arguments}
        for call in answer.tool_calls
    ]
    return blocks


def _together(one: Allowance | None, other: Allowance | None) -> Allowance | None:
    if one is None or other is None:
        return None
    return Allowance(
        one.limit + other.limit, one.remaining + other.remaining, max(one.reset_s, other.reset_s)
    )


def _moment(unix_s: float) -> str:
    """RFC 3339, in whole seconds: `2026-11-22T12:00:01Z`."""
    return datetime.fromtimestamp(ceil(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
