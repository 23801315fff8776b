"""Servers of one's own, and gateways, around other engines: LM Studio, LiteLLM, LocalAI, TabbyAPI, Oobabooga, and two
that stand for the rest. Mounted as `custom/NAME`.

From: LiteLLM's and TabbyAPI's documents and sources; of the others what their users show (unverified).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Any, ClassVar
from uuid import UUID

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.custom import CHAT_PATHS, LIST_PATHS, Custom
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault
from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    LimitReached,
    LimitState,
    LookUp,
    Message,
    Reply,
)

_OK = Reply(200, b"OK", content_type="text/plain")


class LMStudio(Custom):
    """LM Studio: lists what is downloaded, loads it when it is asked, wants JSON by schema only."""

    source = "custom/lmstudio"
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /api/v0/models": "states",
    }
    open_endpoints = frozenset[str]()
    answer_extra: ClassVar[Mapping[str, Any]] = {"stats": {}}
    choice_extra: ClassVar[Mapping[str, Any]] = {"logprobs": None}
    message_extra: ClassVar[Mapping[str, Any]] = {"tool_calls": []}
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "organization_owner"}
    row_leaves_out = frozenset(("created",))

    def read_json_schema(self, raw: Any, messages: tuple[Message, ...]) -> dict[str, Any] | None:
        if raw is not None and raw.get("type") not in ("json_schema", "text"):
            raise self.words.refused(None, "'response_format.type' must be 'json_schema' or 'text'")
        return super().read_json_schema(raw, messages)

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        return {**super().complete(request, answer), "system_fingerprint": request.model}

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "states":
            rows = [{"id": model, "type": "llm", "state": "not-loaded"} for model in asked.models]
            return Reply(200, {"object": "list", "data": rows})
        return super().look_up(asked)

    def unknown_model(self, model: str) -> Reply:
        return error(
            404,
            "No models loaded. Please load a model in the developer page or use the 'lms load' command.",
            param="model",
            code="model_not_found",
        )


class LiteLLM(Custom):
    """A LiteLLM proxy: virtual keys with budgets; the providers' errors come wrapped, with another status."""

    source = "custom/litellm"
    needs_key = True
    default_models = ("my-alias", "local-model")
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "POST /chat/completions": CHAT,
        "GET /models": "models",
        "GET /model/info": "info",
        "GET /health/liveliness": "alive",
        "GET /health/readiness": "ready",
    }
    open_endpoints = frozenset(("alive", "ready"))
    look_ups: ClassVar[Mapping[str, Reply]] = {
        "alive": Reply(200, "I'm alive!"),
        "ready": Reply(200, {"status": "healthy", "db": "connected"}),
    }
    message_extra: ClassVar[Mapping[str, Any]] = {"tool_calls": None, "function_call": None}
    refusals: ClassVar[Mapping[str, Reply]] = {
        "wrapped": error(
            400,
            'litellm.BadRequestError: DeepseekException - {"error":{"message":"Insufficient Balance",'
            '"type":"unknown_error","param":null,"code":"invalid_request_error"}}',
            "None",
            code="400",
        ),
        "older_budget": error(400, "Budget has been exceeded!", "budget_exceeded", code="400"),
    }

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        return (
            ("x-litellm-call-id", str(UUID(f"{serial}{serial[:8]}"))),
            ("x-litellm-model-id", "simulator"),
            ("x-litellm-response-cost", f"{prompt_tokens * 1e-6:.6f}"),
        )

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        stated = limits.requests
        return (("x-ratelimit-remaining-requests", str(stated.remaining)),) if stated else ()

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "info":
            rows = [
                {"model_name": model, "model_info": {"max_input_tokens": 128_000}} for model in asked.models
            ]
            return Reply(200, {"data": rows})
        return super().look_up(asked)

    def refusal(
        self,
        status: int,
        message: str,
        kind: str,
        param: str | None = None,
        code: str | int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        return error(status, message, kind, param, str(status), headers)

    def unauthorized(self, key: str | None) -> Reply:
        message = "Authentication Error, Invalid proxy server token passed."
        return self.refusal(401, message, "token_not_found_in_db", "key")

    def unknown_model(self, model: str) -> Reply:
        message = (
            f"/chat/completions: Invalid model name passed in model={model}. Call `/v1/models` to view available "
            "models for your key."
        )
        return self.refusal(400, message, "invalid_request_error", "model")

    def out_of_quota(self, limits: LimitState) -> Reply:
        message = "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0"
        return self.refusal(429, message, "budget_exceeded")


class LocalAI(Custom):
    """LocalAI: its errors have a number for a code; it leaves reasoning in the text."""

    source = "custom/localai"
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /readyz": "ready",
        "GET /healthz": "alive",
    }
    open_endpoints = frozenset(("ready", "alive"))
    look_ups: ClassVar[Mapping[str, Reply]] = {"ready": _OK, "alive": _OK}
    reasoning_field = None
    think_tags = True
    row_leaves_out = frozenset(("created", "owned_by"))

    def refusal(
        self,
        status: int,
        message: str,
        kind: str,
        param: str | None = None,
        code: str | int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        return Reply(status, {"error": {"code": status, "message": message, "type": kind}}, headers)

    def unauthorized(self, key: str | None) -> Reply:
        challenge = (("www-authenticate", "Bearer"),)
        message = "An authentication key is required"
        return self.refusal(401, message, "invalid_request_error", headers=challenge)


class _FastAPI(Custom):
    """Servers whose errors are FastAPI's: a `detail` that is a text or pydantic's list."""

    takes_any_model = True
    reasoning_field = None
    think_tags = True

    def refusal(
        self,
        status: int,
        message: str,
        kind: str,
        param: str | None = None,
        code: str | int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        return Reply(status, {"detail": message}, headers)

    def wrong_field(self, fault: Fault) -> Reply:
        problem = {"loc": ["body", *fault.location], "msg": fault.message, "type": fault.type}
        return Reply(422, {"detail": [problem]})


class TabbyAPI(_FastAPI):
    """TabbyAPI: the loaded model answers under its own name; a plain key sees no other."""

    source = "custom/tabbyapi"
    default_models = ("Meta-Llama-3-8B-exl3",)
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /health": "health",
        "GET /v1/model": "loaded",
    }
    look_ups: ClassVar[Mapping[str, Reply]] = {"health": Reply(200, {"status": "healthy", "issues": []})}
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "tabbyAPI"}

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "loaded":
            return Reply(200, {**self.model_row(asked.models[0]), "parameters": {"max_seq_len": 8192}})
        return super().look_up(asked._replace(models=asked.models[:1]))


class Oobabooga(_FastAPI):
    """Oobabooga's text generation web UI."""

    source = "custom/oobabooga"
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /v1/internal/model/info": "loaded",
    }
    open_endpoints = frozenset[str]()
    look_ups: ClassVar[Mapping[str, Reply]] = {
        "loaded": Reply(200, {"model_name": "local-model", "lora_names": []})
    }
    key_headers = ("authorization",)
    row_extra: ClassVar[Mapping[str, Any]] = {"created": 0, "owned_by": "user"}

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        modes = ("instruct", "chat", "chat-instruct")
        if body.get("mode", "instruct") not in modes:
            raise self.words.not_one_of("mode", body["mode"], modes)

    def unauthorized(self, key: str | None) -> Reply:
        return self.refusal(401, "Unauthorized", "")


class Gateway(Custom):
    """A proxy that tells when to come back as a date, and has failures behind status 200."""

    source = "custom/gateway"

    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        reply = super().rate_limited(reached, limits)
        if reached.wait_s is None:
            return reply
        moment = datetime.fromtimestamp(limits.unix_s, UTC) + timedelta(seconds=ceil(reached.wait_s) + 1)
        return reply._replace(headers=(("retry-after", format_datetime(moment, usegmt=True)),))


class Bare(Custom):
    """A server that sends nothing that is not needed: no ids, no usage, no finish reason, no rows in full."""

    source = "custom/bare"
    routes: ClassVar[Mapping[str, str]] = {**CHAT_PATHS, **LIST_PATHS}
    leaves_out = frozenset(("id", "object", "created", "model", "usage", "index", "finish_reason", "role"))
    row_leaves_out = frozenset(("object", "created", "owned_by"))
