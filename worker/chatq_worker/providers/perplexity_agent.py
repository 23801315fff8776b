"""Perplexity's Agent API: OpenAI's Responses in shape. Source: Perplexity SDK (generated.api), Migrate from Sonar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.prompts import Names
from chatq_worker.providers.adapter import Answer, Chat, Completion
from chatq_worker.providers.chat_completion import choice_of as choice
from chatq_worker.providers.chat_completion import completion_of, count, tool_call, usage_of
from chatq_worker.providers.chat_messages import (
    SEPARATOR,
    call_id,
    called,
    image_url,
    joined_text,
    leading_system,
    mended,
    modern,
    other_parts,
    parts_of,
    speakers,
    spoken,
    text_in,
)
from chatq_worker.providers.error_answers import bad_answer, failure_inside, object_of, request_id_of
from chatq_worker.providers.json_mode import asked_in_words, format_of, openai_format
from chatq_worker.providers.model_rules import ModelRules, rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.perplexity_search import search_tool
from chatq_worker.providers.source_adapter import SourceAdapter
from chatq_worker.providers.tool_shape import choice_of, function_of

PARAMS: Final = frozenset(
    {
        "effort",
        "language_preference",
        "max_steps",
        "models",
        "preset",
        "previous_response_id",
        "profile",
        "prompt_cache_key",
        "service_tier",
        "skills",
        "step_budget_reminder",
        "store",
        "temperature",
        "top_p",
    }
)

PRESETS: Final[Mapping[str, str]] = {
    "sonar": "fast",
    "sonar-pro": "low",
    "sonar-reasoning": "medium",
    "sonar-reasoning-pro": "medium",
    "sonar-deep-research": "high",
}
"""Names of the Sonar API, which this one refuses, and what Perplexity suggests instead."""

_CHOOSE_A_MODEL: Final = ("preset", "effort", "models", "profile")
_TIERS: Final = ("auto", "default", "fast", "flex", "priority")
_FINISH_WORDS: Final[Mapping[str, str]] = {"completed": "stop", "requires_action": "tool_calls"}
_CUT_WORDS: Final[Mapping[str, str]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_GIVEN_UP: Final = frozenset({"failed", "cancelled"})
_NOT_DONE: Final = frozenset({"queued", "in_progress"})


class PerplexityAgent(SourceAdapter):
    """Search is a tool here. A bare Sonar name becomes the preset that took its place."""

    source = "perplexity"
    name = "Perplexity"
    base_url = "https://api.perplexity.ai"
    chat_path = "/v1/agent"
    models_path = "/v1/models"
    versions = ("/v1",)
    needs_model = False

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {}
        if chat.model in PRESETS and not any(name in params for name in _CHOOSE_A_MODEL):
            body["preset"] = PRESETS[chat.model]
            params.note(
                f"The model {chat.model} was sent as the preset {body['preset']}: the Agent API has no such model."
            )
        elif chat.model and chat.model not in PRESETS:
            body["model"] = chat.model
        elif not any(name in params for name in _CHOOSE_A_MODEL):
            raise CallFailed(
                "invalid_request",
                "Perplexity needs a model or a preset, and neither the job nor its connection names one.",
                remedy="Write the model's name into the job, or as model of the connection.",
                sent=False,
            )
        cap = params.output_cap()
        if cap is not None:
            body["max_output_tokens"] = cap
        _reason(body, params, rules)
        if params.get("service_tier") is not None and params.get("service_tier") not in _TIERS:
            params.drop("service_tier", f"Perplexity knows {', '.join(_TIERS)}")
        params.drop("background", "a queued job waits for its answer")
        body |= params.rename(PARAMS)
        params.bound(body, "temperature", 0, 2)
        params.bound(body, "top_p", 0, 1)
        instructions = params.take("instructions")
        _offer(body, params)
        messages = mended(modern(chat.messages))
        wanted = format_of(params.response_format)
        if wanted is not None and wanted.kind != "text":
            if wanted.schema is not None:
                body["response_format"] = openai_format(wanted)
            else:
                messages, line = asked_in_words(messages, wanted, self.name)
                params.note(line)
        _say(body, params, messages, chat, instructions)
        params.drop_rest()
        return body, params.warnings

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        data = object_of(answer, self.source)
        status, output = data.get("status"), data.get("output")
        if (isinstance(status, str) and status in _GIVEN_UP) or (data.get("error") and not output):
            raise failure_inside(answer, self.source, data)
        if isinstance(status, str) and status in _NOT_DONE:
            raise CallFailed(
                "server_error",
                f"The provider answered before it was done ({status}).",
                http_status=answer.status,
                provider_request_id=request_id_of(answer),
            )
        if not isinstance(output, list):
            raise bad_answer(answer, "without output")
        usage = data.get("usage")
        cached = count(usage, "input_tokens_details", "cache_read_input_tokens")
        if cached is None:
            cached = count(usage, "input_tokens_details", "cached_tokens")
        found, extra = _choice(data, [item for item in output if isinstance(item, Mapping)])
        return completion_of(
            answer,
            chat,
            data=data,
            choices=[found],
            usage=usage_of(
                count(usage, "input_tokens"),
                count(usage, "output_tokens"),
                count(usage, "total_tokens"),
                cached,
                count(usage, "output_tokens_details", "reasoning_tokens"),
            ),
            usage_extra=usage if isinstance(usage, dict) else None,
            extra=extra,
            created=data.get("created_at"),
        )


def _reason(body: dict[str, Any], params: Parameters, rules: ModelRules) -> None:
    reasoning = params.take("reasoning")
    if params.get("reasoning_effort") == "none":
        params.drop("reasoning_effort", f"Perplexity has {', '.join(rules.efforts)}")
    effort = params.effort(rules)
    if isinstance(reasoning, Mapping):
        body["reasoning"] = dict(reasoning)
    elif effort is not None:
        body["reasoning"] = {"effort": effort}


def input_items(
    messages: Sequence[Mapping[str, Any]], names: Names
) -> tuple[list[dict[str, Any]], list[str]]:
    """Mended messages as items of the input, and the kinds of the parts that were left out."""
    items: list[dict[str, Any]] = []
    left: dict[str, None] = {}
    for message in messages:
        role, content = message["role"], spoken(message.get("content"), speakers(message, names))
        if role == "tool":
            left |= dict.fromkeys(other_parts(content))
            items.append(
                {
                    "type": "function_call_output",
                    "call_id": str(message.get("tool_call_id") or ""),
                    "output": joined_text(content),
                }
            )
            continue
        own, kinds = _content(content, images=role == "user")
        left |= dict.fromkeys(kinds)
        if own:
            items.append({"role": role, "content": own})
        for call in message.get("tool_calls", ()):
            name, arguments = called(call)
            items.append(
                {"type": "function_call", "call_id": call_id(call), "name": name, "arguments": arguments}
            )
    return items, list(left)


def _say(
    body: dict[str, Any], params: Parameters, messages: list[dict[str, Any]], chat: Chat, instructions: Any
) -> None:
    """`instructions` and `input`, into the body, in place."""
    start = leading_system(messages)
    spoken_first = [
        joined_text(spoken(message.get("content"), speakers(message, chat.names)))
        for message in messages[:start]
    ]
    told = [text for text in (instructions, *spoken_first) if isinstance(text, str) and text]
    if told:
        body["instructions"] = SEPARATOR.join(told)
    items, left = input_items(messages[start:], chat.names)
    for kind in left:
        params.note(f"A message part of type {kind} was left out: Perplexity does not take it.")
    if not items:
        items = [{"role": "user", "content": chat.placeholder}]
    only = items[0]
    if not told and len(items) == 1 and only.get("role") == "user" and isinstance(only["content"], str):
        body["input"] = only["content"]
    else:
        body["input"] = items


def _content(content: Any, *, images: bool) -> tuple[str | list[dict[str, Any]], list[str]]:
    """A content as text, or as parts where it has images; and the kinds of the parts that were left out."""
    if not images or not any(image_url(part) for part in parts_of(content)):
        return joined_text(content), other_parts(content)
    parts: list[dict[str, Any]] = []
    left = []
    for part in parts_of(content):
        text, url = text_in(part), image_url(part)
        if text:
            parts.append({"type": "input_text", "text": text})
        elif url:
            parts.append({"type": "input_image", "image_url": url})
        elif text is None:
            left += other_parts([part])
    return parts, left


def _offer(body: dict[str, Any], params: Parameters) -> None:
    """Tools in the flat shape, the search that parameters ask for among them, and the choice."""
    params.drop("parallel_tool_calls", "Perplexity does not take it")
    tools = [_tool(tool) for tool in params.tools or ()]
    has_search = any(isinstance(tool, Mapping) and tool.get("type") == "web_search" for tool in tools)
    search = search_tool(params, has_tool=has_search)
    if search is not None:
        tools.append(search)
    if not tools:
        if params.tool_choice is not None and params.tool_choice != "none":
            params.warn("tool_choice", "no tools are offered")
        return
    body["tools"] = tools
    wanted = choice_of(params.tool_choice)
    if wanted is not None and wanted.function is not None:
        body["tool_choice"] = {"type": "function", "name": wanted.function}
    elif wanted is not None:
        body["tool_choice"] = wanted.mode
    elif params.tool_choice is not None:
        body["tool_choice"] = params.tool_choice
    elif search is not None and len(tools) == 1:
        body["tool_choice"] = "required"  # Sonar always searched, and who sets how to search means to


def _tool(tool: Any) -> Any:
    function = function_of(tool)
    if function is None:
        return tool
    own: dict[str, Any] = {"type": "function", "name": function.name}
    if function.description is not None:
        own["description"] = function.description
    if function.parameters is not None:
        own["parameters"] = function.parameters
    if function.strict is not None:
        own["strict"] = function.strict
    return own


def _choice(
    data: Mapping[str, Any], output: list[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choice, and what of the answer has no place in it: sources, and items of other kinds."""
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    annotations: list[dict[str, Any]] = []
    calls, results, others = [], [], []
    for item in output:
        kind = item.get("type")
        if kind == "message":
            for part in _dicts(item.get("content")):
                if isinstance(part.get("text"), str):
                    begin = sum(map(len, texts))
                    texts.append(part["text"])
                    annotations += [_annotation(found, begin) for found in _dicts(part.get("annotations"))]
                elif isinstance(part.get("refusal"), str):
                    refusals.append(part["refusal"])
        elif kind == "function_call":
            calls.append(
                tool_call(item.get("call_id") or item.get("id"), item.get("name"), item.get("arguments"))
            )
        elif kind == "search_results":
            results += _dicts(item.get("results"))
        elif kind == "reasoning":
            thoughts += [
                part["text"] for part in _dicts(item.get("summary")) if isinstance(part.get("text"), str)
            ]
        else:
            others.append(item)
    extra: dict[str, Any] = {}
    if results:
        urls = [result["url"] for result in results if isinstance(result.get("url"), str)]
        extra = {"citations": list(dict.fromkeys(urls)), "search_results": results}
    if others:
        extra["output_items"] = others
    status = data.get("status")
    words = {**_FINISH_WORDS, "completed": "tool_calls"} if calls and not texts else _FINISH_WORDS
    details = data.get("incomplete_details")
    reason = details.get("reason") if status == "incomplete" and isinstance(details, Mapping) else None
    if isinstance(reason, str):
        words = {"incomplete": _CUT_WORDS.get(reason, reason)}
    return choice(
        0,
        text="".join(texts) if texts else None,
        finish=status,
        finish_words=words,
        reasoning="".join(thoughts) or None,
        refusal="".join(refusals) or None,
        tool_calls=calls,
        message_extra={"annotations": annotations} if annotations else None,
    ), extra


def _annotation(found: Mapping[str, Any], begin: int) -> dict[str, Any]:
    """A flat url_citation in OpenAI's nested shape; its places are moved to those in the whole text."""
    if found.get("type") != "url_citation":
        return dict(found)
    inner = {name: found.get(name) for name in ("start_index", "end_index", "title", "url")}
    for name in ("start_index", "end_index"):
        place = inner[name]
        if type(place) is int and abs(place) < 2**53:
            inner[name] = place + begin
    return {"type": "url_citation", "url_citation": inner}


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
