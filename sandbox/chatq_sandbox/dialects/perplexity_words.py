"""Perplexity's error object (its code is the status, a number), as its Agent API and the old Sonar shape use it."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from chatq_sandbox.dialects.fields import Words
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import LimitReached, Refused, Reply


def error(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """The error object."""
    return Reply(status, {"error": {"message": message, "type": kind, "code": status}}, headers)


def rate_limited(reached: LimitReached) -> Reply:
    """Too many queries a second, or tokens a minute."""
    when = () if reached.wait_s is None else (("retry-after", str(ceil(reached.wait_s))),)
    return error(429, "Rate limit exceeded", "rate_limit_error", when)


def server_error(status: int) -> Reply:
    """A failure of the source."""
    message = "Service unavailable" if status == 503 else "Internal server error"
    return error(status, message, "server_error")


class _Words(PydanticWords):
    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        return Refused("bad_request", error(400, message, code or "invalid_request_error"))


def _bad_request(fault: Fault) -> Reply:
    return error(400, f"validation failed: {fault.name}: {fault.message}")


WORDS: Words = _Words(_bad_request)
UNAUTHORIZED = error(401, "Invalid API key", "authentication_error")
OUT_OF_QUOTA = error(
    401,
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
)
RETIRED = error(
    403,
    "Sonar is now the Agent API. Use /v1/responses instead of /chat/completions.",
    "chat_completions_not_available",
)
REFUSALS: Mapping[str, Reply] = {
    "agent_api_migration": Reply(
        403,
        {
            "error": {
                "message": "Sonar is now the Agent API.",
                "type": "chat_completions_not_available",
                "code": "agent_api_migration_required",
            }
        },
    ),
    "unauthorized_page": Reply(
        401,
        b"<html><head><title>401 Authorization Required</title></head></html>\n",
        content_type="text/html",
    ),
}
