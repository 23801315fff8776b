"""DeepSeek. From: Create Chat Completion, Thinking Mode, Chat Prefix Completion, Rate Limit & Isolation, Error Codes,
Get User Balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
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
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    HttpRequest,
    LimitReached,
    LimitState,
    LookUp,
    Message,
    Refused,
    Reply,
    Role,
)
from chatq_sandbox.wire import event

_CODE = "invalid_request_error"
_ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_USER_ID_BYTES = 512


def _unprocessable(fault: Fault) -> Reply:
    place = f"{fault.name}: " if fault.name else ""
    message = f"Failed to deserialize the JSON body into the target type: {place}{fault.message}"
    return error(422, message, code=_CODE)


class _DeepSeekWords(PydanticWords):
    """Wrong types and values are a 422, what is wrong between them a 400."""

    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        return Refused("bad_request", error(400, message, code=_CODE))


class DeepSeek(ChatCompletions):
    """api.deepseek.com."""

    source = "deepseek"
    default_models = ("deepseek-flash", "deepseek-v4-pro")
    routes: ClassVar[Mapping[str, str]] = {
        "POST /chat/completions": CHAT,
        "POST /v1/chat/completions": CHAT,
        "POST /beta/chat/completions": CHAT,
        "GET /models": "models",
        "GET /v1/models": "models",
        "GET /user/balance": "balance",
    }
    words: Words = _DeepSeekWords(_unprocessable)
    max_tokens_fields = ("max_tokens",)
    reasoning_field = "reasoning_content"
    usage_needs_asking = False
    # The documents say that it is done, not how often.
    keep_alive_s = 1.0
    fields: ClassVar[Mapping[str, Check]] = {
        "model": Text(),
        "messages": Array(fewest=1),
        "thinking": Object(),
        "reasoning_effort": OneOf(_EFFORTS),
        "max_tokens": Number(1, 393_216, whole=True),
        "response_format": Object(),
        "stop": Texts(most=16, single=True),
        "stream": Flag(),
        "stream_options": Object(),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "frequency_penalty": Number(-2, 2),
        "presence_penalty": Number(-2, 2),
        "tools": Array(most=128),
        "tool_choice": Anything(),
        "logprobs": Flag(),
        "top_logprobs": Number(0, 20, whole=True),
        "user_id": Text(),
    }

    # Requests

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        chat = super().read(request, body, models)
        last = body["messages"][-1]
        beta = "/beta/" in request.path
        if last["role"] == "assistant" and not (beta and last.get("prefix") is True):
            raise self.words.refused(
                None,
                f"The last message of {chat.model} must be a user message, or an assistant message with prefix mode on "
                "(refer to https://api-docs.deepseek.com/guides/chat_prefix_completion).",
            )
        return chat

    def read_messages(self, raw: list[Any], body: dict[str, Any]) -> tuple[Message, ...]:
        messages = read_messages(raw, self.words, _ROLES)
        if self.reasons(str(body["model"]), body):
            for item in raw:
                if item["role"] == "assistant" and not item.get("reasoning_content"):
                    raise self.words.refused(
                        None, "The reasoning_content in the thinking mode must be passed back to the API."
                    )
        return messages

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        kind = raw.get("type") if isinstance(raw, dict) else None
        if kind not in (None, "text", "json_object"):
            raise self.words.refused(None, "This response_format type is unavailable now")
        if kind == "json_object" and not any("json" in message.text.lower() for message in messages):
            raise self.words.refused(
                None,
                "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
            )
        return super().read_json_schema(raw, messages)

    def reasons(self, model: str, body: dict[str, Any]) -> bool:
        kind = (body.get("thinking") or {}).get("type", "enabled")
        if kind not in ("enabled", "disabled"):
            raise self.words.not_one_of("thinking.type", kind, ("enabled", "disabled"))
        return bool(kind == "enabled")

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        for position, tool in enumerate(body.get("tools") or ()):
            if tool.get("type") != "function":
                raise self.words.not_one_of(f"tools[{position}].type", tool.get("type"), ("function",))
        if len(str(body.get("user_id") or "").encode()) > _USER_ID_BYTES:
            raise self.words.refused(None, f"user_id is longer than {_USER_ID_BYTES} bytes")

    # Answers

    def answer_id(self, answer: Answer) -> str:
        return str(UUID(f"{answer.serial}{answer.serial[:8]}"))

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        return {**super().complete(request, answer), "system_fingerprint": "fp_simulator"}

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {"logprobs": None, **super().choice(index, request, answer)}

    def message(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message = {**super().message(request, answer), "content": answer.text}
        for position, call in enumerate(message.get("tool_calls") or ()):
            call["index"] = position
        return message

    def usage(self, answer: Answer) -> dict[str, Any]:
        usage = {
            **super().usage(answer),
            "prompt_tokens_details": {"cached_tokens": 0},
            "prompt_cache_hit_tokens": 0,
            "prompt_cache_miss_tokens": answer.prompt_tokens,
        }
        if answer.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning_tokens}
        return usage

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint != "balance":
            return super().look_up(asked)
        money = "10.00" if asked.has_quota else "0.00"
        row = {
            "currency": "USD",
            "total_balance": money,
            "granted_balance": "0.00",
            "topped_up_balance": money,
        }
        return Reply(200, {"is_available": asked.has_quota, "balance_infos": [row]})

    def model_row(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "owned_by": "deepseek"}

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        shown = f"Your api key: ****{key[-4:]} is invalid" if key else "Your request has no api key"
        return error(401, f"Authentication Fails, {shown}", "authentication_error", code=_CODE)

    def unknown_model(self, model: str) -> Reply:
        return error(400, "Model Not Exist", code=_CODE)

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        return error(429, "Rate limit reached", "rate_limit_error", code="rate_limit_reached")

    def out_of_quota(self, limits: LimitState) -> Reply:
        return error(402, "Insufficient Balance", "unknown_error", code=_CODE)

    def server_error(self, status: int) -> Reply:
        return self.overloaded() if status == 503 else error(status, "Internal server error", "server_error")

    def overloaded(self) -> Reply:
        kind = "service_unavailable_error"
        return error(503, "Service is too busy. Please try again later.", kind, code=kind)

    def bad_request(self, message: str) -> Reply:
        return error(400, message, code=_CODE)

    def not_found(self, method: str, path: str) -> Reply:
        return error(404, "Not Found")

    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        cut = answer._replace(
            text=answer.text[: len(answer.text) // 2], finish_word="insufficient_system_resource"
        )
        return Reply(200, self.complete(request, cut))

    def error_event(self) -> bytes:
        return event(orjson.dumps(self.server_error(500).body))
