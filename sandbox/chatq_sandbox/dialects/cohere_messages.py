"""Cohere's rules for messages and tools. From: API reference (Chat v2), Tool use; cohere-python 7.3 types."""

from __future__ import annotations

from typing import Any, cast

import orjson

from chatq_sandbox.dialects.cohere_words import WORDS
from chatq_sandbox.dialects.fields import text_of
from chatq_sandbox.exchange import Message, Role, Tool

_KEYS = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "assistant": ("role", "content", "tool_calls", "tool_plan", "citations"),
    "tool": ("role", "content", "tool_call_id"),
}
_PARTS = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}


def read_messages(raw: list[Any]) -> tuple[Message, ...]:
    """The messages in neutral form; every tool call must be answered before anything else is said.

    Raises:
        Refused: for the first message that breaks a rule.
    """
    open_calls: list[str] = []
    messages = []
    for position, item in enumerate(raw):
        where = f"messages[{position}]"
        role = _role(where, item)
        if role == "tool":
            _answer(where, item, open_calls)
        elif open_calls:
            raise WORDS.refused(None, f"tool calls without a tool message: {', '.join(open_calls)}.")
        if role == "assistant" and item.get("tool_calls"):
            if item.get("content"):
                raise WORDS.refused(
                    None, f"{where}: a message with tool_calls carries tool_plan and not content."
                )
            open_calls = _call_ids(where, item["tool_calls"])
            messages.append(Message("assistant", str(item.get("tool_plan") or "")))
        else:
            messages.append(Message(role, _text(where, role, item.get("content"))))
    if open_calls:
        raise WORDS.refused(None, f"tool calls without a tool message: {', '.join(open_calls)}.")
    if raw[-1]["role"] not in ("user", "tool"):
        raise WORDS.refused(None, "the last message must be from the user or a tool.")
    return tuple(messages)


def read_tools(raw: list[Any]) -> tuple[Tool, ...]:
    """The tools that are offered; Cohere wants the parameters of every one."""
    tools = []
    for position, item in enumerate(raw):
        where = f"tools[{position}]"
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict):
            raise WORDS.missing(f"{where}.function")
        for name in ("name", "parameters"):
            if name not in function:
                raise WORDS.missing(f"{where}.function.{name}")
        tools.append(Tool(str(function["name"]), function["parameters"]))
    return tuple(tools)


def documents_of(raw: list[Any]) -> list[tuple[str, Any]]:
    """The documents of tool replies as (id, data): what an answer can cite."""
    found = []
    for item in raw:
        if item["role"] == "tool" and isinstance(item["content"], list):
            parts = [part["document"] for part in item["content"] if part["type"] == "document"]
            found += [(f"{item['tool_call_id']}:{number}", part["data"]) for number, part in enumerate(parts)]
    return found


def _role(where: str, item: Any) -> Role:
    if not isinstance(item, dict):
        raise WORDS.wrong_type(where, "object", item)
    role = item.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        raise WORDS.not_one_of(f"{where}.role", role, tuple(_KEYS))
    for key, value in item.items():
        if key not in _KEYS[role]:
            raise WORDS.unknown(f"{where}.{key}", value)
    return cast(Role, role)


def _text(where: str, role: str, content: Any) -> str:
    if not content or not isinstance(content, str | list):
        raise WORDS.refused(None, f"{where}.content must be a string or a list of content blocks, not empty.")
    if isinstance(content, str):
        return content
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS[role]:
            raise WORDS.not_one_of(f"{where}.content[{number}].type", kind, _PARTS[role])
        if kind == "document":
            document = part.get("document")
            if not isinstance(document, dict) or not isinstance(document.get("data"), dict | str):
                raise WORDS.missing(f"{where}.content[{number}].document.data")
            data = document["data"]
            texts.append(data if isinstance(data, str) else orjson.dumps(data).decode())
    plain = text_of(content)
    return "\n".join((*texts, plain) if plain else texts)


def _call_ids(where: str, calls: Any) -> list[str]:
    if not isinstance(calls, list):
        raise WORDS.wrong_type(f"{where}.tool_calls", "array", calls)
    found = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str):
            raise WORDS.missing(f"{where}.tool_calls[{number}].id")
        if not isinstance(function.get("arguments"), str):
            raise WORDS.wrong_type(
                f"{where}.tool_calls[{number}].function.arguments", "string", function.get("arguments")
            )
        found.append(call["id"])
    return found


def _answer(where: str, item: dict[str, Any], open_calls: list[str]) -> None:
    found = item.get("tool_call_id")
    if not isinstance(found, str):
        raise WORDS.missing(f"{where}.tool_call_id")
    if found not in open_calls:
        raise WORDS.refused(None, f"{where}: tool_call_id '{found}' belongs to no tool call before it.")
    open_calls.remove(found)
