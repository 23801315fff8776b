"""Errors as OpenAI's API tells them: `{"error": {"message", "type", "param", "code"}}`, with our code, and our remedy.

Source: OpenAI API reference, "Errors"; openai-python, `_exceptions.py` (which status becomes which error).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import orjson
from starlette.responses import Response

from chatq.contract.errors import (
    BacklogFull,
    BatchOver,
    BudgetUsedUp,
    ChatQueueError,
    ConnectionPaused,
    InvalidJob,
    JobConflict,
    JobNotFinal,
    JobTooLarge,
    NothingToRetry,
    NoWorker,
    ServerError,
    UnknownBatch,
    UnknownConnection,
    UnknownJob,
    WaitTimeout,
)
from chatq.contract.record import JobRecord
from chatq.contract.states import State
from chatq.http.access import Unauthorized


class BadRequest(ChatQueueError):
    """The request itself is wrong. `status`, `param`: as the answer has them."""

    code: ClassVar[str] = "invalid_request"

    def __init__(self, message: str, *, remedy: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.param = param


class NotFound(ChatQueueError):
    """There is nothing of that name, or it is somebody else's."""

    code: ClassVar[str] = "not_found"


class Overloaded(ChatQueueError):
    """The front has as much to do as it may."""

    code: ClassVar[str] = "overloaded"
    retryable: ClassVar[bool] = True


class TooManyTries(ChatQueueError):
    """Too many wrong tokens came from an address to the page's login."""

    code: ClassVar[str] = "too_many_tries"
    retryable: ClassVar[bool] = True

    def __init__(self, wait_s: int) -> None:
        super().__init__(
            "Too many wrong tokens were tried from your address.", remedy=f"Try again in {wait_s} seconds."
        )
        self.retry_after_s = wait_s


class ShuttingDown(ChatQueueError):
    """The front ends; another, or its successor, answers the same request."""

    code: ClassVar[str] = "shutting_down"
    retryable: ClassVar[bool] = True


class DiskFull(ChatQueueError):
    """The front's disk takes no more."""

    code: ClassVar[str] = "disk_full"


_STATUS: Final[tuple[tuple[type[ChatQueueError], int], ...]] = (
    (BadRequest, 400),
    (Unauthorized, 401),
    (JobTooLarge, 413),
    (UnknownConnection, 404),
    (InvalidJob, 400),
    (JobConflict, 409),
    (BacklogFull, 429),
    (TooManyTries, 429),
    (UnknownJob, 404),
    (UnknownBatch, 404),
    (NotFound, 404),
    (BatchOver, 409),
    (NothingToRetry, 409),
    (BudgetUsedUp, 409),
    (JobNotFinal, 409),
    (WaitTimeout, 504),
    (NoWorker, 503),
    (ConnectionPaused, 503),
    (Overloaded, 503),
    (ShuttingDown, 503),
    (DiskFull, 507),
    (ServerError, 503),
)
_RETRY_AFTER_S: Final = 2
_OWN_FAULT: Final = frozenset({400, 403, 404, 409, 413, 422})
"""What a provider refuses with for the request's sake; anything else is between it and us."""
_OF_JOBS: Final = {"timeout": 504, "internal": 500}


def status_of(error: ChatQueueError) -> int:
    """The status that tells of an error."""
    return error.status if isinstance(error, BadRequest) else status_of_kind(type(error))


def status_of_kind(kind: type[ChatQueueError]) -> int:
    """The status that tells of errors of a kind."""
    return next((status for one, status in _STATUS if issubclass(kind, one)), 500)


def error_body(
    status: int, code: str, message: str, remedy: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's shape, with `remedy` beside it."""
    return {
        "error": {"message": message, "type": _type(status), "param": param, "code": code, "remedy": remedy}
    }


def error_response(error: ChatQueueError) -> Response:
    """The answer that tells of an error."""
    status, headers = status_of(error), retry_header(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    body = error_body(status, error.code, error.message, error.remedy, getattr(error, "param", None))
    return json_response(body, status, headers)


def retry_header(error: ChatQueueError) -> dict[str, str]:
    """When it is worth to try again, as a header; empty when it is not."""
    if not error.retryable:
        return {}
    wait_s = error.retry_after_s if isinstance(error, BacklogFull | TooManyTries) else _RETRY_AFTER_S
    return {"retry-after": str(math.ceil(wait_s))}


def failure(record: JobRecord) -> tuple[int, dict[str, Any]]:
    """Status and body for a job that ended without a result."""
    error = record.error
    if error is None:
        return 500, error_body(500, "internal", "The job ended without a result.")
    if record.state is State.CANCELLED:
        status = 410
    elif record.state is State.EXPIRED:
        status = 504
    elif error.http_status in _OWN_FAULT:
        status = int(error.http_status or 0)
    elif (
        error.http_status is None
        and not error.retryable
        and error.code in {"invalid_request", "content_refused"}
    ):
        status = 400
    else:
        status = _OF_JOBS.get(error.code, 502)
    message = error.message if error.provider_message is None else f"{error.message} {error.provider_message}"
    return status, error_body(status, error.code, message, error.remedy)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(body), status, headers, "application/json")


def _type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
