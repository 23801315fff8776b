"""OpenAI's rules for messages, tools and response formats: what api.openai.com refuses, in its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chatq_sandbox.dialects.chat_completions import ROLES
from chatq_sandbox.dialects.fields import Array, Words, mapping_of, text_of
from chatq_sandbox.exchange import Message, Refused, Role

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME_PATTERN = "^[a-zA-Z0-9_-]+$"
_PARTS_BY_ROLE = {
    "user": frozenset(("text", "image_url", "input_audio", "file")),
    "assistant": frozenset(("text", "refusal")),
    "system": frozenset(("text",)),
    "tool": frozenset(("text",)),
}
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")


def only_when(name: str, condition: str) -> str:
    """The refusal of a field that wants another one."""
    return f"Invalid value for '{name}': '{name}' is only allowed when {condition}."


def read_messages(raw: list[Any], words: Words, roles: Mapping[str, Role] = ROLES) -> tuple[Message, ...]:
    """The messages in neutral form; every tool call must be answered before anything else is said. `roles`: those
    that there are, and what they mean.

    Raises:
        Refused: for the first message that breaks a rule.
    """
    messages = []
    open_calls: list[str] = []
    for position, item in enumerate(raw):
        where = f"messages[{position}]"
        if not isinstance(item, dict):
            raise words.wrong_type(where, "object", item)
        role = _role(where, item, words, roles)
        if item["role"] == "tool":
            _check_tool_reply(position, item, open_calls, words)
        elif open_calls:
            raise _unanswered(open_calls, words)
        _check_content(position, item, role, words)
        if item.get("tool_calls") is not None:
            open_calls = _call_ids(f"{where}.tool_calls", item["tool_calls"], words)
        name = item.get("name")
        if name is not None and (not isinstance(name, str) or not _NAME.fullmatch(name)):
            raise _wrong_pattern(f"{where}.name", r"^[^\s<|\\/>]+$", words)
        messages.append(Message(role, text_of(item.get("content"))))
    if open_calls:
        raise _unanswered(open_calls, words)
    return tuple(messages)


def check_tools(raw: list[Any], words: Words) -> None:
    """Raise when a tool is not one, or its name has other characters than names may have."""
    for position, item in enumerate(raw):
        where = f"tools[{position}]"
        if not isinstance(item, dict):
            raise words.wrong_type(where, "object", item)
        if item.get("type") not in ("function", "custom"):
            raise words.not_one_of(f"{where}.type", item.get("type"), ("function", "custom"))
        function = mapping_of(item.get("function"))
        if item["type"] == "function" and not _NAME.fullmatch(str(function.get("name") or "")):
            raise _wrong_pattern(f"{where}.function.name", _NAME_PATTERN, words)


def check_response_format(raw: Any, messages: tuple[Message, ...], words: Words) -> None:
    """Raise when the response format is unknown or incomplete, or JSON is wanted and the prompt does not say
    so."""
    if raw is None:
        return
    kind = raw.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise words.not_one_of("response_format.type", kind, ("json_object", "json_schema", "text"))
    if kind == "json_object" and not any("json" in message.text.lower() for message in messages):
        raise words.refused(
            "messages",
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
        )
    if kind == "json_schema":
        _check_json_schema(raw.get("json_schema"), words)


def _role(where: str, item: dict[str, Any], words: Words, roles: Mapping[str, Role]) -> Role:
    if "role" not in item:
        raise words.missing(f"{where}.role")
    role = roles.get(item["role"]) if isinstance(item["role"], str) else None
    if role is None:
        raise words.not_one_of(f"{where}.role", item["role"], tuple(roles))
    return role


def _check_content(position: int, item: dict[str, Any], role: Role, words: Words) -> None:
    content = item.get("content")
    where = f"messages[{position}].content"
    if content is None:
        if role == "assistant" and any(item.get(name) for name in _INSTEAD_OF_CONTENT):
            return
        raise words.refused(
            f"messages.[{position}].content", "Invalid value for 'content': expected a string, got null."
        )
    if isinstance(content, str):
        return
    Array(fewest=1).check(where, content, words)
    for number, part in enumerate(content):
        inner = f"{where}[{number}]"
        if not isinstance(part, dict):
            raise words.wrong_type(inner, "object", part)
        kind = part.get("type")
        if kind not in _PARTS_BY_ROLE[role]:
            raise words.not_one_of(f"{inner}.type", kind, sorted(_PARTS_BY_ROLE[role]))
        if kind == "text" and not isinstance(part.get("text"), str):
            raise words.wrong_type(f"{inner}.text", "string", part.get("text"))


def _check_tool_reply(position: int, item: dict[str, Any], open_calls: list[str], words: Words) -> None:
    answered = item.get("tool_call_id")
    if not isinstance(answered, str):
        raise words.missing(f"messages[{position}].tool_call_id")
    if answered not in open_calls:
        raise words.refused(
            f"messages.[{position}].role",
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.",
        )
    open_calls.remove(answered)


def _call_ids(where: str, calls: Any, words: Words) -> list[str]:
    Array(fewest=1).check(where, calls, words)
    found = []
    for number, call in enumerate(calls):
        inner = f"{where}[{number}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise words.missing(f"{inner}.function")
        for name in ("id", "type"):
            if not isinstance(call.get(name), str):
                raise words.missing(f"{inner}.{name}")
        for name in ("name", "arguments"):
            if not isinstance(function.get(name), str):
                raise words.wrong_type(f"{inner}.function.{name}", "string", function.get(name))
        found.append(call["id"])
    return found


def _check_json_schema(wrapper: Any, words: Words) -> None:
    where = "response_format.json_schema"
    if not isinstance(wrapper, dict):
        raise words.missing(where)
    name, schema = wrapper.get("name"), wrapper.get("schema")
    if name is None:
        raise words.missing(f"{where}.name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong_pattern(f"{where}.name", _NAME_PATTERN, words)
    if not isinstance(schema, dict):
        raise words.missing(f"{where}.schema")
    if wrapper.get("strict") and schema.get("additionalProperties") is not False:
        raise words.refused(
            "response_format",
            f"Invalid schema for response_format '{name}': In context=(), 'additionalProperties' is required "
            "to be supplied and to be false.",
        )


def _unanswered(open_calls: list[str], words: Words) -> Refused:
    return words.refused(
        "messages",
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(open_calls),
    )


def _wrong_pattern(name: str, pattern: str, words: Words) -> Refused:
    return words.refused(
        name,
        f"Invalid '{name}': string does not match pattern. Expected a string that matches the pattern "
        f"'{pattern}'.",
        "invalid_value",
    )
