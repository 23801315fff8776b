"""Claude's error object, the refusals that are said only when asked for, and the API's versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chatq_sandbox.dialects.fields import Words
from chatq_sandbox.dialects.pydantic_words import Fault, PydanticWords
from chatq_sandbox.exchange import HttpRequest, Refused, Reply

OLD_VERSION, NEW_VERSION = "2023-06-01", "2026-10-21"
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error(
    status: int, message: str, code: str | None = None, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    """Claude's error object; `code` is `details.error_code`."""
    told: dict[str, Any] = {"type": _TYPES.get(status, "api_error"), "message": message}
    if code is not None:
        told["details"] = {"error_code": code}
    return Reply(status, {"type": "error", "error": told}, headers)


def _bad_request(fault: Fault) -> Reply:
    return error(400, f"{fault.name}: {fault.message}" if fault.name else fault.message)


WORDS: Words = PydanticWords(_bad_request)

REFUSALS: Mapping[str, Reply] = {
    "own_spend_limit": error(
        400,
        "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at "
        "00:00 UTC.",
    ),
    "billing": error(402, "There is an issue with your billing or payment information."),
    "permission": error(403, "Your API key does not have permission to use the specified resource."),
    "conflict": error(409, "The resource is being changed by another request."),
    "request_too_large": error(413, "Request exceeds the maximum size"),
    "ramp_limit_exceeded": error(
        429, "Usage grew too fast.", "ramp_limit_exceeded", (("retry-after", "30"),)
    ),
    "contract_spend_limit_reached": error(
        429, "Your organization has reached its contract's limit.", "contract_spend_limit_reached"
    ),
}


def wrong_tag(where: str, found: Any, known: Iterable[str]) -> Refused:
    """A `type` that is not one of the known ones."""
    expected = ", ".join(f"'{one}'" for one in known)
    return WORDS.refused(
        None,
        f"{where}: Input tag '{found}' found using 'type' does not match any of the expected tags: {expected}",
    )


def version_of(request: HttpRequest) -> str:
    """The API version that the request asks for; raises when it names none of the two."""
    version = request.headers.get(b"anthropic-version", b"").decode("latin-1")
    if not version:
        raise Refused("bad_request", error(400, "anthropic-version: header is required"))
    if version not in (OLD_VERSION, NEW_VERSION):
        raise Refused("bad_request", error(400, f'anthropic-version: "{version}" is not a valid version'))
    return version
