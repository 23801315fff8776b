"""How a server built on pydantic words the refusal of a field; the source decides what is put around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from chatq_sandbox.dialects.fields import Words
from chatq_sandbox.exchange import Refused, Reply

_EXPECTED = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_type", "Input should be a valid integer"),
    "decimal": ("float_type", "Input should be a valid number"),
    "boolean": ("bool_type", "Input should be a valid boolean"),
    "object": ("dict_type", "Input should be a valid dictionary"),
    "array": ("list_type", "Input should be a valid list"),
}


class Fault(NamedTuple):
    """One field that is wrong: its dotted name ('' for the request), pydantic's type and message, what
    came."""

    name: str
    type: str
    message: str
    value: Any

    @property
    def location(self) -> list[str | int]:
        """The name as pydantic gives it: `messages[0].role` is `["messages", 0, "role"]`."""
        parts = re.findall(r"[^.\[\]]+", self.name)
        return [int(part) if part.isdecimal() else part for part in parts]


class PydanticWords(Words):
    """pydantic's messages, made into a refusal by `wrap`."""

    def __init__(self, wrap: Callable[[Fault], Reply]) -> None:
        self._wrap = wrap

    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        return self._refusal(name or "", code or "value_error", message, None)

    def missing(self, name: str) -> Refused:
        return self._refusal(name, "missing", "Field required", None)

    def unknown(self, name: str, value: Any) -> Refused:
        return self._refusal(name, "extra_forbidden", "Extra inputs are not permitted", value)

    def wrong_type(self, name: str, expected: str, value: Any) -> Refused:
        kind, message = _EXPECTED[expected]
        return self._refusal(name, kind, message, value)

    def out_of_range(self, name: str, value: float, low: float, high: float, *, whole: bool) -> Refused:
        if value > high:
            kind, message = "less_than_equal", f"Input should be less than or equal to {high:g}"
        else:
            kind, message = "greater_than_equal", f"Input should be greater than or equal to {low:g}"
        return self._refusal(name, kind, message, value)

    def not_one_of(self, name: str, value: Any, known: Collection[str]) -> Refused:
        *most, last = (f"'{word}'" for word in known)
        listed = f"{', '.join(most)} or {last}" if most else last
        return self._refusal(name, "literal_error", f"Input should be {listed}", value)

    def wrong_length(self, name: str, length: int, low: int, high: int | None, what: str) -> Refused:
        noun = "List" if what == "array" else "String"
        unit = "item" if what == "array" else "character"
        bound, word, kind = (low, "at least", "too_short") if length < low else (high, "at most", "too_long")
        message = f"{noun} should have {word} {bound} {unit}{'' if bound == 1 else 's'}"
        return self._refusal(name, kind, f"{message} after validation, not {length}", length)

    def _refusal(self, name: str, kind: str, message: str, value: Any) -> Refused:
        return Refused("bad_request", self._wrap(Fault(name, kind, message, value)))
