"""Taking keys out of the providers' own words: some quote what a request carried, or a part of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_MASKED: Final = re.compile(r"\S*\*{2,}\S*")
"""A key as providers mask it: `sk-ab****1234`."""
_KEY_LIKE: Final = re.compile(r"\b(?:sk|ek|pplx|fw|key|gsk|xai)[-_][A-Za-z0-9_\-]{6,}")
_SHORTEST_PART: Final = 6
_SHORTEST_HEADER: Final = 8
"""A shorter value of a header is no secret, and is found in many an innocent word."""


def redacted(text: str | None, key: str | None, include_headers: Mapping[str, str]) -> str | None:
    """`text` without the key, parts of it (6 characters and more), anything that looks like one, and the values of
    the connection's `include_headers` (8 characters and more)."""
    if text is None:
        return None
    for value in sorted(include_headers.values(), key=len, reverse=True):
        if len(value) >= _SHORTEST_HEADER:
            text = text.replace(value, "[header]")
    for secret in filter(None, (key, *_credentials(include_headers))):
        text = text.replace(secret, "[key]")
        words = re.split(r"(\s+)", text)
        text = "".join("[key]" if _holds_part(word, secret) else word for word in words)
    return _KEY_LIKE.sub("[key]", _MASKED.sub("[key]", text))


def _credentials(headers: Mapping[str, str]) -> list[str]:
    """The keys in headers that are there for one, without their scheme. Source: RFC 9110 section 11.4."""
    values = (value for name, value in headers.items() if name.lower().endswith("authorization"))
    found = (value.rpartition(" ")[2] for value in values)
    return [credential for credential in found if len(credential) >= _SHORTEST_HEADER]


def _holds_part(word: str, key: str) -> bool:
    """Whether a word holds a stretch of the key, long enough to be no accident."""
    return any(key[i : i + _SHORTEST_PART] in word for i in range(len(key) - _SHORTEST_PART + 1))
