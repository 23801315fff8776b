"""Long answers come as streams: the same results as whole ones, and every way in which a stream can fail."""

from __future__ import annotations

import re
from typing import Any

import pytest
from installation import WAIT_S
from source_installation import LONG, STREAMED, SourceInstallation

from chatq import JobRecord

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "weather", "schema": TOOL["function"]["parameters"]},
}

each_streamed = pytest.mark.parametrize("streamed", STREAMED)


def run(sources: SourceInstallation, connection: str, prompt: str, **keys: Any) -> JobRecord:
    return sources.queue.wait(sources.queue.enqueue(connection, prompt, **keys).id, WAIT_S)


def asked(sources: SourceInstallation, job: str) -> list[Any]:
    """The bodies of the requests for a job."""
    return [request["body"] for request in sources.simulator.control("GET", f"requests?job={job}")]


def attempts(record: JobRecord) -> list[tuple[int | None, str | None, bool]]:
    return [(attempt.http_status, attempt.error_code, attempt.counted) for attempt in record.attempts]


def without_names(record: JobRecord) -> Any:
    """The result without what is another for each call: ids, signatures, times, and the job's name in its text."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(inner) for key, inner in value.items() if key not in NAMING}
        if isinstance(value, str):
            return re.sub("job:(whole|piece)|digest:[0-9a-f]+", "", value)
        return [cleaned(inner) for inner in value] if isinstance(value, list) else value

    assert record.result is not None, record.error
    return cleaned(record.result.model_dump(mode="json", exclude_none=True))


NAMING = frozenset({"id", "created", "signature", "latency_s", "provider_request_id"})

CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "thoughts": {"params": {"reasoning_effort": "low"}},
    "a tool call": {"prompt": "[sim: call_tool weather; reasoning 0]", "tools": [TOOL]},
    "thoughts and a tool call": {
        "prompt": "[sim: call_tool weather]",
        "tools": [TOOL],
        "params": {"reasoning_effort": "low"},
    },
    "a schema": {"prompt": "Answer in JSON.", "response_format": SCHEMA},
    "a cut": {"prompt": "[sim: say Once upon; finish length]"},
    "a refusal": {"prompt": "[sim: say No.; finish refusal]"},
    "an unknown end": {"prompt": "[sim: say Well.; finish_as tired]"},
}


@each_streamed
@pytest.mark.parametrize("case", CASES)
def test_a_streamed_answer_gives_the_same_result_as_a_whole_one(
    sources: SourceInstallation, streamed: str, case: str
) -> None:
    keys = {**CASES[case]}
    prompt = keys.pop(
        "prompt", "[sim: say It rains \u00fc\U0001f327 all night and all day, and there is no end.]"
    )
    params = keys.pop("params", {})
    results = []
    for way, connection, cap in (("whole", STREAMED[streamed], 4000), ("piece", streamed, LONG)):
        job = f"{way}-{streamed}-{case.replace(' ', '-')}"
        record = run(sources, connection, f"job:{job} {prompt}", params={**params, "max_tokens": cap}, **keys)
        assert [body.get("stream", False) for body in asked(sources, job)] == [cap == LONG]
        results.append((without_names(record), record.warnings))
    whole, stream = results
    assert stream == whole


@each_streamed
def test_a_job_with_a_high_cap_streams_and_succeeds(sources: SourceInstallation, streamed: str) -> None:
    job = f"{streamed}-cap"
    record = run(
        sources, STREAMED[streamed], f"job:{job} [sim: tokens 5000; reasoning 0]", params={"max_tokens": LONG}
    )
    assert record.state == "succeeded", record.error
    assert attempts(record) == [(200, None, True)]
    assert record.result is not None
    assert (record.result.usage.completion_tokens, len(record.result.text)) == (5000, 20_000)
    assert [body["stream"] for body in asked(sources, job)] == [True]


@each_streamed
@pytest.mark.parametrize(
    ("misbehaviour", "status", "code", "counted"),
    [
        pytest.param("close_mid_body", None, "connect_error", True, marks=pytest.mark.thorough),
        pytest.param("reset_mid_body", None, "connect_error", True, marks=pytest.mark.thorough),
        pytest.param("truncated_json", 200, "bad_answer", True, marks=pytest.mark.thorough),
        ("empty_body", 200, "bad_answer", True),
        pytest.param("not_json_utf8", 200, "bad_answer", True, marks=pytest.mark.thorough),
        pytest.param("html_page 502", 502, "server_error", True, marks=pytest.mark.thorough),
        ("overloaded 0.05", None, "overloaded", False),
        ("error_in_200", 200, "server_error", True),
    ],
)
def test_a_stream_that_fails_is_tried_again(
    sources: SourceInstallation,
    streamed: str,
    misbehaviour: str,
    status: int | None,
    code: str,
    counted: bool,
) -> None:
    job = f"{streamed}-{misbehaviour.partition(' ')[0]}"
    record = run(sources, f"cooling-{streamed}", f"job:{job} [sim: {misbehaviour} first 1]")
    assert record.state == "succeeded", record.error
    first, second = attempts(record)
    assert first[1:] == (code, counted)
    assert first[0] in ((503, 529) if code == "overloaded" else (status,))
    assert second == (200, None, True)
    assert all(body["stream"] for body in asked(sources, job))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("streamed", "code", "counted"),
    [("streamed-claude", "overloaded", False), ("streamed-fireworks", "server_error", True)],
)
def test_an_error_in_the_middle_of_a_stream_is_a_retry_and_not_a_success(
    sources: SourceInstallation, streamed: str, code: str, counted: bool
) -> None:
    record = run(sources, f"cooling-{streamed}", f"job:{streamed}-mid [sim: error_mid_stream first 1]")
    assert record.state == "succeeded", record.error
    assert attempts(record) == [(200, code, counted), (200, None, True)]
    assert record.result is not None
    assert record.result.text.startswith(f"answer to job:{streamed}-mid ")
    assert " call:2" in record.result.text


@each_streamed
@pytest.mark.parametrize("misbehaviour", ["slow_drip 0.5", "blank_keep_alives 0.5", "gzip"])
def test_a_stream_that_is_only_odd_is_an_answer(
    sources: SourceInstallation, streamed: str, misbehaviour: str
) -> None:
    job = f"{streamed}-{misbehaviour.partition(' ')[0]}"
    record = run(sources, streamed, f"job:{job} [sim: {misbehaviour}]")
    assert record.state == "succeeded", record.error
    assert attempts(record) == [(200, None, True)]
    assert record.result is not None
    assert record.result.text.startswith(f"answer to job:{job} ")


@pytest.mark.thorough
def test_a_stream_that_falls_silent_ends_with_the_time_that_the_connection_gives_it(
    sources: SourceInstallation,
) -> None:
    record = run(sources, "impatient-streamed-claude", "job:mid-silence [sim: silence_mid_body]")
    assert record.state == "failed"
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("timeout", True)
    assert "within 1 s (timeout.total)" in record.error.message


def test_an_answer_that_is_too_large_is_refused_also_where_a_stream_was_asked_for(
    sources: SourceInstallation,
) -> None:
    record = run(sources, "streamed-claude", "job:huge-stream [sim: huge_answer 50000000]")
    assert record.error is not None
    assert record.error.code == "answer_too_large"
    assert run(sources, "streamed-claude", "job:after-huge-stream").state == "succeeded"
