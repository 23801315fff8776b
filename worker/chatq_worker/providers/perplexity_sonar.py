"""Perplexity's older Sonar shape, still spoken by gateways. Source: Perplexity SDK (types.chat)."""

from __future__ import annotations

from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.prompts import post_process
from chatq_worker.providers.adapter import Chat, Check, Request
from chatq_worker.providers.chat_completion_stream import GatewayAssembly
from chatq_worker.providers.chat_messages import CONTINUE, image_url, modern
from chatq_worker.providers.json_mode import asked_in_words, format_of
from chatq_worker.providers.model_rules import ModelRules
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.perplexity_search import FILTERS
from chatq_worker.providers.source_adapter import SourceAdapter
from chatq_worker.providers.tool_shape import choice_of, functions_only, offer_tools, only, openai_tool

PARAMS: Final = frozenset(
    {
        *FILTERS,
        "country",
        "disable_search",
        "enable_search_classifier",
        "frequency_penalty",
        "image_domain_filter",
        "image_format_filter",
        "language_preference",
        "latitude",
        "logprobs",
        "longitude",
        "n",
        "num_images",
        "num_search_results",
        "parallel_tool_calls",
        "presence_penalty",
        "response_formatting_locale",
        "return_images",
        "return_related_questions",
        "safe_search",
        "search_language_filter",
        "search_mode",
        "stop",
        "temperature",
        "top_k",
        "top_logprobs",
        "top_p",
        "web_search_options",
    }
)

_RULES: Final = ModelRules(efforts=("minimal", "low", "medium", "high"))
_PROBE_MODEL: Final = "sonar"


class PerplexitySonar(SourceAdapter):
    """The mode `strict` is applied after the job's own; the last turn is the user's. There is no model list."""

    source = "perplexity"
    name = "Perplexity"
    base_url = "https://api.perplexity.ai"
    thinks_aloud = True
    assembly = GatewayAssembly

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        params = Parameters(chat, self.name, _RULES)
        body: dict[str, Any] = {"model": chat.model}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        effort = params.effort(_RULES)
        if effort is not None:
            body["reasoning_effort"] = effort
        penalty = params.get("frequency_penalty")
        if penalty is not None and params.get("presence_penalty") is not None:
            params.drop("frequency_penalty", "Perplexity does not take it together with presence_penalty")
        elif isinstance(penalty, int | float) and penalty <= 0:
            params.drop("frequency_penalty", "Perplexity takes numbers above 0")
        body |= params.rename(PARAMS)
        _offer(body, params)
        messages = post_process(
            modern(chat.messages), "strict", names=chat.names, placeholder=chat.placeholder
        )
        if messages[-1]["role"] == "assistant":
            messages.append({"role": "user", "content": CONTINUE})
            params.note(
                "The last turn of the assistant is followed by the request to go on: the last must be the user's."
            )
        wanted = format_of(params.response_format)
        if wanted is not None and wanted.kind != "text":
            if wanted.kind == "json_object":
                messages, line = asked_in_words(messages, wanted, self.name)
                params.note(line)
            else:
                body["response_format"] = dict(wanted.given)
        body["messages"] = [
            {"role": message["role"], "content": _content(message["content"])} for message in messages
        ]
        params.drop_rest()
        return body, params.warnings

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        return None

    def check_request(self, connection: Connection, key: str | None, *, model: str | None = None) -> Check:
        return super().check_request(connection, key, model=model or connection.model or _PROBE_MODEL)


def _offer(body: dict[str, Any], params: Parameters) -> None:
    """Tools, each described and with parameters, and the choice in one word: one function is forced by offering no
    other."""
    offer_tools(body, params)
    functions, warnings = functions_only(body.pop("tools", None), "Perplexity")
    params.warnings += warnings
    wanted = choice_of(body.pop("tool_choice", None))
    if not functions:
        return
    if wanted is not None:
        body["tool_choice"] = wanted.mode
        if wanted.function is not None:
            functions = only(functions, wanted.function)
    body["tools"] = [
        openai_tool(function._replace(description=function.description or "")) for function in functions
    ]


def _content(content: Any) -> Any:
    """A content whose pictures are URLs alone: Perplexity knows no `detail`."""
    if not isinstance(content, list):
        return content
    return [
        part if (url := image_url(part)) is None else {"type": "image_url", "image_url": {"url": url}}
        for part in content
    ]
