"""mistralai: OpenAI's shape, strictly read. Source: Mistral SDK (client.models), Error glossary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.prompts import Names
from chatq_worker.providers.adapter import Answer, Chat, ModelPage
from chatq_worker.providers.chat_completion_stream import ChatCompletionAssembly
from chatq_worker.providers.chat_messages import (
    CONTINUE,
    SEPARATOR,
    mended,
    modern,
    openai_calls,
    parts_of,
    speakers,
    spoken,
)
from chatq_worker.providers.json_mode import format_of, openai_format, saying_json
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import SourceAdapter, ids_of
from chatq_worker.providers.tool_shape import functions_only, offer_tools, openai_tool

PARAMS: Final[Mapping[str, str]] = {
    "seed": "random_seed",
    **{
        name: name
        for name in (
            "frequency_penalty",
            "guardrails",
            "logprobs",
            "metadata",
            "min_tokens",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_logprobs",
            "prompt_mode",
            "random_seed",
            "repetition_penalty",
            "safe_prompt",
            "stop",
            "temperature",
            "top_k",
            "top_logprobs",
            "top_p",
            "top_prompt_logprobs",
        )
    },
}
"""OpenAI's words, and Mistral's own, to Mistral's. It refuses every other key (422 extra_forbidden)."""

_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_TOOL_ID: Final = re.compile(r"[a-zA-Z0-9]{9}", re.ASCII)


class MistralAdapter(SourceAdapter):
    """Tool ids have 9 letters and digits here; the last message is the user's, a tool's, or a prefix to continue."""

    source = "mistralai"
    name = "Mistral"
    base_url = "https://api.mistral.ai"
    chat_path = "/v1/chat/completions"
    models_path = "/v1/models"
    versions = ("/v1",)
    assembly = ChatCompletionAssembly

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {"model": chat.model}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        effort = params.effort(rules)
        if effort is not None:
            body["reasoning_effort"] = effort
        tier = params.take("service_tier")
        if isinstance(tier, str) and tier in _TIERS:
            body["service_tier"] = _TIERS[tier]
        elif tier is not None:
            params.warn("service_tier", "Mistral knows auto and standard_only")
        if "seed" in params:
            params.take("random_seed")
        body |= params.rename(PARAMS)
        offer_tools(body, params, knows_any=True)
        if "tools" in body:
            functions, warnings = functions_only(body["tools"], self.name)
            body["tools"] = [openai_tool(function) for function in functions]
            params.warnings += warnings
        messages = messages_for_mistral(chat.messages, chat.names, placeholder=chat.placeholder)
        wanted = format_of(params.response_format)
        if wanted is not None:
            body["response_format"] = openai_format(wanted)
            if wanted.kind == "json_object":
                messages, added = saying_json(messages, self.name)
                params.warnings += added
        body["messages"] = messages
        params.drop_rest()
        return body, params.warnings

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        rows, _ = self.model_rows(answer)
        return ModelPage(ids_of([row for row in rows if _chats(row)], "id", "name"))


def messages_for_mistral(
    messages: Sequence[Mapping[str, Any]], names: Names, *, placeholder: str
) -> list[dict[str, Any]]:
    """OpenAI messages as Mistral takes them.

    Names are written into the texts. What the system says behind the assistant is the user's. What the user says behind
    a tool result moves to the user's last words before it. A last turn of the assistant is a prefix to continue.
    """
    result: list[dict[str, Any]] = []
    assistant_spoke = False
    for message in mended(modern(messages)):
        role, content = message["role"], spoken(message.get("content"), speakers(message, names))
        if role == "assistant":
            assistant_spoke = True
            own = {"role": role, "content": "" if content is None else content}
            if message.get("tool_calls"):
                own["tool_calls"] = [_with_short_id(call) for call in openai_calls(message)]
            elif not own["content"]:
                continue  # an assistant's turn needs content or calls
        elif role == "tool":
            own = {"role": role, "tool_call_id": tool_id(str(message.get("tool_call_id") or ""))}
            if isinstance(message.get("name"), str):
                own["name"] = message["name"]
            own["content"] = "" if content is None else content
        else:
            own = {"role": "user" if role == "system" and assistant_spoke else role, "content": content or ""}
            if not own["content"]:
                continue
            if own["role"] == "user" and _behind_tool(result) and _joined_to_earlier(result, own["content"]):
                continue
        result.append(own)
    return _with_good_end(result, placeholder)


def tool_id(given: str) -> str:
    """An id that Mistral takes: the given one if it is one, else 9 characters that follow from it alone."""
    if _TOOL_ID.fullmatch(given):
        return given
    return hashlib.sha512(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _with_short_id(call: dict[str, Any]) -> dict[str, Any]:
    return {**call, "id": tool_id(call["id"])}


def _behind_tool(result: list[dict[str, Any]]) -> bool:
    return bool(result) and result[-1]["role"] == "tool"


def _joined_to_earlier(result: list[dict[str, Any]], content: Any) -> bool:
    """Put the user's words behind the user's last words in `result`, in place. False when there are none."""
    for index in range(len(result) - 1, -1, -1):
        earlier = result[index]
        if earlier["role"] != "user" or not earlier["content"]:
            continue
        if isinstance(earlier["content"], str) and isinstance(content, str):
            joined: Any = earlier["content"] + SEPARATOR + content
        else:
            joined = [*parts_of(earlier["content"]), *parts_of(content)]
        result[index] = {**earlier, "content": joined}
        return True
    return False


def _with_good_end(result: list[dict[str, Any]], placeholder: str) -> list[dict[str, Any]]:
    """400 code 3230 otherwise: the end is the user's, a tool's, or an assistant's that is marked as a prefix."""
    if not result:
        return [{"role": "user", "content": placeholder}]
    last = result[-1]
    if last["role"] == "system":
        if not any(message["role"] == "user" for message in result):
            return [*result, {"role": "user", "content": placeholder}]
        return [*result[:-1], {**last, "role": "user"}]
    if last["role"] == "assistant":
        if isinstance(last["content"], str):
            return [*result[:-1], {**last, "prefix": True}]
        return [*result, {"role": "user", "content": CONTINUE}]
    return result


def _chats(row: Any) -> bool:
    capabilities = row.get("capabilities") if isinstance(row, Mapping) else None
    return not isinstance(capabilities, Mapping) or capabilities.get("completion_chat") is not False
