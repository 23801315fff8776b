"""ai21: Jamba in OpenAI's shape, texts only. Source: AI21 SDK (clients.studio.resources.chat, models.chat)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.prompts import Names, post_process
from chatq_worker.providers.adapter import Answer, Chat, Check, CheckReading
from chatq_worker.providers.chat_completion_stream import ChatCompletionAssembly
from chatq_worker.providers.chat_messages import (
    joined_text,
    leading_system,
    mended,
    modern,
    openai_calls,
    other_parts,
)
from chatq_worker.providers.json_mode import asked_in_words, format_of
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import SourceAdapter
from chatq_worker.providers.tool_shape import choice_of, functions_only, only, openai_tool

PARAMS: Final = frozenset({"documents", "n", "seed", "stop", "temperature", "top_p"})


class AI21Adapter(SourceAdapter):
    """Contents are plain texts, and neighbours of one role are joined. The model list answers without a key, empty."""

    source = "ai21"
    name = "AI21"
    base_url = "https://api.ai21.com/studio/v1"
    assembly = ChatCompletionAssembly

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        params = Parameters(chat, self.name, rules_of(self.source, chat.model))
        body: dict[str, Any] = {"model": chat.model, "stream": False}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        body |= params.rename(PARAMS)
        params.bound(body, "temperature", 0, 2)
        params.bound(body, "top_p", 0, 1)
        functions, warnings = functions_only(params.tools, self.name)
        params.warnings += warnings
        wanted_tool = choice_of(params.tool_choice)
        if functions:
            if wanted_tool is not None:
                body["tool_choice"] = wanted_tool.mode
                if wanted_tool.function is not None:
                    functions = only(functions, wanted_tool.function)
            body["tools"] = [openai_tool(function, strict=False) for function in functions]
        messages, dropped = messages_for_ai21(chat.messages, chat.names, placeholder=chat.placeholder)
        for kind in dropped:
            params.note(f"A message part of type {kind} was left out: AI21 takes text only.")
        wanted = format_of(params.response_format)
        if wanted is not None:
            if wanted.kind in ("text", "json_object"):
                body["response_format"] = {"type": wanted.kind}
            else:
                body["response_format"] = {"type": "json_object"}
                messages, line = asked_in_words(messages, wanted, self.name)
                params.note(line)
        body["messages"] = messages
        params.drop_rest()
        return body, params.warnings

    def grows(self, body: Mapping[str, Any]) -> bool:
        # A stream has one choice, and in AI21's SDK no calls.
        return "tools" not in body and body.get("n", 1) == 1

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        reading = super().read_check(check, answer, connection)
        if reading.models is not None and not reading.models:
            return CheckReading(proved=False, models=reading.models)
        return reading


def messages_for_ai21(
    messages: Sequence[Mapping[str, Any]], names: Names, *, placeholder: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """OpenAI messages as AI21 takes them, and the kinds of the parts that were left out.

    The mode `merge_tools`, where examples in the middle lose their speakers' names; the system's text at the start has
    no white space around it; there is at least one message beside it.
    """
    ready = modern(messages)
    for message in ready[leading_system(ready) :]:
        if message.get("role") == "system":
            message.pop("name", None)
    dropped: dict[str, None] = {}
    result: list[dict[str, Any]] = []
    for message in mended(post_process(ready, "merge_tools", names=names, placeholder=placeholder)):
        content = message.get("content")
        dropped |= dict.fromkeys(other_parts(content))
        own = {"role": message["role"], "content": joined_text(content)}
        if message["role"] == "tool":
            own["tool_call_id"] = str(message.get("tool_call_id") or "")
        calls = openai_calls(message)
        if calls:
            own["tool_calls"] = calls
            own["content"] = own["content"] or None
        result.append(own)
    if result[0]["role"] == "system":
        result[0]["content"] = result[0]["content"].strip()
        if not result[0]["content"]:
            del result[0]
    if len(result) == leading_system(result):
        result.append({"role": "user", "content": placeholder})
    return result, list(dropped)
