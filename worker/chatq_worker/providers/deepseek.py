"""deepseek: OpenAI's shape, models that think unless told not to. Source: DeepSeek API documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.prompts import post_process
from chatq_worker.providers.adapter import Answer, Chat, Check, CheckKind, CheckReading, Request
from chatq_worker.providers.chat_completion_stream import ChatCompletionAssembly
from chatq_worker.providers.chat_messages import (
    image_url,
    joined_text,
    mended,
    modern,
    openai_calls,
    other_parts,
    text_in,
)
from chatq_worker.providers.error_answers import message_of, object_of, request_id_of
from chatq_worker.providers.json_mode import asked_in_words, format_of, saying_json
from chatq_worker.providers.model_rules import ModelRules, Thinking, rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import WITH_USAGE, SourceAdapter
from chatq_worker.providers.tool_shape import functions_only, offer_tools, openai_tool

PARAMS: Final[Mapping[str, str]] = {
    "user": "user_id",
    "safety_identifier": "user_id",
    **{
        name: name
        for name in (
            "frequency_penalty",
            "logprobs",
            "presence_penalty",
            "temperature",
            "top_logprobs",
            "top_p",
            "user_id",
        )
    },
}

MOST_STOPS: Final = 16
EFFORTS: Final = {"minimal": "low", "medium": "high", "xhigh": "high"}
"""DeepSeek, Thinking Mode: what it makes of efforts that it has not."""

NO_THOUGHT: Final = " "
"""The least that the API takes for what an earlier turn thought, where nobody kept it."""

_BETA: Final = "/beta"


class DeepSeekAdapter(SourceAdapter):
    """The mode `semi_tools` is applied after the job's own; a last turn of the assistant is a prefix, on /beta."""

    source = "deepseek"
    name = "DeepSeek"
    base_url = "https://api.deepseek.com"
    assembly = ChatCompletionAssembly
    streaming = WITH_USAGE

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {"model": chat.model}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        thinks = _think(body, params, rules)
        if thinks:
            params.drop_while_thinking(rules)
        stop = params.stops(most=MOST_STOPS)
        if stop is not None:
            body["stop"] = stop
        body |= params.rename(PARAMS)
        params.bound(body, "temperature", 0, 2)
        params.drop("parallel_tool_calls", "DeepSeek does not take it")
        offer_tools(body, params)
        if "tools" in body:
            functions, warnings = functions_only(body["tools"], self.name)
            body["tools"] = [openai_tool(function) for function in functions]
            params.warnings += warnings
        messages = self._messages(chat, params, rules, thinks=thinks)
        wanted = format_of(params.response_format)
        if wanted is not None and wanted.kind != "text":
            body["response_format"] = {"type": "json_object"}
            if wanted.kind == "json_object":
                messages, added = saying_json(messages, self.name)
                params.warnings += added
            else:
                messages, line = asked_in_words(messages, wanted, self.name)
                params.note(line)
        body["messages"] = messages
        params.drop_rest()
        return body, params.warnings

    def chat_url(self, chat: Chat, connection: Connection, body: Mapping[str, Any]) -> str:
        base = connection.url or self.base_url
        if body["messages"][-1].get("prefix") and not base.endswith(_BETA):
            base = base.removesuffix("/v1") + _BETA
        return base + self.chat_path

    def check_request(self, connection: Connection, key: str | None, *, model: str | None = None) -> Check:
        if model is not None:
            return super().check_request(connection, key, model=model)
        base = (connection.url or self.base_url).removesuffix("/v1").removesuffix(_BETA)
        return Check(CheckKind.BALANCE, Request("GET", f"{base}/user/balance", self.headers(connection, key)))

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        if check.kind is not CheckKind.BALANCE:
            return super().read_check(check, answer, connection)
        if answer.status in (404, 405) and connection.url is not None:
            return CheckReading(proved=False)  # a gateway: it has models, and no balance
        data = object_of(answer, self.source)
        if data.get("is_available") is False:
            raise CallFailed(
                "quota_exhausted",
                "The account's balance does not suffice for a call.",
                http_status=answer.status,
                provider_message=message_of(data, answer),
                provider_request_id=request_id_of(answer),
            )
        return CheckReading(proved=True)

    def _messages(
        self, chat: Chat, params: Parameters, rules: ModelRules, *, thinks: bool
    ) -> list[dict[str, Any]]:
        ready = mended(
            post_process(modern(chat.messages), "semi_tools", names=chat.names, placeholder=chat.placeholder)
        )
        with_tools = bool(params.tools) or any(message["role"] == "tool" for message in ready)
        result = []
        dropped: list[str] = []
        for index, message in enumerate(ready):
            role = message["role"]
            own: dict[str, Any] = {"role": role}
            if role == "user" and rules.images and any(map(image_url, _parts(message))):
                own["content"], left = _text_and_images(message)
                dropped += left
            else:
                own["content"] = joined_text(message.get("content"))
                dropped += other_parts(message.get("content"))
            if role == "tool":
                own["tool_call_id"] = str(message.get("tool_call_id") or "")
            if role == "assistant":
                calls = openai_calls(message)
                if calls:
                    own["tool_calls"] = calls
                is_prefix = index == len(ready) - 1 and not with_tools and not calls
                if is_prefix:
                    own["prefix"] = True
                thought = message.get("reasoning_content")
                if isinstance(thought, str) and thought:
                    own["reasoning_content"] = thought
                elif thinks and not is_prefix:
                    # 400 "The reasoning_content in the thinking mode must be passed back to the API." otherwise.
                    own["reasoning_content"] = NO_THOUGHT
                elif calls:
                    own["reasoning_content"] = ""
            result.append(own)
        for kind in dict.fromkeys(dropped):
            params.note(
                f"A message part of type {kind} was left out: the model {chat.model} takes text only."
            )
        return result


def _think(body: dict[str, Any], params: Parameters, rules: ModelRules) -> bool:
    """Write into the body whether and how hard to think; says whether the model will."""
    thinking = params.take("thinking")
    wanted = params.get("reasoning_effort")
    if isinstance(wanted, str) and wanted in EFFORTS:
        params.take("reasoning_effort")
        params.changed("reasoning_effort", EFFORTS[wanted], "DeepSeek has low, high and max")
        effort: str | None = EFFORTS[wanted]
    else:
        effort = params.effort(rules)
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind not in ("enabled", "disabled"):
        if thinking is not None:
            params.warn("thinking", "DeepSeek has enabled and disabled")
        kind = None if effort is None else "disabled" if effort == "none" else "enabled"
    elif isinstance(thinking, Mapping) and "budget_tokens" in thinking:
        params.warn("thinking.budget_tokens", "DeepSeek has no such bound")
    if kind is not None:
        body["thinking"] = {"type": kind}
    if effort not in (None, "none"):
        if kind == "enabled":
            body["reasoning_effort"] = effort
        else:
            params.warn("reasoning_effort", "thinking is disabled")
    return kind == "enabled" or (kind is None and rules.thinking is Thinking.DEFAULT_ON)


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _text_and_images(message: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
    """The parts that vision models take, and the kinds of the others."""
    kept, left = [], []
    for part in _parts(message):
        if text_in(part) or image_url(part):
            kept.append({"type": "text", "text": part} if isinstance(part, str) else part)
        elif text_in(part) is None:
            left += other_parts([part])
    return kept, left
