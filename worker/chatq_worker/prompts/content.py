"""A message's content while it is worked on: a flat list of blocks.

A block is a non-empty text (`str`) or a part that is not text (an image, a file, a part of a type we have
never heard of), kept whole. To join two contents is then to join two lists; no text is copied until the end.
"""

import copy
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

SEPARATOR: Final = "\n\n"
"""What stands between two joined texts: a blank line."""

_SCALARS: Final = frozenset({str, int, float, bool, NoneType})


def read_content(content: Any) -> list[Any]:
    """Return the blocks of an OpenAI message content: a string, null, or a list of parts.

    Empty texts vanish. Extra keys of a text part vanish too, as its text is about to be joined with others'.
    What is not text is copied, so that the caller's part stays the caller's.
    """
    if isinstance(content, str):
        return [content] if content else []
    if content is None:
        return []
    blocks = []
    for part in content if isinstance(content, (list, tuple)) else [content]:
        text = _text_of(part)
        if text is None:
            blocks.append(own_copy(part))
        elif text:
            blocks.append(text)
    return blocks


def write_content(blocks: list[Any]) -> str | list[Any]:
    """Return a string; or, if any block is not text, a list of parts, each run of text being one part."""
    if len(blocks) == 1 and isinstance(blocks[0], str):
        return blocks[0]
    parts: list[Any] = []
    run: list[str] = []
    for block in blocks:
        if isinstance(block, str):
            run.append(block)
            continue
        if run:
            parts.append({"type": "text", "text": SEPARATOR.join(run)})
            run = []
        parts.append(block)
    if not parts:
        return SEPARATOR.join(run)
    if run:
        parts.append({"type": "text", "text": SEPARATOR.join(run)})
    return parts


def own_copy(value: Any) -> Any:
    """Return a copy of a JSON value that shares nothing with it that could change (strings are shared)."""
    # copy.deepcopy alone would do; over an image part or a tool call it takes five times as long.
    kind = type(value)
    if kind is dict:
        own = value.copy()
        for key, item in own.items():
            if type(item) not in _SCALARS:
                own[key] = own_copy(item)
        return own
    if kind is list:
        return [item if type(item) in _SCALARS else own_copy(item) for item in value]
    if isinstance(value, Mapping):
        return {key: own_copy(item) for key, item in value.items()}
    return copy.deepcopy(value)


def _text_of(part: Any) -> str | None:
    """Return the text of a text part, "" when it has none; None for a part that is not text."""
    if isinstance(part, str):
        return part
    # dict first: asking the abstract class alone takes twice as long.
    if isinstance(part, (dict, Mapping)) and part.get("type") == "text":
        text = part.get("text")
        if text is None or isinstance(text, str):
            return text or ""
    return None
