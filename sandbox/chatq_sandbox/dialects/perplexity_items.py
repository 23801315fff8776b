"""What goes into an agent's request: input items, tools, the wanted format. From: Create Agent Response, Migrate from
Sonar."""

from __future__ import annotations

from typing import Any

from chatq_sandbox.dialects.chat_completions import ROLES
from chatq_sandbox.dialects.fields import mapping_of, text_of
from chatq_sandbox.dialects.perplexity_words import WORDS
from chatq_sandbox.exchange import Message, Tool

_HOSTED_TOOLS = ("web_search", "fetch_url", "people_search", "finance_search", "sandbox", "mcp")
_ROLES = ("system", "developer", "user", "assistant")
_PARTS = ("input_text", "input_image", "output_text")
_CONTEXT_SIZES = ("low", "medium", "high")
_RECENCIES = ("hour", "day", "week", "month", "year")


def read_input(raw: Any, instructions: str) -> tuple[Message, ...]:
    """The input, a text or items, in neutral form; every function call must have its output.

    Raises:
        Refused: for the first item that breaks a rule.
    """
    messages = [Message("system", instructions)] if instructions else []
    if isinstance(raw, str):
        return (*messages, Message("user", raw))
    if not isinstance(raw, list) or not raw:
        raise WORDS.wrong_type("input", "string", raw)
    open_calls: list[str] = []
    for position, item in enumerate(raw):
        where = f"input[{position}]"
        if not isinstance(item, dict):
            raise WORDS.wrong_type(where, "object", item)
        match item.get("type", "message"):
            case "message":
                messages.append(_message(where, item))
            case "function_call":
                for name in ("call_id", "name", "arguments"):
                    if not isinstance(item.get(name), str):
                        raise WORDS.missing(f"{where}.{name}")
                open_calls.append(item["call_id"])
                if not messages or messages[-1].role != "assistant":
                    messages.append(Message("assistant", ""))
            case "function_call_output":
                messages.append(_output(where, item, open_calls))
            case kind:
                known = ("message", "function_call", "function_call_output")
                raise WORDS.not_one_of(f"{where}.type", kind, known)
    if open_calls:
        raise WORDS.refused(None, f"No tool output found for function call {open_calls[0]}.")
    return tuple(messages)


def read_tools(raw: list[Any]) -> tuple[tuple[Tool, ...], bool]:
    """The functions that are offered, and whether the web may be searched."""
    functions, searches = [], False
    for position, item in enumerate(raw):
        where = f"tools[{position}]"
        if not isinstance(item, dict):
            raise WORDS.wrong_type(where, "object", item)
        kind = item.get("type")
        if kind == "function":
            if not isinstance(item.get("name"), str):
                raise WORDS.missing(f"{where}.name")
            functions.append(Tool(item["name"], item.get("parameters") or {}))
        elif kind not in _HOSTED_TOOLS:
            raise WORDS.not_one_of(f"{where}.type", kind, ("function", *_HOSTED_TOOLS))
        elif kind == "web_search":
            searches = True
            _check_search(where, item)
    return tuple(functions), searches


def read_tool_choice(raw: Any, tools: tuple[Tool, ...]) -> str:
    """auto, none, required or a function's name."""
    if isinstance(raw, dict):
        if raw.get("name") not in {tool.name for tool in tools}:
            raise WORDS.refused(None, f"tool_choice: function '{raw.get('name')}' is not in tools")
        return str(raw["name"])
    if raw not in (None, "none", "auto", "required"):
        raise WORDS.not_one_of("tool_choice", raw, ("none", "auto", "required"))
    return str(raw or "auto")


def read_json_schema(raw: Any) -> dict[str, Any] | None:
    """The schema to answer in, None for text."""
    if raw is None:
        return None
    if raw.get("type") != "json_schema":
        raise WORDS.not_one_of("response_format.type", raw.get("type"), ("json_schema",))
    wrapper = raw.get("json_schema")
    if not isinstance(wrapper, dict) or not isinstance(wrapper.get("schema"), dict):
        raise WORDS.missing("response_format.json_schema.schema")
    return dict(wrapper["schema"])


def _message(where: str, item: dict[str, Any]) -> Message:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise WORDS.not_one_of(f"{where}.role", role, _ROLES)
    if isinstance(content, list):
        for number, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in _PARTS:
                raise WORDS.not_one_of(f"{where}.content[{number}].type", kind, _PARTS)
    elif not isinstance(content, str):
        raise WORDS.wrong_type(f"{where}.content", "string", content)
    return Message(ROLES[role], text_of(content))


def _output(where: str, item: dict[str, Any], open_calls: list[str]) -> Message:
    called, output = item.get("call_id"), item.get("output")
    if called not in open_calls:
        raise WORDS.refused(None, f"{where}: no function call found for call_id {called}.")
    if not isinstance(output, str):
        raise WORDS.wrong_type(f"{where}.output", "string", output)
    open_calls.remove(called)
    return Message("tool", output)


def _check_search(where: str, item: dict[str, Any]) -> None:
    size = item.get("search_context_size", "low")
    if size not in _CONTEXT_SIZES:
        raise WORDS.not_one_of(f"{where}.search_context_size", size, _CONTEXT_SIZES)
    filters = mapping_of(item.get("filters"))
    recency = filters.get("search_recency_filter", "day")
    if recency not in _RECENCIES:
        raise WORDS.not_one_of(f"{where}.filters.search_recency_filter", recency, _RECENCIES)
