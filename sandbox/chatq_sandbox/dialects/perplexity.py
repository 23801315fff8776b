"""Perplexity, the Agent API; the old Sonar endpoints only say that they are gone.

From: Create Agent Response, Migrate from Sonar, Rate Limits & Usage Tiers; perplexityai 0.46 client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from chatq_sandbox.dialects.base import CHAT, Dialect
from chatq_sandbox.dialects.chat_completions import pieces
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
    check_fields,
)
from chatq_sandbox.dialects.perplexity_items import (
    read_input,
    read_json_schema,
    read_tool_choice,
    read_tools,
)
from chatq_sandbox.dialects.perplexity_words import (
    OUT_OF_QUOTA,
    REFUSALS,
    RETIRED,
    UNAUTHORIZED,
    WORDS,
    error,
    rate_limited,
    server_error,
)
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    HttpRequest,
    LimitReached,
    LimitState,
    LookUp,
    Refused,
    Reply,
)
from chatq_sandbox.wire import event

_EFFORTS = ("fast", "low", "medium", "high", "xhigh")
_NAMES_THE_MODEL = ("model", "models", "preset", "effort")
_USD_A_TOKEN_IN, _USD_A_TOKEN_OUT, _USD_A_SEARCH = 1e-6, 4e-6, 0.005
_PAGE = {"title": "Rain", "url": "https://example.org/rain", "date": "2026-01-02"}


class Perplexity(Dialect):
    """api.perplexity.ai."""

    source = "perplexity"
    default_models = ("perplexity/sonar", "openai/gpt-5.2", "anthropic/claude-sonnet-5")
    routes: ClassVar[Mapping[str, str]] = {
        "POST /v1/agent": CHAT,
        "POST /v1/responses": CHAT,
        "POST /chat/completions": CHAT,
        "POST /v1/sonar": CHAT,
        "GET /v1/models": "models",
    }
    refusals = REFUSALS
    fields: ClassVar[Mapping[str, Check]] = {
        "input": Anything(),
        "instructions": Text(),
        "model": Text(),
        "models": Texts(most=5),
        "preset": OneOf(_EFFORTS),
        "effort": OneOf(_EFFORTS),
        "max_output_tokens": Number(1, whole=True),
        "max_steps": Number(1, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "tools": Array(),
        "tool_choice": Anything(),
        "reasoning": Object(),
        "response_format": Object(),
        "previous_response_id": Text(),
        "store": Flag(),
        "background": Flag(),
        "language_preference": Text(),
        "service_tier": Text(),
        "prompt_cache_key": Text(),
        "stream": Flag(),
    }

    # Requests

    def pool(self, model: str) -> str:
        # "Rate Limits": queries a second of the whole organization.
        return "organization"

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        if request.path.endswith(("/chat/completions", "/v1/sonar")):
            raise Refused("endpoint_retired", RETIRED)
        if not isinstance(body, dict):
            raise WORDS.wrong_type("body", "object", body)
        if body.get("input") is None:
            raise WORDS.missing("input")
        check_fields(body, self.fields, WORDS, strict=True)
        model = self._model(body, models)
        tools, searches = read_tools(body.get("tools") or [])
        choice = read_tool_choice(body.get("tool_choice"), tools)
        if body.get("previous_response_id"):
            raise WORDS.refused(None, "previous_response_id: no such response")
        chat = ChatRequest(
            model=model,
            messages=read_input(body["input"], str(body.get("instructions") or "")),
            max_tokens=body.get("max_output_tokens"),
            stream=bool(body.get("stream")),
            tools=tools,
            tool_choice=choice,
            json_schema=read_json_schema(body.get("response_format")),
            # Presets search the web; a model does when it is told to.
            body={**body, "searches": "model" not in body or (searches and choice == "required")},
        )
        effort = (body.get("reasoning") or {}).get("effort", "low")
        if effort not in ("minimal", "low", "medium", "high", "xhigh"):
            raise WORDS.not_one_of("reasoning.effort", effort, ("low", "medium", "high"))
        return chat

    def _model(self, body: dict[str, Any], models: tuple[str, ...]) -> str:
        if all(body.get(name) is None for name in _NAMES_THE_MODEL):
            raise WORDS.refused(None, "one of model, models or preset is required")
        asked = [body["model"]] if body.get("model") else body.get("models") or models[:1]
        for model in asked:
            if not self.model_exists(model, models):
                raise Refused("unknown_model", self.unknown_model(model))
        return str(asked[0])

    # Answers

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        status = answer.finish_word or ("requires_action" if answer.tool_calls else "completed")
        return {
            "id": f"resp_{answer.serial}",
            "object": "response",
            "created_at": answer.created,
            "model": request.model,
            "status": status,
            "output": _output(request, answer),
            "usage": _usage(request, answer),
            **({"preset": request.body["preset"]} if request.body.get("preset") else {}),
        }

    def stream(self, request: ChatRequest, answer: Answer) -> list[bytes]:
        whole = self.complete(request, answer)
        begun = {**whole, "status": "in_progress", "output": []}
        found: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, item in enumerate(whole["output"]):
            found += _item_events(index, item)
        found.append({"type": "response.completed", "response": whole})
        return [_event({**data, "sequence_number": number}) for number, data in enumerate(found)]

    def look_up(self, asked: LookUp) -> Reply:
        rows = [
            {
                "id": model,
                "object": "model",
                "created": 1795300000,
                "owned_by": model.partition("/")[0],
            }
            for model in asked.models
        ]
        return Reply(200, {"object": "list", "data": rows})

    # Refusals

    def unauthorized(self, key: str | None) -> Reply:
        return UNAUTHORIZED

    def unknown_model(self, model: str) -> Reply:
        return error(400, f'validation failed: model "{model}" is not supported')

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
        failure = {"message": "The model failed.", "type": "server_error", "code": "model_error"}
        whole = self.complete(request, answer)
        return Reply(200, {**whole, "status": "failed", "output": [], "error": failure})

    def error_event(self) -> bytes:
        failure = {"message": "The model failed.", "type": "server_error", "code": "model_error"}
        return _event({"type": "response.failed", "response": {"status": "failed", "error": failure}})


def _output(request: ChatRequest, answer: Answer) -> list[dict[str, Any]]:
    if answer.tool_calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{call.id}",
                "call_id": f"call_{call.id}",
                "name": call.name,
                "arguments": orjson.dumps(call.arguments).decode(),
                "status": "completed",
            }
            for call in answer.tool_calls
        ]
    part: dict[str, Any] = {"type": "output_text", "text": answer.text}
    items = []
    if request.body["searches"]:
        page = {"id": 1, **_PAGE, "snippet": "Rain is water.", "last_updated": None, "source": "web"}
        items.append({"type": "search_results", "queries": ["rain"], "results": [page]})
        if request.json_schema is None:
            part["text"] += " [1]"
            length = len(part["text"])
            mark = {"type": "url_citation", "start_index": length - 3, "end_index": length}
            part["annotations"] = [{**mark, "title": _PAGE["title"], "url": _PAGE["url"]}]
    message = {
        "type": "message",
        "id": f"msg_{answer.serial}",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return [*items, message]


def _usage(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    searches = int(request.body["searches"])
    costs = {
        "input_cost": round(answer.prompt_tokens * _USD_A_TOKEN_IN, 8),
        "output_cost": round(answer.completion_tokens * _USD_A_TOKEN_OUT, 8),
        "tool_calls_cost": searches * _USD_A_SEARCH,
    }
    return {
        "input_tokens": answer.prompt_tokens,
        "output_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "input_tokens_details": {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
        "tool_calls_details": {"search_web": {"invocation": searches}},
        "cost": {"currency": "USD", **costs, "total_cost": round(sum(costs.values()), 8)},
    }


def _item_events(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"output_index": index}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    between: list[dict[str, Any]] = []
    match item["type"]:
        case "message":
            begun["content"] = []
            place = {"item_id": item["id"], **place, "content_index": 0}
            text = item["content"][0]["text"]
            between = [
                {"type": "response.output_text.delta", **place, "delta": part} for part in pieces(text)
            ]
            between.append({"type": "response.output_text.done", **place, "text": text})
        case "function_call":
            begun["arguments"] = ""
            place = {"item_id": item["id"], **place}
            kind, arguments = "response.function_call_arguments", item["arguments"]
            between = [{"type": f"{kind}.delta", **place, "delta": part} for part in pieces(arguments)]
            between.append({"type": f"{kind}.done", **place, "arguments": arguments})
        case _:
            begun = item
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *between,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _event(data: dict[str, Any]) -> bytes:
    return event(orjson.dumps(data), data["type"])
