"""`chatq render`: the request that would be sent. Pure: nothing is sent, no server and no key are needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from chatq.contract.check import check
from chatq.contract.errors import ChatQueueError, InvalidJob
from chatq.contract.job import Job
from chatq.contract.json_object import NotAnObject, read_object
from chatq.contract.settings import Settings
from chatq_worker.failures import CallFailed
from chatq_worker.main import SIMULATOR_VARIABLE, with_simulator
from chatq_worker.preparation import prepare
from chatq_worker.providers import ADAPTERS

MASKED_KEY: Final = "[key]"
HIDDEN: Final = "[hidden]"


def render(job: Job, settings: Settings) -> dict[str, Any]:
    """`{"method","url","headers","body","messages","warnings"}` for a job; the key is masked, and so are the values of
    `include_headers`. `messages` are those after post-processing.

    Raises `InvalidJob`, and `CallFailed` for what the source can never take.
    """
    checked = check(job, settings)
    connection = checked.connection
    chat = prepare(
        orjson.loads(checked.request),
        connection,
        model=checked.model,
        placeholder=settings.prompt_placeholder,
    )
    key = None if connection.api_key is None else MASKED_KEY
    prepared = ADAPTERS[connection.source].request(chat, connection, key)
    headers = dict(prepared.request.headers)
    for name in connection.include_headers:
        headers[name] = HIDDEN
    return {
        "method": prepared.request.method,
        "url": prepared.request.url,
        "headers": headers,
        "body": orjson.loads(prepared.request.body),
        "messages": list(chat.messages),
        "warnings": list(prepared.warnings),
    }


def run_render(settings: Settings, *, connection: str, file: Path | None, as_json: bool) -> int:
    """Render a job, or each line of a file of jobs; a line of JSON each. Exit code 1 when one could not be rendered.

    `file`: None or `-` is standard input. Raises `InvalidJob` when it cannot be read.
    """
    settings = with_simulator(settings, {SIMULATOR_VARIABLE: "http://simulator"})
    failed = False
    jobs = list(_jobs(_text(file)))
    pretty = sys.stdout.isatty() and not as_json and len(jobs) == 1
    for data in jobs:
        try:
            if isinstance(data, ChatQueueError):
                raise data
            shown = render(Job.parse({"connection": connection, **data}), settings)
        except (ChatQueueError, CallFailed) as error:
            failed = True
            shown = {"error": {"code": error.code, "message": error.message, "remedy": error.remedy}}
        print(json.dumps(shown, ensure_ascii=False, indent=2 if pretty else None))  # noqa: T201 - its work
    return 1 if failed else 0


def _text(file: Path | None) -> str:
    try:
        data = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidJob(
            f"The file {file} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidJob(
            f"{file or 'standard input'}: not UTF-8 text at byte {error.start}.", remedy="Save it as UTF-8."
        ) from None


def _jobs(text: str) -> Iterator[Mapping[str, Any] | ChatQueueError]:
    """One job over many lines, or a job on each line. A line that is none comes as the error that says so."""
    try:
        yield read_object(text)
        return
    except NotAnObject:
        pass  # a job on each line
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield read_object(line)
        except NotAnObject as error:
            yield InvalidJob(
                f"Line {number} is not a JSON object: {error}.",
                remedy="Write one job as JSON on each line.",
            )
