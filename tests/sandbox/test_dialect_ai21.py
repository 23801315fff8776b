"""What api.ai21.com takes, refuses and answers: from its documents and its client's types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient, send

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def ai21(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "ai21",
        "/studio/v1/chat/completions",
        {"model": "jamba-mini"},
        authorization="Bearer sim-ai21-key",
    )


@for_each(
    ("fields", "place", "message"),
    [
        ({"model": LEAVE_OUT}, ["model"], "Field required"),
        ({"temperature": "hot"}, ["temperature"], "Input should be a valid number"),
        ({"presence_penalty": 1}, ["presence_penalty"], "Extra inputs are not permitted"),
        ({"top_k": 5}, ["top_k"], "Extra inputs are not permitted"),
        ({"logprobs": True}, ["logprobs"], "Extra inputs are not permitted"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            ["messages", 0, "content"],
            "Input should be a valid string",
        ),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            ["messages", 0, "role"],
            "Input should be 'system',",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            ["response_format", "type"],
            "Input should be 'text' or",
        ),
        ({"n": 2, "stream": True}, ["n"], "n must be 1 when stream is true"),
        ({"documents": [{"text": "x"}]}, ["documents", 0, "content"], "Field required"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function"}},
            ["tool_choice"],
            "Input should be a valid string",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, USER]},
            ["messages"],
            "did not have response messages: c1",
        ),
    ],
)
def test_a_wrong_field_is_a_422_with_pydantics_list(
    ai21: SourceClient, fields: dict[str, Any], place: list[str | int], message: str
) -> None:
    answer = ai21.chat(**fields)
    assert answer.status == 422
    [detail] = answer.json["detail"]
    assert detail["loc"] == ["body", *place]
    assert message in detail["msg"]


def test_other_refusals_have_a_text_as_detail(ai21: SourceClient, simulator: SimulatorProcess) -> None:
    assert ai21.chat(model="jamba-nope").json == {"detail": "Model not found: jamba-nope"}
    wrong = ai21.chat(headers={"authorization": "Bearer no"})
    assert (wrong.status, wrong.json) == (401, {"detail": "Forbidden: Bad or missing Apikey/JWT."})
    simulator.control("POST", "keys", {"source": "ai21", "key": "sim-ai21-key", "state": "out_of_quota"})
    assert (ai21.chat().status, ai21.chat().json) == (403, {"detail": "Quota exceeded"})


@for_each(("name", "status"), [("model_error", 424), ("dependency", 530)])
def test_it_has_statuses_of_its_own(ai21: SourceClient, name: str, status: int) -> None:
    assert ai21.chat(f"[sim: refuse {name}]").status == status


def test_the_model_list_is_200_and_empty_without_a_valid_key(ai21: SourceClient) -> None:
    for headers in ({}, {"authorization": "Bearer no"}):
        answer = send(ai21.simulator.url, "GET", "/ai21/studio/v1/models", headers=headers)
        assert (answer.status, answer.json["data"]) == (200, [])
    assert [row["id"] for row in ai21.get("/studio/v1/models").json["data"]] == ["jamba-mini", "jamba-large"]


def test_an_answer_names_neither_its_model_nor_its_date(ai21: SourceClient) -> None:
    assert set(ai21.chat(n=2, seed=7).json) == {"id", "choices", "usage"}


def test_the_chunks_of_a_stream_do_not_either(ai21: SourceClient) -> None:
    parts = ai21.chat(stream=True).body.strip().split(b"\n\n")
    chunks = [orjson.loads(part.removeprefix(b"data: ")) for part in parts[:-1]]
    assert parts[-1] == b"data: [DONE]"
    assert set(chunks[0]) == {"id", "choices"}
    assert set(chunks[-1]) == {"id", "choices", "usage"}
