"""Records read what the ledger writes, and write what the interface says."""

from __future__ import annotations

import json
from typing import Any

from chatq.contract.record import Batch, JobRecord

QUEUED: dict[str, Any] = {
    "id": "j",
    "connection": "demo",
    "state": "queued",
    "attempts": [],
    "created_at": "2026-11-23T18:00:00.123Z",
    "started_at": None,
    "finished_at": None,
    "warnings": [],
    "metadata": {},
}


def test_a_record_comes_out_as_it_came_in() -> None:
    assert json.loads(JobRecord.model_validate(QUEUED).model_dump_json()) == QUEUED


def test_a_whole_result_comes_out_as_it_came_in() -> None:
    result = {
        "text": "hi",
        "finish_reason": "stop",
        "model": "m",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "latency_s": 0.5,
        "response": {"id": "x", "choices": [{"message": {"content": None}}]},
    }
    record = {**QUEUED, "state": "succeeded", "result": result}
    assert json.loads(JobRecord.model_validate(record).model_dump_json()) == record


def test_a_key_of_a_newer_version_is_kept() -> None:
    assert JobRecord.model_validate({**QUEUED, "newer": [1]}).model_dump()["newer"] == [1]


def test_only_the_last_four_states_are_final() -> None:
    assert not JobRecord.model_validate(QUEUED).final
    assert JobRecord.model_validate({**QUEUED, "state": "expired"}).final


def test_a_batch_has_ended_when_it_says_when() -> None:
    counts = dict.fromkeys(("total", "queued", "running", "succeeded", "failed", "cancelled", "expired"), 0)
    batch = {
        "id": "b",
        "sealed": True,
        "counts": counts,
        "created_at": "2026-11-23T18:00:00.000Z",
        "ended_at": None,
        "metadata": {},
    }
    assert not Batch.model_validate(batch).ended
    assert Batch.model_validate({**batch, "ended_at": "2026-11-23T18:00:01.000Z"}).ended
