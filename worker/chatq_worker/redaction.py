"""Taking keys out of the providers' own words: some quote a part of the key that was refused."""

from __future__ import annotations

import re
from typing import Final

_MASKED: Final = re.compile(r"\S*\*{2,}\S*")
"""A key as providers mask it: `sk-ab****1234`."""
_KEY_LIKE: Final = re.compile(r"\b(?:sk|ek|pplx|fw|key|gsk|xai)[-_][A-Za-z0-9_\-]{6,}")
_SHORTEST_PART: Final = 6


def redacted(text: str | None, key: str | None) -> str | None:
    """`text` without the key, parts of it (6 characters and more), and anything that looks like one."""
    if text is None:
        return None
    if key:
        text = text.replace(key, "[key]")
        words = re.split(r"(\s+)", text)
        text = "".join("[key]" if _holds_part(word, key) else word for word in words)
    return _KEY_LIKE.sub("[key]", _MASKED.sub("[key]", text))


def _holds_part(word: str, key: str) -> bool:
    """Whether a word holds a stretch of the key, long enough to be no accident."""
    return any(key[i : i + _SHORTEST_PART] in word for i in range(len(key) - _SHORTEST_PART + 1))
