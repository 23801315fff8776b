"""A process that enqueues its part of a plan, and notes down what was acknowledged the moment it is.

    python -m chatq_sandbox.verify.producer CONFIG PART.json START

It may be killed at any moment. Another goes on where its notes end: with the same ids and idempotency keys for single
jobs, which so come to stand for one job each, and with a new batch under new names for a batch that was not
acknowledged.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from chatq import ChatQueue, ChatQueueError
from chatq.contract.errors import ServerError
from chatq.processes import follow_parent
from chatq_sandbox.verify.installation import acknowledged_file

T = TypeVar("T")
_AGAIN_S = 0.1
_BETWEEN_JOBS_OF_A_BATCH_S = 0.002
"""They are streamed: so a producer can die in the middle."""


class _Notes:
    """Lines of JSON in a file, each written at once."""

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        self.before: list[dict[str, Any]] = [json.loads(line) for line in whole if line.endswith(b"\n")]
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if whole and not whole[-1].endswith(b"\n"):
            os.write(self._file, b"\n")

    def add(self, **facts: Any) -> None:
        os.write(self._file, json.dumps(facts).encode() + b"\n")


def main() -> None:
    """Enqueue each unit at its moment, as often as it takes."""
    config, part, started_at = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    follow_parent()
    notes = _Notes(acknowledged_file(part))
    done = {note["job"] for note in notes.before if "job" in note}
    batches = {note["unit"] for note in notes.before if "batch" in note}
    generations = {note["unit"]: note["generation"] + 1 for note in notes.before if "began" in note}
    with ChatQueue(config) as queue:
        for unit in json.loads(part.read_text()):
            time.sleep(max(0.0, started_at + unit["at_s"] - time.time()))
            if not unit["batch"]:
                for job in unit["jobs"]:
                    if job["name"] not in done:
                        _enqueue(queue, job, notes)
            elif unit["number"] not in batches:
                _enqueue_batch(queue, unit, generations.get(unit["number"], 0), notes)


def _enqueue(queue: ChatQueue, planned: dict[str, Any], notes: _Notes) -> None:
    record = _until_done(lambda: queue.enqueue(**planned["job"]))
    notes.add(job=planned["name"], id=record.id)
    if planned["cancelled"]:
        _until_done(lambda: queue.cancel(record.id))


def _enqueue_batch(queue: ChatQueue, unit: dict[str, Any], generation: int, notes: _Notes) -> None:
    # A batch that the server refused half way is cancelled (BatchInterrupted), and what is enqueued is another.
    while True:
        names = [f"{job['name']}.{generation}" for job in unit["jobs"]]
        notes.add(began=True, unit=unit["number"], generation=generation)
        try:
            batch = queue.enqueue_batch(_streamed(unit["jobs"], names))
        except ChatQueueError as error:
            _say(error)
            generation += 1
            time.sleep(_AGAIN_S)
            continue
        notes.add(batch=batch.id, unit=unit["number"], jobs=names)
        return


def _streamed(jobs: list[dict[str, Any]], names: list[str]) -> Iterator[dict[str, Any]]:
    for planned, name in zip(jobs, names, strict=True):
        job = planned["job"]
        prompt = job["prompt"].replace(f"job:{planned['name']}", f"job:{name}", 1)
        yield {**job, "prompt": prompt, "custom_id": name, "metadata": {"name": name}}
        time.sleep(_BETWEEN_JOBS_OF_A_BATCH_S)


def _until_done(act: Callable[[], T]) -> T:
    while True:
        try:
            return act()
        except ServerError as error:
            _say(error)
            time.sleep(_AGAIN_S)


def _say(error: ChatQueueError) -> None:
    """To the file beside the notes: it tells how often callers were refused."""
    print(f"{time.time():.3f} {type(error).__name__}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
