"""Whatever a provider answers and whatever a job says: a result or a `CallFailed`, and nothing is changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_testing import KEY, MODELS, PNG, SOURCES, connection

from chatq.contract.connection import Connection
from chatq_worker.failures import CODES, CallFailed
from chatq_worker.prompts import Names
from chatq_worker.providers import ADAPTERS, Answer, Chat, CheckKind
from chatq_worker.providers.retry_after import retry_after_s

pytestmark = pytest.mark.fuzz

T = TypeVar("T")

places = st.sampled_from([*(connection(source) for source in SOURCES), connection("perplexity", api="sonar")])
"""A connection of each source, and of each of its dialects."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def mostly(*good: Any) -> st.SearchStrategy[Any]:
    """One of the values that belong there, or anything."""
    return st.sampled_from(good) | anything


def objects(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


# --- answers ---

call = objects(
    id=mostly("c1"),
    type=mostly("function", "tool_use"),
    name=mostly("f"),
    input=mostly({"x": 1}),
    function=objects(name=mostly("f"), arguments=mostly("{}", {"x": 1})),
)
part = objects(
    type=mostly("text", "thinking", "tool_use", "output_text", "reference", "redacted_thinking"),
    text=mostly("Hi", "<think>a</think>b"),
    thinking=mostly("hm", [{"type": "text", "text": "hm"}]),
    annotations=mostly([{"type": "url_citation", "url": "u", "start_index": 1}]),
    citations=mostly([{"url": "u"}]),
    id=mostly("c1"),
    name=mostly("f"),
    input=mostly({}),
)
message = objects(
    role=mostly("assistant"),
    content=mostly("Hi", None) | st.lists(part, max_size=3),
    reasoning_content=mostly("hm"),
    reasoning=mostly("hm"),
    refusal=mostly("No."),
    tool_calls=st.lists(call, max_size=2) | anything,
    tool_plan=mostly("I will."),
)
usage = objects(
    prompt_tokens=mostly(1),
    completion_tokens=mostly(1),
    input_tokens=mostly(1),
    output_tokens=mostly(1),
    total_tokens=mostly(2, 1e300),
    tokens=objects(input_tokens=mostly(1.0), output_tokens=mostly(1)),
    prompt_tokens_details=objects(cached_tokens=mostly(1)),
    cost=mostly(0.1, {"total_cost": 0.1}),
)
body = objects(
    id=mostly("x"),
    model=mostly("m"),
    created=mostly(1),
    type=mostly("message", "error"),
    status=mostly("completed", "failed", "incomplete"),
    stop_reason=mostly("end_turn", "refusal"),
    finish_reason=mostly("COMPLETE", "ERROR"),
    content=st.lists(part, max_size=3) | anything,
    message=message | anything,
    choices=st.lists(
        objects(index=mostly(0), message=message | anything, finish_reason=mostly("stop", "error")),
        max_size=2,
    )
    | anything,
    output=st.lists(
        objects(
            type=mostly("message", "function_call", "search_results", "reasoning"),
            content=st.lists(part, max_size=2) | anything,
            results=mostly([{"url": "u"}]),
            summary=mostly([{"text": "hm"}]),
            arguments=mostly("{}"),
        ),
        max_size=2,
    )
    | anything,
    incomplete_details=mostly({"reason": "max_output_tokens"}),
    stop_details=mostly({"category": "x", "explanation": "y"}),
    usage=usage | anything,
    error=mostly({"message": "x", "code": 429}, "x"),
    detail=mostly([{"loc": ["a"], "msg": "b"}]),
    data=st.lists(objects(id=mostly("m"), capabilities=mostly({"completion_chat": False})), max_size=2)
    | anything,
    models=st.lists(objects(name=mostly("m"), endpoints=mostly(["chat"])), max_size=2) | anything,
    has_more=mostly(True),
    last_id=mostly("m"),
    is_available=mostly(False),
)
bodies = (
    body.map(orjson.dumps)
    | anything.map(orjson.dumps)
    | st.binary(max_size=60)
    | body.map(lambda data: orjson.dumps(data)[:-3])
)
header_values = st.sampled_from(
    ["0", "1", "-1", "nan", "6m0s", "Sun, 22 Nov 2026 12:00:30 GMT", "true", "false", "x"]
)
headers = st.dictionaries(
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-should-retry", "date", "x-ratelimit-reset", "x-ratelimit-remaining",
         "x-ratelimit-limit-req-minute", "x-request-id", "x-litellm-response-cost"]
    ),
    header_values,
    max_size=4,
)  # fmt: skip
statuses = st.sampled_from(
    [200, 200, 200, 201, 204, 301, 400, 401, 402, 403, 404, 412, 422, 429, 500, 503, 529, 999]
)
answers = st.builds(Answer, status=statuses, headers=headers, body=bodies)


def outcome(call: Callable[[], T]) -> T | CallFailed:
    """What a call gives, or the failure that it raises; every other exception goes on."""
    try:
        return call()
    except CallFailed as failed:
        return failed


@given(to=places, answer=answers)
def test_any_answer_is_a_completion_that_can_be_written_or_a_failure(to: Connection, answer: Answer) -> None:
    chat = Chat([{"role": "user", "content": "Hi"}], "asked-for")

    found = outcome(lambda: ADAPTERS[to.source].read(answer, chat, to))

    if isinstance(found, CallFailed):
        assert found.code in CODES
        assert len(found.provider_message or "") <= 500
        assert found.retry_after_s is None or found.retry_after_s >= 0
    else:
        assert 200 <= answer.status < 300
        assert json.loads(orjson.dumps(found.response))["object"] == "chat.completion"
        assert isinstance(found.text, str)
        assert found.finish_reason
        assert found.model
        assert found.usage.total_tokens >= 0


@given(to=places, answer=answers, page=st.none() | st.text(max_size=5))
def test_any_answer_is_a_page_of_models_or_a_failure(
    to: Connection, answer: Answer, page: str | None
) -> None:
    found = outcome(lambda: ADAPTERS[to.source].read_models(answer, to, page))

    if not isinstance(found, CallFailed):
        assert all(isinstance(model, str) and model for model in found.ids)
        assert found.next_page is None or found.next_page != page


@given(to=places, answer=answers, kind=st.sampled_from(CheckKind))
def test_any_answer_to_a_check_is_a_reading_or_a_failure(
    to: Connection, answer: Answer, kind: CheckKind
) -> None:
    check = ADAPTERS[to.source].check_request(to, KEY, model="m" if kind is CheckKind.CHAT else None)

    found = outcome(lambda: ADAPTERS[to.source].read_check(check, answer, to))

    assert isinstance(found, CallFailed) or not found.proved or 200 <= answer.status < 300


@given(value=st.text(max_size=30), text=st.text(max_size=60))
def test_any_header_names_a_moment_to_come_or_none(value: str, text: str) -> None:
    found = retry_after_s({"retry-after": value, "date": text, "x-ratelimit-reset": value}, text, now=0.0)

    assert found is None or found >= 0


# --- jobs ---

prompt_part = st.sampled_from(
    [
        {"type": "text", "text": "Hi"},
        {"type": "text", "text": ""},
        {"type": "text"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": "https://x.test/a.png"},
        {"type": "image_url"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "file"},
        {"type": "input_audio", "input_audio": {"data": "AAA1", "format": "wav"}},
        {"type": "made_up", "x": 1},
    ]
)
content = st.none() | st.sampled_from(["", " ", "Hi", "Sure, "]) | st.lists(prompt_part, max_size=3)
job_call = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["c1", "c2", "functions.f:0", "", None, 7]),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["f", "g", None]),
                "arguments": mostly("{}", {"x": 1}, "nonsense"),
            },
        )
        | st.none(),
    },
)
job_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])},
    optional={
        "content": content,
        "name": st.sampled_from(["Bob", "example_user", "example_assistant", "", None]),
        "tool_calls": st.lists(job_call, max_size=2) | st.none(),
        "tool_call_id": st.sampled_from(["c1", "c2", "functions.f:0", "nobody", ""]),
        "function_call": st.sampled_from([{"name": "f", "arguments": "{}"}, None, "x"]),
        "reasoning_content": st.sampled_from(["hm", "", None]),
        "thinking_blocks": st.sampled_from(
            [[{"type": "thinking", "thinking": "x", "signature": "y"}], None, [1]]
        ),
        "refusal": st.sampled_from(["No.", None]),
        "tool_plan": st.sampled_from(["I will.", None]),
        "extra": anything,
    },
)
params = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": mostly(1, 64, 100_000),
        "max_completion_tokens": mostly(64),
        "temperature": mostly(0.5, 1, 3),
        "top_p": mostly(0.5, 1),
        "top_k": mostly(40),
        "stop": mostly("END", ["a", "b"], ["\n"]),
        "seed": mostly(7),
        "n": mostly(1, 2),
        "logprobs": mostly(True),
        "top_logprobs": mostly(3),
        "presence_penalty": mostly(0.5, -3),
        "frequency_penalty": mostly(0.5, 0),
        "reasoning_effort": mostly("none", "minimal", "low", "max"),
        "thinking": mostly(
            {"type": "enabled", "budget_tokens": 9}, {"type": "adaptive"}, {"type": "disabled"}
        ),
        "reasoning": mostly({"effort": "low"}),
        "metadata": mostly({"user_id": "u"}),
        "service_tier": mostly("auto", "flex"),
        "user": mostly("u"),
        "web_search_options": mostly({"search_context_size": "low"}, {"user_location": {"approximate": {}}}),
        "search_domain_filter": mostly(["x.test"]),
        "output_config": mostly({"effort": "low"}),
        "parallel_tool_calls": mostly(True, False),
        "tools": mostly([{"type": "web_search"}]),
        "stream": mostly(True),
        "random_key": anything,
    },
)
tool = st.sampled_from(
    [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g"}},
        {"type": "function"},
        {"type": "web_search"},
        {"function": {"name": "h", "description": "x", "strict": True}},
        {},
    ]
)
jobs = st.builds(
    Chat,
    messages=st.lists(job_message, max_size=5),
    model=st.sampled_from(
        [*MODELS.values(), "", "sonar", "o3", "gpt-5.2", "claude-opus-5-5", "claude-opus-4-6", "command-r"]
    ),
    params=params,
    tools=st.none() | st.lists(tool, max_size=2),
    tool_choice=st.sampled_from(
        [None, "auto", "none", "required", "any", "x", {"type": "auto"}, {},
         {"type": "function", "function": {"name": "f"}}]
    ),
    response_format=st.sampled_from(
        [
            None,
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
            {"type": "json_schema"},
            {"type": "grammar", "grammar": "x"},
            {},
        ]
    ),
    names=st.sampled_from([Names(), Names(char="Alice", user="Bob", group=("Carol",))]),
)  # fmt: skip


@given(to=places, job=jobs)
def test_any_job_is_always_the_same_request_or_a_failure_and_is_not_changed(
    to: Connection, job: Chat
) -> None:
    before = copy.deepcopy((job.messages, job.params, job.tools, job.tool_choice, job.response_format))

    found = outcome(lambda: ADAPTERS[to.source].request(job, to, KEY))

    if isinstance(found, CallFailed):
        assert not found.sent
    else:
        assert isinstance(orjson.loads(found.request.body), dict)
        assert all(line.endswith(".") for line in found.warnings)
        assert KEY not in repr(found)
        assert found == ADAPTERS[to.source].request(job, to, KEY)
    assert (job.messages, job.params, job.tools, job.tool_choice, job.response_format) == before
