"""Answers that a caller sees grow, from every source that the simulator speaks: what was told is the answer."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from installation import WAIT_S
from source_installation import NAMES, SourceInstallation, rows, source_of
from test_long_answers_are_streamed import TOOL, asked, without_names

from chatq import JobRecord
from for_each import for_each

WHOLE_ONLY = {"cohere", "perplexity"}
"""Connections whose sources' streams are not read."""
GROWING = [name for name in NAMES if name not in WHOLE_ONLY]


def told(sources: SourceInstallation, job_id: str) -> tuple[list[Any], JobRecord]:
    """Every delta of a job's answer, and its record when it was final."""
    position, over, deltas = 0, False, []
    while not over:
        position, over, more = sources.queue.deltas_page(job_id, position)
        deltas += more
    return deltas, sources.queue.get(job_id)


def put_together(deltas: list[Any]) -> dict[str, Any]:
    """The message of the first choice, as a client of OpenAI's would put it together."""
    texts: dict[str, str] = defaultdict(str)
    calls: dict[int, dict[str, Any]] = {}
    for [choice] in deltas:
        assert choice["index"] == 0
        for name, value in choice["delta"].items():
            if name != "tool_calls":
                texts[name] += value
                continue
            for piece in value:
                call = calls.setdefault(piece["index"], {"function": {"arguments": ""}})
                function = piece.get("function", {})
                call["function"]["arguments"] += function.get("arguments", "")
                call["function"] |= {"name": function["name"]} if "name" in function else {}
                call |= {key: piece[key] for key in ("id", "type") if key in piece}
    return {**texts, **({"tool_calls": [calls[place] for place in sorted(calls)]} if calls else {})}


def said(message: dict[str, Any]) -> dict[str, Any]:
    """What of a message is told, without what is empty; arguments as data."""
    calls = [
        {
            "id": call["id"],
            "type": call["type"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in message.get("tool_calls") or ()
    ]
    texts = {name: message.get(name) for name in ("content", "reasoning_content", "refusal")}
    return {name: value for name, value in {**texts, "tool_calls": calls}.items() if value}


def message_of(record: JobRecord) -> dict[str, Any]:
    assert record.result is not None, record.error
    message: dict[str, Any] = record.result.response["choices"][0]["message"]
    return message


@pytest.mark.parametrize("name", rows(NAMES))
@pytest.mark.parametrize(
    "thinks",
    [pytest.param(False, id="plain"), pytest.param(True, id="thinking", marks=pytest.mark.thorough)],
)
def test_what_was_told_of_an_answer_is_the_answer(
    sources: SourceInstallation, name: str, thinks: bool
) -> None:
    params = {"reasoning_effort": "low"} if thinks else {}
    job = sources.queue.enqueue(name, "job:told Say hi", params=params, stream=True)
    deltas, record = told(sources, job.id)

    assert record.state == "succeeded", record.error
    if name in WHOLE_ONLY:
        assert deltas == []
        return
    assert said(put_together(deltas)) == said(message_of(record))
    assert asked(sources, "told")[-1]["stream"] is True


@for_each("name", rows(GROWING))
def test_an_answer_that_grew_is_the_same_in_the_record_as_one_that_came_whole(
    sources: SourceInstallation, name: str
) -> None:
    whole, grown = (
        sources.queue.wait(sources.queue.enqueue(name, f"job:{job} Say hi", stream=stream).id, WAIT_S)
        for job, stream in (("whole", False), ("piece", True))
    )
    same = ("text", "reasoning", "finish_reason", "model", "usage", "cost_usd")
    one, other = (without_names(record) for record in (whole, grown))
    assert {key: one.get(key) for key in same} == {key: other.get(key) for key in same}
    assert grown.warnings == whole.warnings


@for_each("name", rows(GROWING))
def test_calls_of_tools_are_told_piece_by_piece(sources: SourceInstallation, name: str) -> None:
    job = sources.queue.enqueue(
        name, "job:called Use the tool.", tools=[TOOL], tool_choice="required", stream=True
    )
    deltas, record = told(sources, job.id)

    assert record.state == "succeeded", record.error
    expected = said(message_of(record))
    if source_of(name) == "ai21":  # its streams have no calls, so it is asked for the whole
        assert deltas == []
        return
    assert said(put_together(deltas)) == expected
