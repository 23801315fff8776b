"""Taking secrets out of words that are not ours, and out of whatever is logged.

Of a provider's words it is known which key they answer to: `redacted`. What goes to a log may hold any secret that this
process has read, so those are remembered when they are read: `remember`, `scrubbed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from chatq.contract.addresses import without_password

_MASKED: Final = re.compile(r"(?<!\S)\S*?\*{2,}(?![*@])\S*")
"""A key as providers mask it: `sk-ab****1234`. Before an `@` it is the password in a URL, and masked by ourselves."""
_KEY_LIKE: Final = re.compile(
    r"\b(?:(?:sk|ek|pplx|fw|gsk|xai)[-_]|key[-_](?=[A-Za-z0-9_\-]*[0-9]))[A-Za-z0-9_\-]{6,}"
)
"""`key_missing` is a word of ours, and no key."""
_SHORTEST_PART: Final = 6
_SHORTEST_HEADER: Final = 8
"""A shorter value of a header is no secret, and is found in many an innocent word."""
_SHORTEST_REMEMBERED: Final = 6
"""What is shorter guards nothing, and is found in many an innocent word."""
_MOST_REMEMBERED: Final = 1000
"""Secrets that are remembered, the youngest: keys in files change, in years perhaps a thousand times."""
_LONGEST_CACHED: Final = 200

_remembered: dict[str, None] = {}


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
    return _without_look_alikes(text)


def remember(secrets: Iterable[str]) -> None:
    """Secrets that this process has read: from now on `scrubbed` takes them out."""
    new = [secret for secret in secrets if len(secret) >= _SHORTEST_REMEMBERED and secret not in _remembered]
    if new:
        _remembered.update(dict.fromkeys(new))
        for oldest in list(_remembered)[:-_MOST_REMEMBERED]:
            del _remembered[oldest]
        _name_scrubbed.cache_clear()
        _words_scrubbed.cache_clear()


def secrets_of_headers(headers: Mapping[str, str]) -> list[str]:
    """What of a connection's `include_headers` may be secret."""
    long = [value for value in headers.values() if len(value) >= _SHORTEST_HEADER]
    return [*long, *_credentials(headers)]


def secrets_of_url(url: str) -> list[str]:
    """The password in a URL, as it is written there and as it is meant."""
    user_and_password = url.partition("://")[2].rpartition("@")[0]
    password = user_and_password.partition(":")[2]
    return [password, unquote(password)] if password else []


def scrubbed(words: str) -> str:
    """`words` without any secret that this process has read, passwords in URLs, and anything that looks like a key."""
    return _words_scrubbed(words) if len(words) <= _LONGEST_CACHED else _without_any(words)


def scrubbed_name(name: str) -> str:
    """A name (a job's id, a model) without any secret that this process has read. It may look like a key."""
    return _name_scrubbed(name) if len(name) <= _LONGEST_CACHED else _without_remembered(name)


def _without_remembered(text: str) -> str:
    # One after the other: a text as short as a name is often shorter than a key, and then nothing is compared.
    for secret in _remembered:
        if secret in text:
            text = text.replace(secret, "[secret]")
    return text


def _without_any(words: str) -> str:
    return _without_look_alikes(without_password(_without_remembered(words)))


_name_scrubbed = lru_cache(2000)(_without_remembered)
_words_scrubbed = lru_cache(2000)(_without_any)
"""Connections, models, batches and most messages are the same in line after line."""


def _without_look_alikes(text: str) -> str:
    if "**" in text:
        text = _MASKED.sub("[key]", text)
    return _KEY_LIKE.sub("[key]", text)


def _credentials(headers: Mapping[str, str]) -> list[str]:
    """The keys in headers that are there for one, without their scheme. Source: RFC 9110 section 11.4."""
    values = (value for name, value in headers.items() if name.lower().endswith("authorization"))
    found = (value.rpartition(" ")[2] for value in values)
    return [credential for credential in found if len(credential) >= _SHORTEST_HEADER]


def _holds_part(word: str, key: str) -> bool:
    """Whether a word holds a stretch of the key, long enough to be no accident."""
    return any(key[i : i + _SHORTEST_PART] in word for i in range(len(key) - _SHORTEST_PART + 1))
