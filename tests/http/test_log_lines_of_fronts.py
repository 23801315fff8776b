"""The log of a front, and of the keeper it starts: a line for each job that is enqueued and each change of a batch."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from front_process import FrontProcess, batch_lines


def lines_of(front: FrontProcess, **fields: str) -> list[dict[str, Any]]:
    """The lines of its log that have these fields."""
    lines = [json.loads(line) for line in front.errors.read_text().splitlines()]
    return [line for line in lines if fields.items() <= line.items()]


def test_a_job_that_is_enqueued_has_a_line(front: FrontProcess) -> None:
    made: httpx.Response = front.client.post(
        "/v1/jobs", json={"connection": "sim", "model": "demo", "prompt": "job:front-logs Say hi"}
    )
    [line] = lines_of(front, job=made.json()["id"])
    assert (line["process"], line["message"]) == ("front", "job enqueued")
    assert (line["connection"], line["model"], line["state"]) == ("sim", "demo", "queued")


def test_a_chat_completion_has_one_too_and_no_other_request_has_any(front: FrontProcess) -> None:
    before = len(lines_of(front))
    asked = front.ask("job:front-logs-chat Say hi")
    front.client.get(f"/v1/jobs/{asked.headers['x-request-id']}")
    [line] = lines_of(front)[before:]
    assert line["job"] == asked.headers["x-request-id"]


@pytest.mark.thorough
def test_a_batch_has_a_line_for_each_state(front: FrontProcess) -> None:
    uploaded = front.upload(batch_lines("job:front-logs-batch Say hi")).json()["id"]
    batch = front.batch(uploaded).json()["id"]
    front.ended(batch)
    lines = lines_of(front, batch=batch)
    assert [(line["process"], line["state"]) for line in lines] == [
        ("front", "validating"),
        ("keeper", "in_progress"),
        ("keeper", "finalizing"),
        ("keeper", "completed"),
    ]
