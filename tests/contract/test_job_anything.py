"""Whatever a caller sends: a job that travels as JSON, or an `InvalidJob` that says what is wrong with it."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatq.contract.errors import InvalidJob
from chatq.contract.job import Job, unknown_fields
from chatq.ledger.entry import Entry

pytestmark = pytest.mark.fuzz

BOUND = 1 << 20

GOOD: dict[str, Any] = {
    "connection": "demo",
    "id": "a-1",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "Bob", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ],
    "model": "m",
    "params": {"temperature": 0.5, "stop": ["END"]},
    "post_processing": "strict",
    "names": {"char": "Ann", "user": "Bob", "group": ["Carol"]},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_object"},
    "priority": 9,
    "tenant": "t",
    "idempotency_key": "k",
    "custom_id": "c",
    "not_before": "5s",
    "expires_in": 60,
    "metadata": {"a": "b"},
}

# Python's callers can send what JSON cannot hold: lone surrogates, NaN, huge numbers, bytes, tuples, other keys.
texts = st.text(st.characters(), max_size=6) | st.sampled_from(
    [
        "",
        "demo",
        "5s",
        "1e999",
        "2026-11-25T12:00:00Z",
        "2026-11-25T12:00:00",
        "user",
        "\x00",
        "\ud800",
        "a" * 300,
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=3)
    | st.datetimes()
    | st.sampled_from([10**400, -1, 2**63, 2**64, float("nan")])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(texts | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def job_or_refused(data: Any) -> None:
    try:
        job = Job.parse(data)
        request = job.request(max_bytes=BOUND)
        Entry.of(job, "a-1", request, "m").argument("b-1")
    except InvalidJob as error:
        assert error.message.isprintable()  # noqa: PT017 - the point is that nothing else is raised
        assert len(error.message) < 20_000  # noqa: PT017
        return
    assert unknown_fields(orjson.loads(request)) == []


@given(data=st.dictionaries(st.sampled_from([*Job.model_fields, "unknown"]) | texts, values, max_size=8))
def test_any_mapping_is_a_job_or_refused(data: dict[str, Any]) -> None:
    job_or_refused(data)


@given(choices=st.data())
def test_any_change_of_a_good_job_is_a_job_or_refused(choices: st.DataObject) -> None:
    data = copy.deepcopy(GOOD)
    for _ in range(choices.draw(st.integers(1, 3))):
        node: Any = data
        while True:
            keys = sorted(node, key=repr) if isinstance(node, dict) else list(range(len(node)))
            key = choices.draw(st.sampled_from(keys) if keys else st.just("x"))
            if keys and isinstance(node[key], dict | list) and node[key] and choices.draw(st.integers(0, 2)):
                node = node[key]
                continue
            if isinstance(node, dict) and choices.draw(st.integers(0, 3)) == 0:
                key = choices.draw(texts)
            node[key] = choices.draw(values)
            break
    job_or_refused(data)
