"""cohere: Cohere's v2 chat. Source: Cohere SDK (v2.client, types), documents Errors and API Keys and Rate Limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.prompts import Names
from chatq_worker.providers.adapter import Answer, Chat, Completion, ModelPage, Request
from chatq_worker.providers.chat_completion import choice_of as choice
from chatq_worker.providers.chat_completion import completion_of, count, tool_call, usage_of
from chatq_worker.providers.chat_messages import (
    SEPARATOR,
    called,
    joined_text,
    mended,
    modern,
    openai_calls,
    speakers,
    spoken,
)
from chatq_worker.providers.error_answers import (
    bad_answer,
    failure_inside,
    message_of,
    object_of,
    request_id_of,
)
from chatq_worker.providers.json_mode import format_of, saying_json
from chatq_worker.providers.model_rules import ModelRules, Thinking, rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import SourceAdapter, ids_of, quoted
from chatq_worker.providers.tool_shape import choice_of, functions_only, only, openai_tool

PARAMS: Final[Mapping[str, str]] = {
    "top_p": "p",
    "top_k": "k",
    **{
        name: name
        for name in (
            "citation_options",
            "documents",
            "frequency_penalty",
            "k",
            "logprobs",
            "p",
            "presence_penalty",
            "priority",
            "safety_mode",
            "seed",
            "strict_tools",
            "temperature",
        )
    },
}

MOST_STOPS: Final = 5
FINISH_WORDS: Final[Mapping[str, str]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
BROKEN_OFF: Final = frozenset({"ERROR", "TIMEOUT"})

PLAN: Final = "I'm going to call a tool for that: "
"""What stands for the plan of a turn that calls tools, before their names, when the history tells none."""

# Tokens to think with, for OpenAI's words. `high` and above: no bound.
_BUDGETS: Final = {"minimal": 512, "low": 1024, "medium": 4096}


class CohereAdapter(SourceAdapter):
    """Values are upper case, samplers have other names and ranges, a turn that calls tools has a plan and no text."""

    source = "cohere"
    name = "Cohere"
    base_url = "https://api.cohere.com"
    chat_path = "/v2/chat"
    models_path = "/v1/models?endpoint=chat&page_size=1000"
    versions = ("/v1", "/v2")

    def headers(self, connection: Connection, key: str | None) -> dict[str, str]:
        return {**super().headers(connection, key), "x-client-name": "chatq"}

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {"model": chat.model, "stream": False}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        for own, openai in (("stop_sequences", "stop"), ("k", "top_k"), ("p", "top_p")):
            if openai in params:
                params.take(own)
        stop = params.stops("stop" if "stop" in params else "stop_sequences", most=MOST_STOPS)
        if stop is not None:
            body["stop_sequences"] = stop
        _think(body, params, rules)
        if params.get("logprobs") is not None and not isinstance(params.get("logprobs"), bool):
            params.drop("logprobs", "Cohere takes true and false")
        body |= params.rename(PARAMS)
        for name, key, least, most in (
            ("top_p", "p", 0.01, 0.99),
            ("top_k", "k", 0, 500),
            ("frequency_penalty", "frequency_penalty", 0, 1),
            ("presence_penalty", "presence_penalty", 0, 1),
        ):
            params.bound(body, name, least, most, sent_as=key)
        _offer(body, params, rules)
        messages = messages_for_cohere(chat.messages, chat.names, placeholder=chat.placeholder)
        messages = self._format(body, params, messages)
        if ("tools" in body or "documents" in body) and body.pop("safety_mode", None) is not None:
            params.warn("safety_mode", "Cohere does not take it together with tools or documents")
        body["messages"] = messages
        params.drop_rest()
        return body, params.warnings

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        data = object_of(answer, self.source)
        message, finish = data.get("message"), data.get("finish_reason")
        if data.get("error") and not message:
            raise failure_inside(answer, self.source, data)
        if not isinstance(message, dict):
            raise bad_answer(answer, "without a message")
        if isinstance(finish, str) and finish in BROKEN_OFF:
            raise CallFailed(
                "server_error",
                f"The provider broke its answer off ({finish}).",
                http_status=answer.status,
                provider_message=message_of(data, answer) if data.get("error") else None,
                provider_request_id=request_id_of(answer),
            )
        text, thought = _content(message.get("content"))
        plan = message.get("tool_plan")
        calls = message.get("tool_calls")
        usage = data.get("usage")
        counted = "tokens" if count(usage, "tokens", "input_tokens") is not None else "billed_units"
        return completion_of(
            answer,
            chat,
            data=data,
            choices=[
                choice(
                    0,
                    text=text,
                    finish=finish,
                    finish_words=FINISH_WORDS,
                    reasoning=thought or (plan if isinstance(plan, str) else None),
                    tool_calls=[
                        tool_call(call.get("id"), *_function(call))
                        for call in (calls if isinstance(calls, list) else ())
                        if isinstance(call, dict)
                    ],
                    message_extra={
                        name: value
                        for name, value in message.items()
                        if name not in ("role", "content", "tool_calls")
                    },
                    extra={"logprobs": data["logprobs"]} if data.get("logprobs") is not None else None,
                )
            ],
            usage=usage_of(
                count(usage, counted, "input_tokens"),
                count(usage, counted, "output_tokens"),
                cached=count(usage, "cached_tokens"),
            ),
            usage_extra=usage if isinstance(usage, dict) else None,
        )

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        path = self.models_path + (f"&page_token={quoted(page)}" if page else "")
        return Request("GET", self.url(connection, path), self.headers(connection, key))

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        rows, around = self.model_rows(answer)
        token = around.get("next_page_token")
        return ModelPage(
            ids_of([row for row in rows if _chats(row)], "name", "id"),
            token if isinstance(token, str) and token and token != page else None,
        )

    def _format(
        self, body: dict[str, Any], params: Parameters, messages: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        wanted = format_of(params.response_format)
        if wanted is None or wanted.kind == "text":
            return messages
        if "tools" in body or "documents" in body:
            params.warn("response_format", "Cohere does not take it together with tools or documents")
            return messages
        body["response_format"] = {"type": "json_object"}
        if wanted.schema is not None:
            body["response_format"]["json_schema"] = wanted.schema
            return messages
        if wanted.kind == "json_object" and wanted.given.get("json_schema") is not None:
            body["response_format"]["json_schema"] = wanted.given["json_schema"]
            return messages
        # Without a schema and without the word in the prompt the model can run on without an end.
        messages, added = saying_json(messages, self.name)
        params.warnings += added
        return messages


def messages_for_cohere(
    messages: Sequence[Mapping[str, Any]], names: Names, *, placeholder: str
) -> list[dict[str, Any]]:
    """OpenAI messages as Cohere takes them.

    Names are written into the texts. A turn that calls tools says what it plans, in `tool_plan`: its own text, or that
    of the assistant's turn right before it, or a sentence that names the tools; it has no content.
    """
    result: list[dict[str, Any]] = []
    for message in mended(modern(messages)):
        role, content = message["role"], spoken(message.get("content"), speakers(message, names))
        if role == "tool":
            result.append(
                {
                    "role": role,
                    "tool_call_id": str(message.get("tool_call_id") or ""),
                    "content": content or "",
                }
            )
        elif role == "assistant" and message.get("tool_calls"):
            calls = openai_calls(message)
            told = message.get("tool_plan")
            plan = told if isinstance(told, str) else joined_text(content)
            before = result[-1] if result and result[-1]["role"] == "assistant" else None
            if before is not None and "tool_calls" not in before:
                result.pop()
                plan = SEPARATOR.join(filter(None, (joined_text(before["content"]), plan)))
            if not plan:
                plan = PLAN + ", ".join(called(call)[0] for call in calls)
            result.append({"role": role, "tool_plan": plan, "tool_calls": calls})
        else:
            result.append({"role": role, "content": content})
    return result or [{"role": "user", "content": placeholder}]


def _offer(body: dict[str, Any], params: Parameters, rules: ModelRules) -> None:
    """Tools, and the choice among them in the two words that there are: one function is forced by offering no other."""
    functions, warnings = functions_only(params.tools, "Cohere")
    params.warnings += warnings
    wanted = choice_of(params.tool_choice)
    if not functions:
        return
    if wanted is not None and wanted.mode != "auto":
        if rules.tool_choice:
            body["tool_choice"] = "NONE" if wanted.mode == "none" else "REQUIRED"
        elif wanted.mode == "none":
            return  # the same, for models that know no tool_choice
        else:
            params.warn("tool_choice", "models before Command R7B do not take it")
    if wanted is not None and wanted.function is not None:
        functions = only(functions, wanted.function)
    body["tools"] = [openai_tool(function, strict=False) for function in functions]
    if "strict_tools" not in body and any(function.strict for function in functions):
        body["strict_tools"] = True


def _think(body: dict[str, Any], params: Parameters, rules: ModelRules) -> None:
    effort, thinking = params.take("reasoning_effort"), params.take("thinking")
    if rules.thinking is Thinking.NONE:
        for name, value in (("reasoning_effort", effort), ("thinking", thinking)):
            if value is not None and value != "none":
                params.warn(name, "the model does not think")
        return
    if isinstance(thinking, Mapping):
        body["thinking"] = {
            {"budget_tokens": "token_budget"}.get(name, name): value for name, value in thinking.items()
        }
    elif effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif isinstance(effort, str):
        body["thinking"] = {"type": "enabled"}
        if effort in _BUDGETS:
            body["thinking"]["token_budget"] = _BUDGETS[effort]


def _content(content: Any) -> tuple[str | None, str | None]:
    """(text, thought) of an answer's content, a list of parts."""
    if isinstance(content, str):
        return content, None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping):
            for kind, found in (("text", texts), ("thinking", thoughts)):
                if part.get("type") == kind and isinstance(part.get(kind), str):
                    found.append(part[kind])
    return ("".join(texts) if texts else None), "".join(thoughts) or None


def _function(call: Mapping[str, Any]) -> tuple[Any, Any]:
    function = call.get("function")
    return (function.get("name"), function.get("arguments")) if isinstance(function, Mapping) else ("", None)


def _chats(row: Any) -> bool:
    endpoints = row.get("endpoints") if isinstance(row, Mapping) else None
    return not isinstance(endpoints, list) or "chat" in endpoints
