"""OpenAI's error object, and how OpenAI words the refusal of a field."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from chatq_sandbox.dialects.fields import Words
from chatq_sandbox.exchange import Refused, Reply

_TYPE_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "decimal": "a decimal",
    "boolean": "a boolean",
    "object": "an object",
    "array": "an array",
}


def error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | int | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """The error object that OpenAI made and many copy."""
    return Reply(status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers)


def type_name(value: Any) -> str:
    """How OpenAI names the type of what came."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


class OpenAIWords(Words):
    """The messages and codes of api.openai.com."""

    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        return Refused("bad_request", error(400, message, param=name, code=code))

    def missing(self, name: str) -> Refused:
        if name == "model":
            return self.refused(None, "you must provide a model parameter")
        return self.refused(name, f"Missing required parameter: '{name}'.", "missing_required_parameter")

    def unknown(self, name: str, value: Any) -> Refused:
        return self.refused(name, f"Unknown parameter: '{name}'.", "unknown_parameter")

    def wrong_type(self, name: str, expected: str, value: Any) -> Refused:
        came = type_name(value)
        return self.refused(
            name,
            f"Invalid type for '{name}': expected {_TYPE_NAMES[expected]}, but got {came} instead.",
            "invalid_type",
        )

    def out_of_range(self, name: str, value: float, low: float, high: float, *, whole: bool) -> Refused:
        kind = "integer" if whole else "decimal"
        above = value > high
        side, sign, limit = ("above maximum", "<=", high) if above else ("below minimum", ">=", low)
        return self.refused(
            name,
            f"Invalid '{name}': {kind} {side} value. Expected a value {sign} {limit:g}, but got {value:g} "
            "instead.",
            f"{kind}_{'above_max' if above else 'below_min'}_value",
        )

    def not_one_of(self, name: str, value: Any, known: Collection[str]) -> Refused:
        *most, last = (f"'{word}'" for word in known)
        listed = f"{', '.join(most)}, and {last}" if len(most) > 1 else " and ".join((*most, last))
        return self.refused(
            name, f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value"
        )

    def wrong_length(self, name: str, length: int, low: int, high: int | None, what: str) -> Refused:
        article = "an" if what == "array" else "a"
        if length < low:
            message = f"empty {what}" if length == 0 else f"{what} too short"
            code = f"empty_{what}" if length == 0 else f"{what}_below_min_length"
            bound = f"minimum length {low}"
        else:
            message, code, bound = f"{what} too long", f"{what}_above_max_length", f"maximum length {high}"
        came = f"an empty {what}" if length == 0 else f"{article} {what} with length {length}"
        return self.refused(
            name,
            f"Invalid '{name}': {message}. Expected {article} {what} with {bound}, but got {came} instead.",
            code,
        )
