"""OpenAI's chat-completion shape as many sources speak it: reading requests, rendering answers, chunks and
lists.

A source that differs overrides the hook that differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT, Dialect
from chatq_sandbox.dialects.fields import Check, Words, check_fields, mapping_of, stops_of, text_of
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    Finish,
    HttpRequest,
    LookUp,
    Message,
    Refused,
    Reply,
    Role,
    Tool,
    ToolCall,
)
from chatq_sandbox.tokens import split
from chatq_sandbox.wire import event

DONE = event(b"[DONE]")
_PIECE_CHARACTERS = 40

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class ChatCompletions(Dialect):
    """The shape itself."""

    routes: ClassVar[Mapping[str, str]] = {
        "POST /v1/chat/completions": CHAT,
        "GET /v1/models": "models",
        "GET /v1/models/*": "model",
    }
    fields: ClassVar[Mapping[str, Check]]
    strict: ClassVar[bool] = False
    """Whether unknown fields are refused."""

    words: Words
    max_tokens_fields: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    reasoning_field: ClassVar[str | None] = None
    """Where the answer's reasoning goes; None: nowhere."""

    usage_needs_asking: ClassVar[bool] = True
    """Whether a stream has usage only with `stream_options.include_usage`; else its last chunk has it."""

    finish_words: ClassVar[Mapping[Finish, str]] = {
        "stop": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "refusal": "stop",
    }

    # Requests

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        if not isinstance(body, dict):
            raise self.words.wrong_type("body", "object", body)
        self.check_required(body)
        check_fields(body, self.fields, self.words, strict=self.strict)
        model = str(body.get("model") or (models[0] if models else ""))
        if not self.model_exists(model, models):
            raise Refused("unknown_model", self.unknown_model(model))
        messages = self.read_messages(body["messages"], body)
        tools = self.read_tools(body.get("tools") or ())
        chat = ChatRequest(
            model=model,
            messages=messages,
            max_tokens=next(
                (body[name] for name in self.max_tokens_fields if body.get(name) is not None), None
            ),
            stop=stops_of(body.get("stop")),
            stream=bool(body.get("stream")),
            stream_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            tools=tools,
            tool_choice=self.read_tool_choice(body.get("tool_choice"), tools),
            json_schema=self.read_json_schema(body.get("response_format"), messages),
            choices=body.get("n") or 1,
            reasons=self.reasons(model, body),
            prefill=self.prefill(body["messages"]),
            body=body,
        )
        self.check_more(chat, body)
        return chat

    def check_required(self, body: dict[str, Any]) -> None:
        """Raise when a required field is missing."""
        for name in ("model", "messages"):
            if body.get(name) is None:
                raise self.words.missing(name)

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        """The messages in neutral form; raises what the source refuses about them."""
        messages = []
        for position, item in enumerate(raw):
            if not isinstance(item, dict):
                raise self.words.wrong_type(f"messages[{position}]", "object", item)
            role = ROLES.get(str(item.get("role")))
            if role is None:
                raise self.words.not_one_of(f"messages[{position}].role", item.get("role"), tuple(ROLES))
            messages.append(Message(role, text_of(item.get("content"))))
        return tuple(messages)

    def read_tools(self, raw: Any) -> tuple[Tool, ...]:
        """The tools that are offered."""
        tools = []
        for position, item in enumerate(raw):
            function = item.get("function") if isinstance(item, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise self.words.missing(f"tools[{position}].function.name")
            tools.append(Tool(function["name"], function.get("parameters") or {}))
        return tuple(tools)

    def read_tool_choice(self, raw: Any, tools: tuple[Tool, ...]) -> str:
        """auto, none, required or a tool's name."""
        if isinstance(raw, dict):
            return str(mapping_of(raw.get("function")).get("name", "required"))
        return "required" if raw in ("required", "any") else raw if raw == "none" else "auto"

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        """The schema to answer in, `{}` for any object, None for text."""
        if not isinstance(raw, dict):
            return None
        match raw.get("type"):
            case "json_object":
                return {}
            case "json_schema":
                return mapping_of(mapping_of(raw.get("json_schema")).get("schema"))
            case _:
                return None

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        """Whether the answer carries reasoning."""
        return False

    def prefill(self, raw_messages: list[Any]) -> str:
        """The beginning of the answer, where the source takes one."""
        return ""

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        """Raise what is wrong between fields."""

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        return {
            "id": self.answer_id(answer),
            "object": "chat.completion",
            "created": answer.created,
            "model": self.answered_model(request.model),
            "choices": [self.choice(index, request, answer) for index in range(request.choices)],
            "usage": self.usage(answer),
        }

    def answer_id(self, answer: Answer) -> str:
        return f"chatcmpl-{answer.serial}"

    def answered_model(self, model: str) -> str:
        """The name that the answer gives to the model."""
        return model

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        choice = {
            "index": index,
            "message": self.message(request, answer),
            "finish_reason": self.finish_reason(answer),
        }
        if request.body.get("logprobs"):
            choice["logprobs"] = _logprobs(answer.text, request.body.get("top_logprobs") or 0)
        return choice

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None if answer.tool_calls else answer.text}
        if self.reasoning_field and answer.reasoning:
            message[self.reasoning_field] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [self.tool_call(call) for call in answer.tool_calls]
        return message

    def tool_call(self, call: ToolCall) -> dict[str, Any]:
        return {
            "id": self.tool_call_id(call),
            "type": "function",
            "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
        }

    def tool_call_id(self, call: ToolCall) -> str:
        return f"call_{call.id}"

    def finish_reason(self, answer: Answer) -> str:
        return answer.finish_word or self.finish_words[answer.finish]

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        }

    def stream(self, request: ChatRequest, answer: Answer) -> list[bytes]:
        message = self.message(request, answer)
        shared = self.chunk_head(request, answer)
        counted = self.streamed_usage(request, answer)
        told_apart = request.stream_usage and counted is not None
        usage: dict[str, Any] = {"usage": None} if told_apart else {}

        def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            return event(orjson.dumps({**shared, "choices": [choice], **usage}))

        events = []
        for index in range(request.choices):
            opening = {"role": "assistant", "content": None if answer.tool_calls else ""}
            events.append(chunk(index, opening))
            events.extend(chunk(index, delta) for delta in self.text_deltas(message))
            for position, call in enumerate(message.get("tool_calls") or ()):
                function = call["function"]
                begun = {**call, "index": position, "function": {**function, "arguments": ""}}
                events.append(chunk(index, {"tool_calls": [begun]}))
                for part in pieces(function["arguments"]):
                    more = {"index": position, "function": {"arguments": part}}
                    events.append(chunk(index, {"tool_calls": [more]}))
            if not self.usage_needs_asking and not usage and index == request.choices - 1:
                usage = {"usage": counted}
            events.append(chunk(index, {}, self.finish_reason(answer)))
        if told_apart:
            events.append(event(orjson.dumps({**shared, "choices": [], "usage": counted})))
        return [*events, DONE]

    def streamed_usage(self, request: ChatRequest, answer: Answer) -> dict[str, Any] | None:
        """The usage that a stream tells; None where it tells none, asked or not."""
        return self.usage(answer)

    def chunk_head(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        """What every chunk of a stream begins with."""
        return {
            "id": self.answer_id(answer),
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": self.answered_model(request.model),
        }

    def text_deltas(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """The texts of a message in the pieces in which a stream brings them."""
        return [
            {name: piece}
            for name in (self.reasoning_field, "content", "refusal")
            if name
            for piece in pieces(message.get(name))
        ]

    # Lists

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "models":
            return Reply(200, {"object": "list", "data": [self.model_row(model) for model in asked.models]})
        if asked.endpoint == "model" and asked.rest in asked.models:
            return Reply(200, self.model_row(asked.rest))
        return self.unknown_model(asked.rest)

    def model_row(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": 1795300000, "owned_by": self.source}

    def unknown_model(self, model: str) -> Reply:
        """There is no such model, or not for this key."""
        raise NotImplementedError


def pieces(text: Any) -> list[str]:
    """A text in the pieces in which a stream brings it."""
    if not isinstance(text, str):
        return []
    return [text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS)]


def _logprobs(text: str, alternatives: int) -> dict[str, Any]:
    def row(token: str) -> dict[str, Any]:
        return {"token": token, "logprob": -0.1, "bytes": list(token.encode())}

    rows = [{**row(token), "top_logprobs": [row(token)] * min(alternatives, 1)} for token in split(text)]
    return {"content": rows, "refusal": None}
