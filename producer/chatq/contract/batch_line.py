"""The lines of batch files, in and out. In: OpenAI's batch format, or a job; each a JSON object on a line of its own.
Out: OpenAI's batch format.

Source: the public interface, section Batch files; OpenAI's batch guide, "Preparing your batch file" and "Retrieving the
results".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from chatq.contract.chat_request import NAME_A_CONNECTION, chat_job
from chatq.contract.config_problems import nearest
from chatq.contract.errors import InvalidJob
from chatq.contract.job import LONGEST_CUSTOM_ID, Job
from chatq.contract.json_object import NotAnObject, read_object
from chatq.contract.record import JobRecord
from chatq.contract.shown import shown, shown_key
from chatq.contract.states import State

ENDPOINT: Final = "/v1/chat/completions"
_OPENAI_KEYS: Final = ("custom_id", "method", "url", "body")
_EXAMPLE: Final = (
    'Write {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {...}}, '
    'or a job: {"custom_id": "1", "connection": ..., "prompt": ...}.'
)


def read_line(data: bytes, connection: str | None = None) -> Job:
    """The job of one line; it has a `custom_id`.

    `connection`: for lines that name none; then `body.model` is any model of it, else it is `CONNECTION` or
    `CONNECTION/MODEL`. Raises `InvalidJob`, which says what is wrong with the line.
    """
    try:
        line = read_object(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidJob(
            f"The line is not UTF-8 text at byte {error.start}.", remedy="Save the file as UTF-8."
        ) from None
    except NotAnObject as error:
        raise InvalidJob(f"The line is not a JSON object: {error}.", remedy=_EXAMPLE) from None
    job = _of_request(line, connection) if "body" in line or "url" in line else _of_job(line, connection)
    if job.custom_id is None:
        raise InvalidJob('The key "custom_id" is missing.', remedy="Give each line a name of its own.")
    return job


def custom_id_of(data: bytes) -> str | None:
    """What names a line of which no job can be made, as far as it can be read.

    Raises `NotAnObject`: it is no JSON object at all.
    """
    try:
        name = read_object(data.decode()).get("custom_id")
    except UnicodeDecodeError:
        raise NotAnObject("it is not UTF-8 text") from None
    return (
        name if isinstance(name, str) and 0 < len(name) <= LONGEST_CUSTOM_ID and name.isprintable() else None
    )


def _of_job(line: dict[str, Any], connection: str | None) -> Job:
    if connection is not None:
        line.setdefault("connection", connection)
    if "connection" not in line:
        raise InvalidJob('The key "connection" is missing.', remedy=NAME_A_CONNECTION)
    return Job.parse(line)


def _of_request(line: Mapping[str, Any], connection: str | None) -> Job:
    for key in line:
        if key not in _OPENAI_KEYS:
            near = nearest(key, _OPENAI_KEYS)
            meant = f' (did you mean "{near}"?)' if near else ""
            raise InvalidJob(f'Unknown key "{shown_key(key)}"{meant}.', remedy=_EXAMPLE)
    if line.get("method", "POST") != "POST":
        raise InvalidJob(f"method: expected POST, got {shown(line['method'])}.", remedy="Write POST.")
    if line.get("url") != ENDPOINT:
        raise InvalidJob(
            f"url: expected {ENDPOINT}, got {shown(line.get('url'))}.",
            remedy="Only chat completions can be batched.",
        )
    body = line.get("body")
    if not isinstance(body, dict):
        raise InvalidJob(f"body: expected a chat completion's request, got {shown(body)}.", remedy=_EXAMPLE)
    return chat_job(body, connection, {"custom_id": line["custom_id"]} if "custom_id" in line else {})


def output_line(record: JobRecord) -> bytes:
    """The line of a final record, its newline included.

    A job that succeeded has a `response` with status 200, one that its provider refused that refusal's status and an
    error as its body; any other has no response, and an `error` that says why.
    """
    response = error = None
    if record.result is not None:
        response = _response(record, 200, record.result.provider_request_id, record.result.response)
    elif record.error is not None and record.state is State.FAILED and record.error.http_status is not None:
        body = {
            "error": {
                "message": record.error.provider_message or record.error.message,
                "type": "invalid_request_error" if record.error.http_status < 500 else "server_error",
                "param": None,
                "code": record.error.code,
                "remedy": record.error.remedy,
            }
        }
        response = _response(record, record.error.http_status, record.error.provider_request_id, body)
    if record.error is not None and response is None:
        error = {"code": record.error.code, "message": record.error.message, "remedy": record.error.remedy}
    line = {
        "id": f"batch_req_{record.id}",
        "custom_id": record.custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _response(
    record: JobRecord, status: int, request_id: str | None, body: Mapping[str, Any]
) -> dict[str, Any]:
    return {"status_code": status, "request_id": request_id or record.id, "body": body}
