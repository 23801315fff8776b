"""What schemathesis cannot know of our front. In every other request that it means to be right, it is told of things
that are there, made for that request; else each would end at "not found".

Loaded by schemathesis in its own environment (`SCHEMATHESIS_HOOKS`), for the front at `FRONT_URL`.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import requests
import schemathesis

FRONT = os.environ["FRONT_URL"]
LINE = (
    '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",'
    ' "body": {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}}'
)
# The simulator refuses what it cannot do.
FAILING_LINE = LINE.replace("hi", "hi [sim: refuse]")
PATIENCE_S = 60
"""Asked to wait for less, the front would say 504 while the machine is busy, and be right."""
turns = itertools.count()


def made(path: str, **request: Any) -> str:
    """The id of something new."""
    headers = {"authorization": os.environ["FRONT_AUTHORIZATION"]}
    answer = requests.post(f"{FRONT}{path}", headers=headers, timeout=60, **request)
    answer.raise_for_status()
    new: str = answer.json()["id"]
    return new


def new_file(line: str = LINE) -> str:
    return made("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", line)})


def new_batch() -> str:
    return made("/v1/batches", json=batch_request())


def failed_batch() -> str:
    """One of which there is something to try again."""
    batch = made("/v1/batches", json=batch_request() | {"input_file_id": new_file(FAILING_LINE)})
    headers = {"authorization": os.environ["FRONT_AUTHORIZATION"]}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = requests.get(f"{FRONT}/v1/batches/{batch}", headers=headers, timeout=60)
        if answer.json()["status"] == "completed":
            return batch
        time.sleep(0.1)
    raise TimeoutError(f"batch {batch} has not ended after {PATIENCE_S} s")


def new_job() -> str:
    return made("/v1/jobs", json={"connection": "sim", "prompt": "hi"})


def batch_request() -> dict[str, Any]:
    return {
        "input_file_id": new_file(),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "connection": None,
    }


def chat_request() -> dict[str, Any]:
    return {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}


def job_request() -> dict[str, Any]:
    return {"connection": "sim", "prompt": "hi", "messages": None, "tenant": None}


PARAMETERS = {
    "file_id": new_file,
    "batch_id": new_batch,
    "job_id": new_job,
    "connection_id": lambda: "sim",
    "model_id": lambda: "sim/demo",
}
INSTEAD = {"POST /v1/batches/{batch_id}/retry": {"batch_id": failed_batch}}
"""For operations that ask for something special."""
BODIES = {
    "POST /v1/batches": batch_request,
    "POST /v1/chat/completions": chat_request,
    "POST /v1/jobs": job_request,
}
"""The keys that have to be right, by operation; all others stay as schemathesis has made them."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if not case.meta.generation.mode.is_positive:
        return
    if case.query and "timeout" in case.query:
        case.query["timeout"] = PATIENCE_S
    if next(turns) % 2:
        return
    for name in case.path_parameters or ():
        case.path_parameters[name] = (PARAMETERS | INSTEAD.get(case.operation.label, {}))[name]()
    if isinstance(case.body, dict) and case.operation.label in BODIES:
        case.body.update(BODIES[case.operation.label]())
