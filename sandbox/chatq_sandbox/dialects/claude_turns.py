"""Claude's rules for messages: turns, content blocks, tool use with its results, prefill, thinking sent back.

From: Messages API reference, Tool use, Extended thinking, Migrating to API version 2026-10-21; the wording from
messages that users quote.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from typing import Any, NamedTuple, cast

from chatq_sandbox.dialects.claude_models import Model
from chatq_sandbox.dialects.claude_words import WORDS, wrong_tag
from chatq_sandbox.exchange import Message, Role

_TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_-]+")
_SERIAL_CHARACTERS = 24
_KEYS = {
    "text": {"type", "text", "cache_control", "citations"},
    "image": {"type", "source", "cache_control"},
    "document": {"type", "source", "title", "context", "citations", "cache_control"},
    "search_result": {"type", "source", "title", "content", "citations", "cache_control"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
    "tool_use": {"type", "id", "name", "input", "cache_control", "caller"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
}
_REQUIRED = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_result": ("tool_use_id",),
    "tool_use": ("id", "name", "input"),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
}
_SAID_BY = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use", "document"),
    "system": ("text",),
    "result": ("text", "image", "document", "search_result"),
}


class Turn(NamedTuple):
    """Neighbouring messages of one role, as the model sees them; `position` is that of the first."""

    role: Role
    blocks: list[dict[str, Any]]
    position: int


def signature_of(serial: str, thinking: str) -> str:
    """What vouches for a thinking block. It holds for this very text."""
    return b64encode((serial + _seal(serial, thinking)).encode()).decode()


def read_system(raw: Any) -> list[Message]:
    """The system prompt: a text or text blocks."""
    if raw is None or isinstance(raw, str):
        return [Message("system", raw)] if raw else []
    if not isinstance(raw, list):
        raise WORDS.wrong_type("system", "string", raw)
    blocks = [_block(f"system.{place}", item, "system") for place, item in enumerate(raw)]
    _check_texts("system", blocks)
    return [Message("system", _text(blocks))]


def read_turns(raw: list[Any], model: Model, *, old_version: bool) -> list[Turn]:
    """The messages as turns, neighbours of one role merged.

    Raises:
        Refused: for the first message that breaks a rule.
    """
    turns: list[Turn] = []
    for position, item in enumerate(raw):
        where = f"messages.{position}"
        if not isinstance(item, dict):
            raise WORDS.wrong_type(where, "object", item)
        for key in item:
            if key not in ("role", "content"):
                raise WORDS.unknown(f"{where}.{key}", item[key])
        role = _role(where, item, model)
        is_last = position == len(raw) - 1
        blocks = _content(where, item, role, may_be_empty=is_last and role == "assistant")
        if not old_version:
            _check_newer_rules(where, role, blocks)
        if turns and turns[-1].role == role:
            turns[-1].blocks.extend(blocks)
        else:
            turns.append(Turn(role, blocks, position))
    if turns[0].role != "user":
        raise WORDS.refused(None, 'messages: first message must use the "user" role')
    talk = [turn for turn in turns if turn.role != "system"]
    for turn, following in zip(talk, [*talk[1:], None], strict=True):
        if turn.role == "assistant":
            _check_tool_use(turn, following)
    for before, turn in zip([None, *talk], talk, strict=False):
        if turn.role == "user":
            _check_results_known(turn, before)
    if turns[-1].role == "assistant":
        _check_prefill(turns[-1], model)
    return turns


def messages_of(turns: list[Turn]) -> list[Message]:
    """The turns in neutral form: each tool result is a message of its own before the rest of its turn; thinking is
    left out."""
    messages = []
    for turn in turns:
        results = [block for block in turn.blocks if block["type"] == "tool_result"]
        messages += [Message("tool", _result_text(block)) for block in results]
        if len(results) < len(turn.blocks) or not turn.blocks:
            messages.append(Message(turn.role, _text(turn.blocks)))
    return messages


def check_thinking_sent_back(turns: list[Turn]) -> None:
    """Raise when thinking is on and the assistant's last turn, which the model goes on with, has lost its
    thinking."""
    last = turns[-1]
    goes_on = last.role == "assistant" or any(block["type"] == "tool_result" for block in last.blocks)
    assistant = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if not goes_on or assistant is None:
        return
    first = assistant.blocks[0]["type"] if assistant.blocks else "text"
    if first not in ("thinking", "redacted_thinking"):
        raise WORDS.refused(
            None,
            f"messages.{assistant.position}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block.",
        )


def _role(where: str, item: dict[str, Any], model: Model) -> Role:
    if "role" not in item:
        raise WORDS.missing(f"{where}.role")
    role = item["role"]
    if role == "system" and not model.takes_system_turns:
        raise WORDS.refused(
            None,
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not '
            '"system" as an input message role.',
        )
    if role not in ("user", "assistant", "system"):
        raise WORDS.not_one_of(f"{where}.role", role, ("user", "assistant"))
    return cast(Role, role)


def _content(where: str, item: dict[str, Any], role: str, *, may_be_empty: bool) -> list[dict[str, Any]]:
    if "content" not in item:
        raise WORDS.missing(f"{where}.content")
    content = item["content"]
    if not isinstance(content, str | list):
        raise WORDS.wrong_type(f"{where}.content", "array", content)
    if not content:
        if may_be_empty:
            return []
        raise WORDS.refused(
            None,
            f"{where}: all messages must have non-empty content except for the optional final assistant message",
        )
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = [_block(f"{where}.content.{place}", block, role) for place, block in enumerate(content)]
    _check_texts("messages", blocks)
    return blocks


def _block(where: str, block: Any, said_by: str) -> dict[str, Any]:
    if not isinstance(block, dict):
        raise WORDS.wrong_type(where, "object", block)
    kind = block.get("type")
    if kind not in _SAID_BY[said_by]:
        raise wrong_tag(where, kind, _SAID_BY[said_by])
    for key in _REQUIRED.get(kind, ()):
        if key not in block:
            raise WORDS.missing(f"{where}.{kind}.{key}")
    for key in block:
        if key not in _KEYS[kind]:
            raise WORDS.unknown(f"{where}.{kind}.{key}", block[key])
    match kind:
        case "text":
            if not isinstance(block["text"], str):
                raise WORDS.wrong_type(f"{where}.text.text", "string", block["text"])
        case "tool_use":
            if not _TOOL_USE_ID.fullmatch(str(block["id"])):
                raise WORDS.refused(
                    None, f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
                )
            if not isinstance(block["input"], dict):
                raise WORDS.wrong_type(f"{where}.tool_use.input", "object", block["input"])
        case "thinking":
            _check_signature(where, block)
        case "tool_result" if not isinstance(block.get("content"), str | list | None):
            raise WORDS.wrong_type(f"{where}.tool_result.content", "string", block["content"])
        case "tool_result" if isinstance(block.get("content"), list):
            inner = [
                _block(f"{where}.tool_result.content.{place}", item, "result")
                for place, item in enumerate(block["content"])
            ]
            _check_texts("messages", inner)
    return block


def _check_texts(where: str, blocks: list[dict[str, Any]]) -> None:
    for block in blocks:
        if block["type"] == "text" and not block["text"].strip():
            lack = "contain non-whitespace text" if block["text"] else "be non-empty"
            raise WORDS.refused(None, f"{where}: text content blocks must {lack}")


def _check_newer_rules(where: str, role: str, blocks: list[dict[str, Any]]) -> None:
    for place, block in enumerate(blocks):
        if role == "assistant" and block["type"] == "document":
            raise WORDS.refused(
                None, f"{where}.content.{place}: document blocks are not permitted in assistant turns"
            )
        if role == "user" and block["type"] == "text" and "citations" in block:
            raise WORDS.unknown(f"{where}.content.{place}.text.citations", block["citations"])


def _check_tool_use(turn: Turn, following: Turn | None) -> None:
    asked = [str(block["id"]) for block in turn.blocks if block["type"] == "tool_use"]
    if len(set(asked)) < len(asked):
        raise WORDS.refused(None, "messages: `tool_use` ids must be unique")
    answered: list[str] = []
    for block in following.blocks if following else ():
        if block["type"] != "tool_result":
            break
        answered.append(block["tool_use_id"])
    open_ids = [one for one in asked if one not in answered]
    if open_ids:
        raise WORDS.refused(
            None,
            f"messages.{turn.position}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(open_ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message.",
        )


def _check_results_known(turn: Turn, before: Turn | None) -> None:
    asked = {block["id"] for block in before.blocks if block["type"] == "tool_use"} if before else set()
    seen = set()
    for place, block in enumerate(turn.blocks):
        if block["type"] != "tool_result":
            continue
        found = block["tool_use_id"]
        where = f"messages.{turn.position}.content.{place}"
        if found not in asked:
            raise WORDS.refused(
                None,
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {found}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
            )
        if found in seen:
            raise WORDS.refused(
                None,
                f"{where}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
                f"{found}",
            )
        seen.add(found)


def _check_prefill(turn: Turn, model: Model) -> None:
    if not model.takes_prefill:
        raise WORDS.refused(
            None,
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )
    if _text(turn.blocks)[-1:].isspace():
        raise WORDS.refused(None, "messages: final assistant content cannot end with trailing whitespace")


def _check_signature(where: str, block: dict[str, Any]) -> None:
    try:
        sealed = b64decode(str(block["signature"]), validate=True).decode()
    except (Base64Error, ValueError):
        sealed = ""
    serial, seal = sealed[:_SERIAL_CHARACTERS], sealed[_SERIAL_CHARACTERS:]
    if not seal or seal != _seal(serial, str(block["thinking"])):
        raise WORDS.refused(None, f"{where}: Invalid `signature` in `thinking` block")


def _seal(serial: str, thinking: str) -> str:
    return blake2b(thinking.encode("utf-8", "surrogatepass"), key=serial.encode(), digest_size=8).hexdigest()


def _result_text(block: dict[str, Any]) -> str:
    content = block.get("content") or ""
    return content if isinstance(content, str) else _text(content)


def _text(blocks: list[dict[str, Any]]) -> str:
    return "\n".join(block["text"] for block in blocks if block["type"] == "text")
