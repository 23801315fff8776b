"""Claude's rules for everything in a request but its messages: fields, tools, thinking, sampling, sizes.

From: Messages API reference, Tool use, Extended thinking, Structured outputs; messages that users quote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chatq_sandbox.dialects.claude_models import Model
from chatq_sandbox.dialects.claude_words import WORDS, wrong_tag
from chatq_sandbox.dialects.fields import (
    Anything,
    Array,
    Check,
    Flag,
    Number,
    Object,
    OneOf,
    OrNull,
    Text,
    Texts,
)
from chatq_sandbox.exchange import ChatRequest, Tool
from chatq_sandbox.tokens import prompt_tokens_of

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_BUDGET_LEAST = 1024
_TOOL_TYPES = ("custom", "bash_20250124", "text_editor_20250728", "web_search_20250305")
_TOOL_CHOICES = ("auto", "any", "tool", "none")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


FIELDS: Mapping[str, Check] = {
    "model": Text(),
    "messages": Array(fewest=1, most=100_000),
    "max_tokens": Number(0, whole=True),
    "cache_control": OrNull(Object()),
    "container": Anything(),
    "diagnostics": Anything(),
    "inference_geo": OrNull(Text()),
    "metadata": Object(),
    "output_config": Object(),
    "service_tier": OneOf(("auto", "standard_only")),
    "speed": OrNull(Text()),
    "stop_sequences": Texts(),
    "stream": Flag(),
    "system": Anything(),
    "thinking": Object(),
    "tool_choice": Object(),
    "tools": Array(),
}
SAMPLING_FIELDS: Mapping[str, Check] = {
    "temperature": Number(0, 1),
    "top_p": Number(0, 1),
    "top_k": Number(0, whole=True),
}


def read_tools(raw: list[Any]) -> tuple[Tool, ...]:
    """The tools that the caller runs; those that run at the provider are taken and not offered."""
    tools = []
    for place, item in enumerate(raw):
        where = f"tools.{place}"
        if not isinstance(item, dict):
            raise WORDS.wrong_type(where, "object", item)
        kind = item.get("type", "custom")
        if kind == "function":
            raise wrong_tag(where, kind, _TOOL_TYPES)
        if kind != "custom":
            continue
        for name in ("name", "input_schema"):
            if name not in item:
                raise WORDS.missing(f"{where}.custom.{name}")
        if not _TOOL_NAME.fullmatch(str(item["name"])):
            raise WORDS.refused(
                None, f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        schema = item["input_schema"]
        if not isinstance(schema, dict):
            raise WORDS.wrong_type(f"{where}.custom.input_schema", "object", schema)
        if schema.get("type") != "object":
            raise WORDS.refused(None, f"{where}.custom.input_schema.type: Input should be 'object'")
        tools.append(Tool(item["name"], schema))
    if len({tool.name for tool in tools}) < len(tools):
        raise WORDS.refused(None, "tools: Tool names must be unique.")
    return tuple(tools)


def read_tool_choice(body: dict[str, Any], tools: tuple[Tool, ...]) -> str:
    """auto, none, required or a tool's name."""
    raw = body.get("tool_choice")
    if raw is None:
        return "auto"
    kind = raw.get("type")
    if kind not in _TOOL_CHOICES:
        raise wrong_tag("tool_choice", kind, _TOOL_CHOICES)
    if not body.get("tools"):
        raise WORDS.refused(None, "tool_choice: may only be specified while providing tools.")
    if kind == "tool":
        if "name" not in raw:
            raise WORDS.missing("tool_choice.tool.name")
        if raw["name"] not in {tool.name for tool in tools}:
            raise WORDS.refused(None, f"Tool '{raw['name']}' not found in provided tools")
        return str(raw["name"])
    return "required" if kind == "any" else str(kind)


def read_json_schema(output: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of `output_config.format`, None for text."""
    for name in output:
        if name not in ("effort", "format", "task_budget"):
            raise WORDS.unknown(f"output_config.{name}", output[name])
    effort, wanted = output.get("effort"), output.get("format")
    if effort is not None and effort not in _EFFORTS:
        raise WORDS.not_one_of("output_config.effort", effort, _EFFORTS)
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        raise WORDS.refused(None, "output_config.format.type: Input should be 'json_schema'")
    schema = wanted.get("schema")
    if not isinstance(schema, dict):
        raise WORDS.missing("output_config.format.schema")
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise WORDS.refused(
            None,
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to "
            "false",
        )
    return schema


def thinks(body: dict[str, Any], model: Model) -> bool:
    """Whether the model shall think before it answers."""
    thinking = body.get("thinking")
    if thinking is None:
        return False
    kind = thinking.get("type")
    allowed = {
        "disabled": True,
        "enabled": model.takes_thinking_budget,
        "adaptive": model.takes_adaptive_thinking,
    }
    if not isinstance(kind, str) or kind not in allowed:
        raise wrong_tag("thinking", kind, allowed)
    if not allowed[kind]:
        raise WORDS.refused(None, f"thinking.type: '{kind}' is not supported on this model")
    if kind == "enabled":
        if "budget_tokens" not in thinking:
            raise WORDS.missing("thinking.enabled.budget_tokens")
        Number(_BUDGET_LEAST, whole=True).check(
            "thinking.enabled.budget_tokens", thinking["budget_tokens"], WORDS
        )
        if thinking["budget_tokens"] >= body["max_tokens"]:
            raise WORDS.refused(None, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif "budget_tokens" in thinking:
        raise WORDS.unknown(f"thinking.{kind}.budget_tokens", thinking["budget_tokens"])
    return bool(kind != "disabled")


def check_sampling(body: dict[str, Any], model: Model, *, thinking: bool) -> None:
    """Raise what is wrong with temperature, top_p and top_k for this model."""
    if not model.takes_sampling:
        for name in SAMPLING_FIELDS:
            if name in body and not (name == "temperature" and body[name] == 1):
                raise WORDS.refused(None, f"`{name}` is deprecated for this model.")
    if not model.takes_temperature_with_top_p and "temperature" in body and "top_p" in body:
        raise WORDS.refused(
            None, "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        )
    if thinking:
        if body.get("temperature", 1) != 1:
            raise WORDS.refused(None, "`temperature` may only be set to 1 when thinking is enabled.")
        if "top_k" in body:
            raise WORDS.refused(None, "`top_k` must be unset when thinking is enabled.")
        if body.get("top_p", 1) < 0.95:
            raise WORDS.refused(
                None, "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."
            )


def check_sizes(chat: ChatRequest, model: Model) -> None:
    """Raise when prompt or answer would be longer than the model's."""
    if chat.max_tokens is not None and chat.max_tokens > model.output_tokens:
        raise WORDS.refused(
            None,
            f"max_tokens: {chat.max_tokens} > {model.output_tokens}, which is the maximum allowed number of "
            f"output tokens for {chat.model}",
        )
    prompt_tokens = prompt_tokens_of(chat.messages)
    if prompt_tokens > model.context_tokens:
        raise WORDS.refused(
            None, f"prompt is too long: {prompt_tokens} tokens > {model.context_tokens} maximum"
        )


def forces_tool(tool_choice: Any) -> bool:
    """Whether the choice forces a tool."""
    return isinstance(tool_choice, dict) and tool_choice.get("type") in ("any", "tool")
