"""Cohere, Chat v2. From: API reference (Chat, List Models), Errors, API Keys and Rate Limits; cohere-python 7.3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs
from uuid import UUID

import orjson

from chatq_sandbox.dialects.base import CHAT, Dialect
from chatq_sandbox.dialects.chat_completions import pieces
from chatq_sandbox.dialects.cohere_messages import documents_of, read_messages, read_tools
from chatq_sandbox.dialects.cohere_words import WORDS, error
from chatq_sandbox.dialects.fields import (
    Array,
    Check,
    Flag,
    Number,
    Object,
    OneOf,
    Text,
    Texts,
    check_fields,
    stops_of,
)
from chatq_sandbox.exchange import (
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
from chatq_sandbox.tokens import prompt_tokens_of, split
from chatq_sandbox.wire import event

_THINKS = re.compile(r"command-a-(reasoning|plus)")
_OLDER = re.compile(r"command-r(-plus)?(-|$)")
_CONTEXT_TOKENS = 256_000
_TEMPLATE_TOKENS = 70
"""What the chat template adds to a prompt: in `tokens`, not in `billed_units`."""

_TRIAL = (
    "You are using a Trial key, which is limited to {limit} API calls / {period}. You can continue to use the Trial "
    "key for free or upgrade to a Production key with higher rate limits."
)
_MONTHLY_CALLS = 1000


class Cohere(Dialect):
    """api.cohere.com."""

    source = "cohere"
    default_models = (
        "command-a-03-2025",
        "command-a-plus-05-2026",
        "command-a-reasoning-08-2025",
        "command-r7b-12-2024",
        "command-r-08-2024",
        "embed-v4.0",
    )
    routes: ClassVar[Mapping[str, str]] = {
        "POST /v2/chat": CHAT,
        "GET /v1/models": "models",
        "GET /v1/models/*": "model",
    }
    tells_limits_on = frozenset((400, 404, 422))
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "stream": Flag(),
        "tools": Array(),
        "strict_tools": Flag(),
        "documents": Array(),
        "citation_options": Object(),
        "response_format": Object(),
        "safety_mode": OneOf(("CONTEXTUAL", "STRICT", "OFF")),
        "max_tokens": Number(0, whole=True),
        "stop_sequences": Texts(most=5),
        "temperature": Number(0),
        "seed": Number(0, whole=True),
        "frequency_penalty": Number(0, 1),
        "presence_penalty": Number(0, 1),
        "k": Number(0, 500, whole=True),
        "p": Number(0.01, 0.99),
        "logprobs": Flag(),
        "tool_choice": OneOf(("REQUIRED", "NONE")),
        "thinking": Object(),
        "priority": Number(0, 999, whole=True),
    }
    finish_words: ClassVar[Mapping[Finish, str]] = {
        "stop": "COMPLETE",
        "length": "MAX_TOKENS",
        "tool_calls": "TOOL_CALL",
        "content_filter": "ERROR",
        "refusal": "COMPLETE",
    }
    refusals: ClassVar[Mapping[str, Reply]] = {
        "payment": error(402, "Please add or update your payment method."),
        "forbidden": error(403, "Your account is blocked. Contact support."),
        "invalid_token": error(498, "invalid token"),
        "cancelled": error(499, "request cancelled"),
        "not_implemented": error(501, "not implemented"),
    }

    # Requests

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        if not isinstance(body, dict):
            raise WORDS.wrong_type("body", "object", body)
        for name in ("model", "messages"):
            if body.get(name) is None:
                raise WORDS.missing(name)
        check_fields(body, self.fields, WORDS, strict=True)
        model = body["model"]
        if not self.model_exists(model, models):
            raise Refused("unknown_model", self.unknown_model(model))
        messages = read_messages(body["messages"])
        tools = read_tools(body.get("tools") or [])
        chat = ChatRequest(
            model=model,
            messages=messages,
            max_tokens=body.get("max_tokens"),
            stop=stops_of(body.get("stop_sequences")),
            stream=bool(body.get("stream")),
            tools=tools,
            tool_choice=str(body.get("tool_choice") or "auto").lower(),
            json_schema=_json_schema(body.get("response_format")),
            reasons=_reasons(model, body.get("thinking")),
            body=body,
        )
        _check_more(chat, body)
        return chat

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        return model in models and _chats(model)

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        stopped = answer.finish == "stop" and bool(answer.stopped_by)
        whole: dict[str, Any] = {
            "id": _uuid(answer.serial),
            "message": _message(request, answer),
            "finish_reason": answer.finish_word
            or ("STOP_SEQUENCE" if stopped else self.finish_words[answer.finish]),
            "usage": {
                "billed_units": {
                    "input_tokens": answer.prompt_tokens,
                    "output_tokens": answer.completion_tokens,
                },
                "tokens": {
                    "input_tokens": answer.prompt_tokens + _TEMPLATE_TOKENS,
                    "output_tokens": answer.completion_tokens,
                },
                "cached_tokens": 0,
            },
        }
        if request.body.get("logprobs"):
            whole["logprobs"] = [
                {"text": token, "token_ids": [number], "logprobs": [-0.1]}
                for number, token in enumerate(split(answer.text))
            ]
        return whole

    def stream(self, request: ChatRequest, answer: Answer) -> list[bytes]:
        whole = self.complete(request, answer)
        message = whole["message"]
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        events = [_event("message-start", {"message": empty}, id=whole["id"])]
        for index, block in enumerate(message.get("content") or ()):
            kind = block["type"]
            opening = {"message": {"content": {"type": kind, kind: ""}}}
            events.append(_event("content-start", opening, index=index))
            events += [
                _event("content-delta", {"message": {"content": {kind: piece}}}, index=index)
                for piece in pieces(block[kind])
            ]
            events.append(_event("content-end", index=index))
        for piece in pieces(message.get("tool_plan")):
            events.append(_event("tool-plan-delta", {"message": {"tool_plan": piece}}))
        for index, call in enumerate(message.get("tool_calls") or ()):
            function = call["function"]
            begun = {**call, "function": {**function, "arguments": ""}}
            events.append(_event("tool-call-start", {"message": {"tool_calls": begun}}, index=index))
            for piece in pieces(function["arguments"]):
                more = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
                events.append(_event("tool-call-delta", more, index=index))
            events.append(_event("tool-call-end", index=index))
        for index, citation in enumerate(message.get("citations") or ()):
            events.append(_event("citation-start", {"message": {"citations": citation}}, index=index))
            events.append(_event("citation-end", index=index))
        ending = {"finish_reason": whole["finish_reason"], "usage": whole["usage"]}
        return [*events, _event("message-end", ending, id=whole["id"])]

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "model":
            found = asked.rest in asked.models
            return Reply(200, _row(asked.rest)) if found else self.unknown_model(asked.rest)
        query = {key: values[-1] for key, values in parse_qs(asked.request.query).items()}
        size, start = query.get("page_size", "20"), query.get("page_token", "0")
        if not size.isdecimal() or not 1 <= int(size) <= 1000:
            return WORDS.out_of_range("page_size", 0, 1, 1000, whole=True).reply
        if not start.isdecimal():
            return WORDS.refused(None, "page_token is not valid.").reply
        rows = [_row(model) for model in asked.models]
        if "endpoint" in query:
            rows = [row for row in rows if query["endpoint"] in row["endpoints"]]
        end = int(start) + int(size)
        return Reply(
            200,
            {
                "models": rows[int(start) : end],
                "next_page_token": str(end) if end < len(rows) else None,
            },
        )

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        return (("x-debug-trace-id", f"{serial}{serial[:8]}"),)

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        headers: tuple[tuple[str, str], ...] = ()
        if limits.requests_month is not None:
            headers += (("x-endpoint-monthly-call-limit", str(limits.requests_month.limit)),)
        if limits.requests is not None:
            headers += (
                ("x-trial-endpoint-call-limit", str(limits.requests.limit)),
                ("x-trial-endpoint-call-remaining", str(limits.requests.remaining)),
            )
        return headers

    def signed(self, reply: Reply, serial: str, latency_s: float, limits: LimitState | None) -> Reply:
        if isinstance(reply.body, dict) and reply.status >= 400:
            reply = reply._replace(body={"id": _uuid(serial), **reply.body})
        return super().signed(reply, serial, latency_s, limits)

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return error(401, "no api key supplied" if key is None else "invalid api token")

    def unknown_model(self, model: str) -> Reply:
        return error(
            404,
            f"model '{model}' not found, make sure the correct model ID was used and that you have access to the "
            "model.",
        )

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        # The headers that tell the limits are missing on a 429.
        return error(429, _TRIAL.format(limit=reached.limit, period="minute"))

    def out_of_quota(self, limits: LimitState) -> Reply:
        month = limits.requests_month
        return error(429, _TRIAL.format(limit=month.limit if month else _MONTHLY_CALLS, period="month"))

    def server_error(self, status: int) -> Reply:
        return self.overloaded() if status == 503 else error(status, "internal server error")

    def overloaded(self) -> Reply:
        return error(503, "service unavailable", (("retry-after", "3"),))

    def bad_request(self, message: str) -> Reply:
        return error(400, f"invalid request: {message}")

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "page not found")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        return Reply(200, self.complete(request, answer._replace(finish_word="ERROR")))

    def error_event(self) -> bytes:
        return _event("message-end", {"finish_reason": "ERROR", "error": "internal server error"})


def _chats(model: str) -> bool:
    return model.startswith(("command", "c4ai"))


def _reasons(model: str, thinking: Any) -> bool:
    if thinking is None:
        return bool(_THINKS.match(model))
    kinds = ("enabled", "disabled")
    if thinking.get("type") not in kinds:
        raise WORDS.not_one_of("thinking.type", thinking.get("type"), kinds)
    budget = thinking.get("token_budget")
    if budget is not None:
        Number(1, whole=True).check("thinking.token_budget", budget, WORDS)
    enabled = bool(thinking["type"] == "enabled")
    if enabled and not _THINKS.match(model):
        raise WORDS.refused(None, f"thinking is not supported by model '{model}'.")
    return enabled


def _json_schema(raw: Any) -> dict[str, Any] | None:
    if raw is None:
        return None
    for name in raw:
        if name not in ("type", "json_schema"):
            raise WORDS.unknown(f"response_format.{name}", raw[name])
    if raw.get("type") not in ("text", "json_object"):
        raise WORDS.not_one_of("response_format.type", raw.get("type"), ("text", "json_object"))
    if raw["type"] == "text":
        return None
    schema = raw.get("json_schema") or {}
    Object().check("response_format.json_schema", schema, WORDS)
    return dict(schema)


def _check_more(chat: ChatRequest, body: dict[str, Any]) -> None:
    for name in ("response_format", "safety_mode"):
        for other in ("tools", "documents"):
            if body.get(name) is not None and body.get(other):
                raise WORDS.refused(None, f"{name} is not supported together with {other}.")
    for name in ("tool_choice", "strict_tools"):
        if body.get(name) and not chat.tools:
            raise WORDS.refused(None, f"{name} needs tools.")
    if body.get("tool_choice") and _OLDER.match(chat.model):
        raise WORDS.refused(None, f"tool_choice is not supported by model '{chat.model}'.")
    tokens = prompt_tokens_of(chat.messages)
    if tokens > _CONTEXT_TOKENS:
        raise Refused(
            "bad_request",
            error(
                400,
                f"too many tokens: total number of tokens in the prompt cannot exceed {_CONTEXT_TOKENS} - received "
                f"{tokens}.",
            ),
        )


def _message(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    if answer.tool_calls:
        calls = [
            {
                "id": f"{call.name}_{call.id[:12]}",
                "type": "function",
                "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
            }
            for call in answer.tool_calls
        ]
        plan = f"I will use {answer.tool_calls[0].name}."
        return {"role": "assistant", "tool_plan": plan, "tool_calls": calls}
    content = [{"type": "text", "text": answer.text}]
    if answer.reasoning:
        content.insert(0, {"type": "thinking", "thinking": answer.reasoning})
    message: dict[str, Any] = {"role": "assistant", "content": content}
    mode = (request.body.get("citation_options") or {}).get("mode")
    documents = documents_of(request.body["messages"])
    if documents and mode not in ("OFF", "DISABLED") and answer.text:
        cited = answer.text.partition(" ")[0]
        sources = [{"type": "tool", "id": name, "tool_output": data} for name, data in documents]
        message["citations"] = [
            {"start": 0, "end": len(cited), "text": cited, "sources": sources, "type": "TEXT_CONTENT"}
        ]
    return message


def _row(model: str) -> dict[str, Any]:
    chats = _chats(model)
    return {
        "name": model,
        "is_deprecated": False,
        "endpoints": ["chat"] if chats else ["embed"],
        "finetuned": False,
        "context_length": _CONTEXT_TOKENS,
        "tokenizer_url": f"https://storage.googleapis.com/cohere-public/tokenizers/{model}.json",
        "default_endpoints": [],
        "features": ["json_mode", "tools"] if chats else [],
        "sampling_defaults": None,
    }


def _uuid(serial: str) -> str:
    return str(UUID(f"{serial}{serial[:8]}"))


def _event(kind: str, delta: dict[str, Any] | None = None, **more: Any) -> bytes:
    data = {"type": kind, **more} if delta is None else {"type": kind, **more, "delta": delta}
    return event(orjson.dumps(data), kind)
