"""How a wrong value is shown in an error: short, on one line, and never something that may be a key."""

from __future__ import annotations

import re

_LONGEST_VALUE = 32
_LONGEST_NAME = 64
# A key in the wrong place must not be repeated by the error that says so. Prefixes as providers hand them
# out, or a long run that mixes letters with digits.
_KEY_LIKE_VALUE = re.compile(
    r"(?:^|[^a-z])(?:sk|pk|rk|ek|fw|pplx|xai|gsk|hf|key|bearer)[-_ ][a-z0-9]|AIza"
    r"|(?=[a-z_-]*[0-9])(?=[0-9_-]*[a-z])[a-z0-9_-]{24,}",
    re.IGNORECASE,
)
# Names are connection IDs more often than keys; `hf-main` or `gpt-5-mini-of-the-second-team` stay legible.
_KEY_LIKE_NAME = re.compile(
    r"(?:^|[^a-z])(?:sk|pplx|gsk|xai)[-_](?=[a-z_-]*[0-9])[a-z0-9_-]{16,}|AIza"
    r"|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{32,}",
    re.IGNORECASE,
)


def shown(value: object) -> str:
    """A few words for `value`: `"many"`, `true`, `3.5`, `nothing`, `a list`, `text of 51 characters`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return (
            f'"{value}"'
            if _may_be_repeated(value, _LONGEST_VALUE, _KEY_LIKE_VALUE)
            else f"text of {len(value)} characters"
        )
    if isinstance(value, int):
        # Python refuses to print a number of more than 4300 digits.
        return str(value) if abs(value) < 10**20 else "a number far too large"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__name__}"


def shown_key(name: str) -> str:
    """One name of a key path, as it stands unless it looks like a secret or would break the line."""
    return name if _may_be_repeated(name, _LONGEST_NAME, _KEY_LIKE_NAME) else f"<{len(name)} characters>"


def _may_be_repeated(text: str, longest: int, key_like: re.Pattern[str]) -> bool:
    return len(text) <= longest and text.isprintable() and not key_like.search(text)
