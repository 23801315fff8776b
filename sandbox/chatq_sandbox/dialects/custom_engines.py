"""Servers of one's own that run the model themselves: vLLM, Aphrodite, llama.cpp, Ollama.

From: vLLM's protocol and Reasoning Outputs page, Ollama's openai/openai.go, llama.cpp's server README and the answers
that its users quote. Mounted as `custom/NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from chatq_sandbox.dialects.base import CHAT
from chatq_sandbox.dialects.custom import CHAT_PATHS, LIST_PATHS, Custom
from chatq_sandbox.dialects.openai_words import error
from chatq_sandbox.dialects.pydantic_words import Fault
from chatq_sandbox.exchange import Answer, ChatRequest, HttpRequest, LookUp, Reply, ToolCall
from chatq_sandbox.tokens import prompt_tokens_of

_CONTEXT_ERROR = "exceed_context_size_error"
_LLAMACPP_TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    500: "server_error",
    503: "unavailable_error",
}
_OLLAMA_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_OLLAMA_IGNORES = ("n", "logprobs", "top_logprobs", "top_k", "max_completion_tokens", "tool_choice")
_EMPTY = Reply(200, b"", content_type="text/plain")


class VLLM(Custom):
    """vLLM: one model, whose name has to be right."""

    source = "custom/vllm"
    default_models = ("Qwen/Qwen3-8B",)
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /health": "health",
        "GET /version": "version",
    }
    open_endpoints = frozenset(("health", "version"))
    look_ups: ClassVar[Mapping[str, Reply]] = {"health": _EMPTY, "version": Reply(200, {"version": "0.12.0"})}
    key_headers = ("authorization",)
    reasoning_field = "reasoning"
    context_tokens: ClassVar[int] = 40_960
    answer_extra: ClassVar[Mapping[str, Any]] = {"prompt_logprobs": None, "kv_transfer_params": None}
    choice_extra: ClassVar[Mapping[str, Any]] = {"logprobs": None, "token_ids": None}
    message_extra: ClassVar[Mapping[str, Any]] = {"reasoning": None, "tool_calls": []}
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "vllm", "parent": None, "permission": []}

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        # The first is False by default and the second True, so one alone is wrong.
        if body.get("continue_final_message") and body.get("add_generation_prompt", True):
            raise self.words.refused(
                None, "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            )
        tokens, answer = prompt_tokens_of(chat.messages), chat.max_tokens or 0
        if tokens + answer > self.context_tokens:
            raise self.words.refused(
                None,
                f"This model's maximum context length is {self.context_tokens} tokens. However, you requested "
                f"{tokens + answer} tokens ({tokens} in the messages, {answer} in the completion).",
            )

    def choice(self, index: int, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        return {**super().choice(index, request, answer), "stop_reason": answer.stopped_by or None}

    def tool_call_id(self, call: ToolCall) -> str:
        return f"chatcmpl-tool-{call.id}"

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {**super().usage(answer), "prompt_tokens_details": None}

    def model_row(self, model: str) -> dict[str, Any]:
        return {**super().model_row(model), "root": model, "max_model_len": self.context_tokens}

    def unauthorized(self, key: str | None) -> Reply:
        return Reply(401, {"error": "Unauthorized"})


class Aphrodite(VLLM):
    """Aphrodite: a vLLM of an older form, with more samplers."""

    source = "custom/aphrodite"
    default_models = ("local-model",)
    reasoning_field = "reasoning_content"
    answer_extra: ClassVar[Mapping[str, Any]] = {}
    choice_extra: ClassVar[Mapping[str, Any]] = {"logprobs": None}
    message_extra: ClassVar[Mapping[str, Any]] = {"tool_calls": []}
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "pygmalionai", "parent": None, "permission": []}


class LlamaCpp(Custom):
    """llama.cpp's server: whatever model is asked for, the loaded one answers, once it is loaded."""

    source = "custom/llamacpp"
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "POST /chat/completions": CHAT,
        "GET /models": "models",
        "GET /health": "health",
        "GET /props": "props",
        "GET /slots": "slots",
    }
    takes_any_model = True
    context_tokens: ClassVar[int] = 65_536
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "llamacpp", "meta": {"n_ctx_train": 65_536}}
    look_ups: ClassVar[Mapping[str, Reply]] = {
        "health": Reply(200, {"status": "ok"}),
        "props": Reply(200, {"default_generation_settings": {"n_ctx": 65_536}, "total_slots": 1}),
        "slots": Reply(200, [{"id": 0, "n_ctx": 65_536, "is_processing": False}]),
    }

    def check_more(self, chat: ChatRequest, body: dict[str, Any]) -> None:
        if prompt_tokens_of(chat.messages) > self.context_tokens:
            raise self.words.refused(
                None,
                f"the request exceeds the available context size ({self.context_tokens} tokens), try increasing it",
                _CONTEXT_ERROR,
            )

    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        timings = {"prompt_n": answer.prompt_tokens, "predicted_n": answer.completion_tokens}
        whole = super().complete(request, answer)
        return {**whole, "system_fingerprint": "b9999-simulator", "timings": timings}

    def refusal(
        self,
        status: int,
        message: str,
        kind: str,
        param: str | None = None,
        code: str | int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        told = {"code": status, "message": message, "type": _LLAMACPP_TYPES.get(status, kind)}
        return Reply(status, {"error": told}, headers)

    def wrong_field(self, fault: Fault) -> Reply:
        reply = super().wrong_field(fault)
        if fault.type == _CONTEXT_ERROR:
            return reply._replace(body={"error": {**reply.body["error"], "type": _CONTEXT_ERROR}})
        return reply

    def unauthorized(self, key: str | None) -> Reply:
        return self.refusal(401, "Invalid API Key", "authentication_error")

    def loading(self) -> Reply:
        return self.refusal(503, "Loading model", "unavailable_error")


class Ollama(Custom):
    """Ollama: reads few fields, ignores the others and every key, cuts a long prompt without a word."""

    source = "custom/ollama"
    default_models = ("llama3.2:latest", "qwen3:latest")
    routes: ClassVar[Mapping[str, str]] = {
        **CHAT_PATHS,
        **LIST_PATHS,
        "GET /api/version": "version",
        "GET /api/tags": "tags",
    }
    open_endpoints = frozenset(("version", "tags"))
    look_ups: ClassVar[Mapping[str, Reply]] = {"version": Reply(200, {"version": "0.13.0"})}
    key_headers = ("authorization",)
    max_tokens_fields = ("max_tokens",)
    reasoning_field = "reasoning"
    context_tokens: ClassVar[int] = 4_096
    answer_extra: ClassVar[Mapping[str, Any]] = {"system_fingerprint": "fp_ollama"}
    row_extra: ClassVar[Mapping[str, Any]] = {"owned_by": "library"}

    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if name not in _OLLAMA_IGNORES}
        return super().read(request, body, models)

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        return model in models or f"{model}:latest" in models

    def answer_id(self, answer: Answer) -> str:
        return f"chatcmpl-{int(answer.serial[:3], 16) % 999}"

    def usage(self, answer: Answer) -> dict[str, Any]:
        seen = min(answer.prompt_tokens, self.context_tokens)
        return super().usage(answer._replace(prompt_tokens=seen))

    def look_up(self, asked: LookUp) -> Reply:
        if asked.endpoint == "tags":
            return Reply(200, {"models": [{"name": model, "model": model} for model in asked.models]})
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
        return error(status, message, _OLLAMA_TYPES.get(status, "api_error"), headers=headers)

    def unknown_model(self, model: str) -> Reply:
        return self.refusal(404, f"model '{model}' not found", "")

    def overloaded(self) -> Reply:
        return self.refusal(503, "server busy, please try again.  maximum pending requests exceeded", "")
