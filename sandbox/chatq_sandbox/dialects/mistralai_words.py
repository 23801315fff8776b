"""Mistral's error object, flat, and what it says about a wrong field: pydantic's list inside `message`."""

from __future__ import annotations

from chatq_sandbox.dialects.fields import Words
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import Refused, Reply


def error(
    status: int, message: object, kind: str = "invalid_request_error", code: str | None = None
) -> Reply:
    """The error object. `code` is a number in a text; only errors of the model servers have it."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return Reply(status, body if status in (401, 402) else {**body, "raw_status_code": status})


def wrong_order(message: str) -> Refused:
    """Roles that do not follow each other."""
    return Refused("bad_request", error(400, message, "invalid_request_message_order", "3230"))


def _unprocessable(fault: Fault) -> Reply:
    detail = {
        "type": fault.type,
        "loc": ["body", *fault.location],
        "msg": fault.message,
        "input": fault.value,
    }
    return error(422, {"detail": [detail]})


WORDS: Words = PydanticWords(_unprocessable)
