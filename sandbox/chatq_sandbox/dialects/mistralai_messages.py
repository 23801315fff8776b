"""Mistral's rules for messages and tools.

From: mistralai 3.7 (message types, without other fields), Error glossary (codes 3230, 3240, 3280), the order rules
from answers that users quote.
"""

from __future__ import annotations

import re
from typing import Any

from chatq_sandbox.dialects.chat_completions import ROLES
from chatq_sandbox.dialects.fields import text_of
from chatq_sandbox.dialects.mistralai_words import WORDS, error, wrong_order
from chatq_sandbox.exchange import Message, Refused

_TOOL_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEYS = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "assistant": ("role", "content", "tool_calls", "prefix"),
    "tool": ("role", "content", "tool_call_id", "name"),
}


def read_messages(raw: list[Any]) -> tuple[Message, ...]:
    """The messages in neutral form.

    Raises:
        Refused: for the first message that breaks a rule.
    """
    for position, item in enumerate(raw):
        _check_shape(f"messages[{position}]", item)
    _check_last(raw[-1])
    before, open_calls = "", list[str]()
    for item in raw:
        role = item["role"]
        if role == "tool":
            if before not in ("assistant", "tool") or not open_calls:
                raise wrong_order(f"Unexpected role 'tool' after role '{before}'")
            _answer(item, open_calls)
        else:
            if open_calls:
                raise wrong_order("Not the same number of function calls and responses")
            if role == "user" and before == "tool":
                raise wrong_order("Unexpected role 'user' after role 'tool'")
            if role == "assistant":
                open_calls = _call_ids(item)
        before = role
    if open_calls:
        raise wrong_order("Not the same number of function calls and responses")
    return tuple(Message(ROLES[item["role"]], text_of(item.get("content"))) for item in raw)


def check_tools(raw: list[Any]) -> None:
    """Raise when a tool is not a function, or its name has other characters than names may have."""
    for position, item in enumerate(raw):
        where = f"tools[{position}]"
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict):
            raise WORDS.missing(f"{where}.function")
        for name in ("name", "parameters"):
            if name not in function:
                raise WORDS.missing(f"{where}.function.{name}")
        if not _TOOL_NAME.fullmatch(str(function["name"])):
            raise _wrong_call(
                f"Function name was {function['name']} but must be a-z, A-Z, 0-9, or contain underscores and dashes, "
                "with a maximum length of 64."
            )


def _check_shape(where: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise WORDS.wrong_type(where, "object", item)
    role = item.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        raise WORDS.not_one_of(f"{where}.role", role, tuple(_KEYS))
    for key, value in item.items():
        if key not in _KEYS[role]:
            raise WORDS.unknown(f"{where}.{role}.{key}", value)
    content = item.get("content")
    if content is None and role != "assistant":
        raise WORDS.missing(f"{where}.{role}.content")
    if not isinstance(content, str | list | None):
        raise WORDS.wrong_type(f"{where}.{role}.content", "string", content)
    if not isinstance(item.get("tool_calls"), list | None):
        raise WORDS.wrong_type(f"{where}.{role}.tool_calls", "array", item["tool_calls"])
    if role == "assistant" and not content and not item.get("tool_calls"):
        message = "Assistant message must have either content or tool_calls, but not none."
        raise Refused("bad_request", error(400, message, "invalid_request_assistant_message", "3240"))


def _check_last(last: dict[str, Any]) -> None:
    role = last["role"]
    if role not in ("user", "tool") and not (role == "assistant" and last.get("prefix") is True):
        raise wrong_order(
            f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {role}"
        )


def _call_ids(item: dict[str, Any]) -> list[str]:
    found = []
    for call in item.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or "name" not in function or "arguments" not in function:
            raise WORDS.missing("messages.assistant.tool_calls.function")
        found.append(_checked_id(call.get("id")))
    return found


def _answer(item: dict[str, Any], open_calls: list[str]) -> None:
    found = _checked_id(item.get("tool_call_id"))
    if found not in open_calls:
        raise wrong_order(f"Unexpected tool call id {found} in tool results")
    open_calls.remove(found)


def _checked_id(found: Any) -> str:
    if not isinstance(found, str) or not _TOOL_CALL_ID.fullmatch(found):
        raise _wrong_call(f"Tool call id was {found} but must be a-z, A-Z, 0-9, with a length of 9.")
    return found


def _wrong_call(message: str) -> Refused:
    return Refused("bad_request", error(400, message, "invalid_function_call", "3280"))
