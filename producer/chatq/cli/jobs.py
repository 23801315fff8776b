"""`chatq submit`, `result`, `why`, `cancel`: one job."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from chatq.cli.status import standstill
from chatq.client.blocking import ChatQueue
from chatq.contract.errors import ConnectionPaused, InvalidJob
from chatq.contract.job import Job
from chatq.contract.json_object import NotAnObject, read_object
from chatq.contract.record import JobRecord
from chatq.contract.states import State


def submit(arguments: argparse.Namespace) -> int:
    """Enqueue; print the id, or with --wait the answer."""
    job = _job(arguments)
    with ChatQueue(arguments.config) as queue:
        record = queue.enqueue(**job)
        if not arguments.wait:
            _print(record, as_json=arguments.json, brief=record.id)
            return 0
        print(f"job {record.id} is enqueued; waiting", file=sys.stderr)
        return _show(_wait(queue, record.id, arguments), as_json=arguments.json)


def result(arguments: argparse.Namespace) -> int:
    """Print the answer of a final job, the state of another."""
    with ChatQueue(arguments.config) as queue:
        record = _wait(queue, arguments.job, arguments) if arguments.wait else queue.get(arguments.job)
        return _show(record, as_json=arguments.json)


def _wait(queue: ChatQueue, job_id: str, arguments: argparse.Namespace) -> JobRecord:
    """The final record of a job. A paused connection does not keep a terminal: the job stays in line without us."""
    try:
        for why in standstill(queue):
            print(why, file=sys.stderr)
        return queue.wait(job_id, arguments.timeout, through_pauses=False)
    except KeyboardInterrupt:
        print(f"\nThe job goes on; come back with: chatq result {job_id} --wait", file=sys.stderr)
        raise
    except ConnectionPaused as paused:
        if arguments.json:
            print(queue.get(job_id).model_dump_json())
        raise ConnectionPaused(
            paused.message,
            remedy=f"{paused.remedy}\nThe job stays in line; come back with: chatq result {job_id} --wait",
            connection=paused.connection,
        ) from None


def why(arguments: argparse.Namespace) -> int:
    """Say why a job does not run. With --json the keys of `contract/why.py`."""
    with ChatQueue(arguments.config) as queue:
        answer = queue.why(arguments.job)
    if arguments.json:
        print(answer.model_dump_json())
    else:
        print(answer.message)
        if answer.remedy is not None:
            print(answer.remedy)
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel a job, or a batch when there is no such job."""
    with ChatQueue(arguments.config) as queue:
        if arguments.job.startswith("batch_"):
            batch = queue.cancel_batch(arguments.job)
            text = batch.model_dump_json() if arguments.json else f"cancelled: {batch.counts.cancelled} jobs"
            print(text)
            return 0
        record = queue.cancel(arguments.job)
        _print(record, as_json=arguments.json, brief="stopping" if record.cancel_requested else record.state)
        return 0 if record.state is State.CANCELLED or record.cancel_requested else 1


def _job(arguments: argparse.Namespace) -> dict[str, Any]:
    """The job of the arguments, as keywords."""
    if arguments.file is not None:
        if arguments.prompt is not None:
            raise InvalidJob("There is a prompt beside --file.", remedy="Give one of them.")
        job = _read_job(arguments.file)
        if arguments.connection is not None:
            job["connection"] = arguments.connection
    else:
        if arguments.connection is None:
            raise InvalidJob(
                "No connection was named.",
                remedy="Say on which: chatq submit CONNECTION PROMPT (chatq status lists them).",
            )
        prompt = sys.stdin.read() if arguments.prompt is None else arguments.prompt
        job = {"connection": arguments.connection, "prompt": prompt}
    if "connection" not in job:
        raise InvalidJob(
            'The job has no key "connection".', remedy="Add it, or name the connection as an argument."
        )
    Job.parse(job)
    return job


def _read_job(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidJob(
            f"The file {path} cannot be read: {reason}.", remedy="Check the path and the file."
        ) from None
    try:
        return read_object(text)
    except NotAnObject as error:
        where = path if error.line is None else f"{path}:{error.line}"
        raise InvalidJob(
            f"{where}: not a JSON object: {error}.",
            remedy='A job is one JSON object: {"connection": ..., "prompt": ...}.',
        ) from None


def _print(record: JobRecord, *, as_json: bool, brief: str) -> None:
    print(record.model_dump_json() if as_json else brief)


def _show(record: JobRecord, *, as_json: bool) -> int:
    """Print a record for a person (answer on stdout, the rest on stderr) or a machine; the exit code."""
    if as_json:
        print(record.model_dump_json())
    elif record.result is not None:
        print(record.result.text)
        for call in record.result.tool_calls or ():
            print(json.dumps(call, ensure_ascii=False))
        for warning in record.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    elif record.error is not None:
        words = f"\n  {record.error.provider_message}" if record.error.provider_message else ""
        print(
            f"{record.state}: {record.error.message}{words}\n{record.error.remedy}",
            file=sys.stderr,
        )
    else:
        print(record.state)
    return 0 if record.state is State.SUCCEEDED or not record.final else 1
