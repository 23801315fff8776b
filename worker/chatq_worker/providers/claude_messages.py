"""OpenAI messages as Claude takes them: turns of blocks, the system beside them.

Source: Anthropic, Messages API (blocks, alternation, tool results), and the reference cases of the vectors. Where those
would be refused (empty blocks, remote images, results without calls) or would lose text, they are mended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from chatq_worker.prompts import Names
from chatq_worker.providers.chat_messages import (
    CONTINUE,
    OF_ANSWERS,
    arguments_object,
    call_id,
    called,
    data_of,
    image_url,
    leading_system,
    mended,
    modern,
    parts_of,
    speakers,
    spoken,
    text_in,
)

INVISIBLE: Final = "\u200b"
"""What an empty text beside other parts is written as: an empty block is refused (reference case
empty-text-part-becomes-zero-width-space)."""

_TOOL_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_OURS: Final = OF_ANSWERS | {"role", "content", "name", "tool_calls", "tool_call_id"}
_KEPT_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


class Conversation(NamedTuple):
    """`system`: text blocks. `tools_used`: the names of tools in the history, in their order."""

    system: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    tools_used: list[str]
    warnings: list[str]


def conversation(
    messages: Sequence[Mapping[str, Any]], names: Names, *, placeholder: str, prefill: bool
) -> Conversation:
    """The system's blocks of the start, and turns that begin with the user.

    What the system says later is the user's. Images that an assistant shows move to the user's next turn. `prefill`:
    whether a last turn of the assistant may stay the last; else the user asks to go on with it.
    """
    ready = mended(modern(messages))
    count = leading_system(ready)
    build = _Build(names)
    for message in ready[:count]:
        build.say_as_system(message)
    for message in ready[count:]:
        build.say(message)
    turns = build.end()
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [_text(placeholder)]})
    if turns[-1]["role"] == "assistant":
        if prefill:
            _trim_end(turns)
        if turns[-1]["role"] == "assistant" and not (prefill and _ends_in_text(turns[-1])):
            turns.append({"role": "user", "content": [_text(CONTINUE)]})
            build.warn(
                "The last turn of the assistant is followed by the request to go on: the model continues no prefill."
            )
    return Conversation(build.system, turns, list(build.tools_used), list(build.warnings))


def tool_use_id(given: str) -> str:
    """An id that Claude takes: the given one if it is one, else one that follows from it alone."""
    if _TOOL_ID.fullmatch(given):
        return given
    return "toolu_" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class _Build:
    """A conversation as far as it has been read."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._turns: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self.system: list[dict[str, Any]] = []
        self.tools_used: dict[str, None] = {}
        self.warnings: dict[str, None] = {}

    def warn(self, line: str) -> None:
        self.warnings[line] = None

    def say_as_system(self, message: Mapping[str, Any]) -> None:
        for block in self._blocks(message):
            if block.get("type") == "text":
                self.system.append(block)
            else:
                self.warn(
                    f"A message part of type {block.get('type')} was left out: Claude's system takes text only."
                )

    def say(self, message: Mapping[str, Any]) -> None:
        role = message.get("role")
        if role == "tool":
            self._add("user", [self._result(message)], {})
            return
        extra = {key: value for key, value in message.items() if key not in _OURS}
        blocks = self._blocks(message)
        if role != "assistant":
            self._add("user", blocks, extra)
            return
        # Where the images go, the next user's turn, is known when it comes.
        self._images += [block for block in blocks if block.get("type") == "image"]
        blocks = [block for block in blocks if block.get("type") != "image"]
        thoughts = message.get("thinking_blocks")
        if isinstance(thoughts, list):
            # They go back unchanged: a signature is over every byte.
            kept = [
                block for block in thoughts if isinstance(block, dict) and block.get("type") in _KEPT_THOUGHTS
            ]
            blocks = kept + blocks
        for call in message.get("tool_calls", ()):
            name, _ = called(call)
            function = call.get("function")
            arguments = function.get("arguments") if isinstance(function, Mapping) else None
            self.tools_used[name] = None
            blocks.append(
                {
                    "type": "tool_use",
                    "id": tool_use_id(call_id(call)),
                    "name": name,
                    "input": arguments_object(arguments),
                }
            )
        self._add("assistant", blocks, extra)

    def end(self) -> list[dict[str, Any]]:
        if self._images:
            self._add("user", [], {})
        return self._turns

    def _add(self, role: str, blocks: list[Any], extra: Mapping[str, Any]) -> None:
        if (
            role == "user"
            and self._images
            and not any(block.get("type") == "tool_result" for block in blocks)
        ):
            blocks = [*blocks, *self._images]
            self._images = []
        if not blocks:
            return
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"].extend(blocks)
            for key, value in extra.items():
                self._turns[-1].setdefault(key, value)
        else:
            self._turns.append({**extra, "role": role, "content": list(blocks)})

    def _blocks(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        content = spoken(message.get("content"), speakers(message, self._names))
        if isinstance(content, str):
            return [_text(content)] if content.strip() else []
        blocks = [block for part in parts_of(content) if (block := self._block(part)) is not None]
        if all(block.get("type") == "text" and block["text"] == INVISIBLE for block in blocks):
            return []
        return blocks

    def _block(self, part: Any) -> dict[str, Any] | None:
        text = text_in(part)
        if text is not None:
            own = dict(part) if isinstance(part, Mapping) else {"type": "text"}
            return {**own, "text": text if text.strip() else INVISIBLE}
        if not isinstance(part, Mapping):
            return None
        if part.get("type") == "image_url":
            return self._image(part)
        if part.get("type") == "file":
            return self._document(part)
        if part.get("type") in ("input_audio", "refusal"):
            self.warn(f"A message part of type {part.get('type')} was left out: Claude does not take it.")
            return None
        return dict(part)

    def _image(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        url = image_url(part)
        data = data_of(url)
        if data is not None:
            return {
                "type": "image",
                "source": {"type": "base64", "media_type": data.media_type, "data": data.base64},
            }
        if url is None or not url.lower().startswith(("http://", "https://")):
            self.warn("An image was left out: its URL is neither a data URL in base64 nor one of the web.")
            return None
        return {"type": "image", "source": {"type": "url", "url": url}}

    def _document(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        file = part.get("file")
        file = file if isinstance(file, Mapping) else {}
        data = data_of(file.get("file_data"))
        if data is None:
            self.warn("A file was left out: Claude takes files as data URLs in base64.")
            return None
        block: dict[str, Any] = {
            "type": "document",
            "source": {"type": "base64", "media_type": data.media_type, "data": data.base64},
        }
        if isinstance(file.get("filename"), str):
            block["title"] = file["filename"]
        return block

    def _result(self, message: Mapping[str, Any]) -> dict[str, Any]:
        block: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": tool_use_id(str(message.get("tool_call_id") or "")),
        }
        content = message.get("content")
        if isinstance(content, str):
            if content.strip():
                block["content"] = content
            return block
        blocks = [found for part in parts_of(content) if (found := self._block(part)) is not None]
        if blocks:
            block["content"] = blocks
        return block


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _ends_in_text(turn: Mapping[str, Any]) -> bool:
    return bool(turn["content"]) and turn["content"][-1].get("type") == "text"


def _trim_end(turns: list[dict[str, Any]]) -> None:
    """Take the white space off the end of a prefill, in place; a prefill of nothing else goes away."""
    last = turns[-1]
    if not _ends_in_text(last):
        return
    block = last["content"][-1]
    text = block["text"].rstrip().rstrip(INVISIBLE).rstrip()
    if text:
        last["content"][-1] = {**block, "text": text}
        return
    del last["content"][-1]
    if not last["content"]:
        turns.pop()
