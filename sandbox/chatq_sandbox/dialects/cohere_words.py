"""Cohere's error object, and how Cohere words the refusal of a field."""

from __future__ import annotations

from typing import Any

from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import Refused, Reply


def error(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """The error object; its id is added when it is sent."""
    return Reply(status, {"message": message}, headers)


class CohereWords(PydanticWords):
    """Wrong values are a 400, unknown fields a 422."""

    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        return Refused("bad_request", error(400, f"invalid request: {message}"))

    def missing(self, name: str) -> Refused:
        return self.refused(name, f"{name} is required.")

    def unknown(self, name: str, value: Any) -> Refused:
        message = f"unknown field: parameter '{name}' is not a valid field"
        return Refused("bad_request", error(422, message))

    def out_of_range(self, name: str, value: float, low: float, high: float, *, whole: bool) -> Refused:
        if high == float("inf"):
            return self.refused(name, f"{name} must be at least {low:g}.")
        return self.refused(name, f"{name} must be between {low:g} and {high:g} inclusive.")


def _bad_request(fault: Fault) -> Reply:
    return error(400, f"invalid request: {fault.name}: {fault.message}")


WORDS = CohereWords(_bad_request)
