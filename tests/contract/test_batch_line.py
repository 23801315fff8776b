"""One line of a batch's input, and one of its output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatq.contract.batch_line import output_line, read_line
from chatq.contract.errors import InvalidJob
from chatq.contract.record import JobRecord
from for_each import for_each

MESSAGES = [{"role": "user", "content": "Hi"}]


def request(**changes: Any) -> bytes:
    """A line as OpenAI's batch guide has it. `changes`: of the line; of its body with `body_`."""
    line: dict[str, Any] = {
        "custom_id": "request-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "main", "messages": MESSAGES},
    }
    for key, value in changes.items():
        place = line["body"] if key.startswith("body_") else line
        name = key.removeprefix("body_")
        if value is None:
            place.pop(name, None)
        else:
            place[name] = value
    return json.dumps(line).encode()


def refused(data: bytes, connection: str | None = None) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        read_line(data, connection)
    assert caught.value.remedy
    return caught.value


def test_a_request_of_openai_s_batch_format_becomes_a_job() -> None:
    job = read_line(
        request(
            body_max_tokens=50,
            body_temperature=0,
            body_tools=[{"type": "function", "function": {"name": "f"}}],
            body_tool_choice="auto",
            body_response_format={"type": "json_object"},
            body_metadata={"a": "b"},
        )
    )
    assert job.custom_id == "request-1"
    assert (job.connection, job.model) == ("main", None)
    assert job.chat() == MESSAGES
    assert job.params == {"max_tokens": 50, "temperature": 0, "metadata": {"a": "b"}}
    assert job.tools == [{"type": "function", "function": {"name": "f"}}]
    assert (job.tool_choice, job.response_format) == ("auto", {"type": "json_object"})


@for_each(
    ("model", "for_all", "expected"),
    [
        ("main", None, ("main", None)),
        ("main/gpt-5-mini", None, ("main", "gpt-5-mini")),
        ("main/accounts/a/models/m", None, ("main", "accounts/a/models/m")),
        ("gpt-5-mini", "main", ("main", "gpt-5-mini")),
        ("accounts/a/models/m", "main", ("main", "accounts/a/models/m")),
        ("main", "main", ("main", None)),
        ("main/gpt-5", "main", ("main", "gpt-5")),
        (None, "main", ("main", None)),
    ],
)
def test_the_model_names_the_connection_or_with_c_any_model(
    model: str | None, for_all: str | None, expected: tuple[str, str | None]
) -> None:
    job = read_line(request(body_model=model), for_all)
    assert (job.connection, job.model) == expected


def test_a_line_may_be_a_job() -> None:
    job = read_line(b'{"custom_id": "1", "connection": "main", "prompt": "Hi", "priority": 7}')
    assert (job.custom_id, job.connection, job.prompt, job.priority) == ("1", "main", "Hi", 7)


def test_a_job_s_own_connection_goes_before_that_of_the_file() -> None:
    assert read_line(b'{"custom_id": "1", "prompt": "Hi"}', "main").connection == "main"
    assert read_line(b'{"custom_id": "1", "prompt": "Hi", "connection": "own"}', "main").connection == "own"


@for_each(
    ("data", "message"),
    [
        (b"\xff{}", "The line is not UTF-8 text at byte 0."),
        (b"[1]", "The line is not a JSON object: it is a list."),
        (b"{", "The line is not a JSON object: expecting property name enclosed in double quotes."),
        (request(custom_id=None), 'The key "custom_id" is missing.'),
        (b'{"connection": "main", "prompt": "Hi"}', 'The key "custom_id" is missing.'),
        (request(metod="POST"), 'Unknown key "metod" (did you mean "method"?).'),
        (request(method="GET"), 'method: expected POST, got "GET".'),
        (request(url="/v1/embeddings"), 'url: expected /v1/chat/completions, got "/v1/embeddings".'),
        (request(body="x"), "body: expected a chat completion's request, got \"x\"."),
        (request(body_model=None), "body.model: expected CONNECTION or CONNECTION/MODEL, got nothing."),
        (request(body_model=7), "body.model: expected CONNECTION or CONNECTION/MODEL, got 7."),
        (request(custom_id=7), "The job is not valid: custom_id: input should be a valid string, got 7."),
        (
            request(body_messages=None),
            "The job is not valid: give exactly one of prompt (a text) and messages (a list).",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line_is_said(data: bytes, message: str) -> None:
    assert refused(data).message == message


def record(**keys: Any) -> JobRecord:
    moment = "2026-11-25T12:00:00Z"
    return JobRecord.model_validate(
        {
            "id": "j1",
            "connection": "main",
            "custom_id": "request-1",
            "attempts": [],
            "created_at": moment,
            "started_at": moment,
            "finished_at": moment,
            **keys,
        }
    )


def test_the_line_of_a_success_has_the_completion_as_its_body() -> None:
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "choices": []}
    line = output_line(
        record(
            state="succeeded",
            result={
                "text": "Hello",
                "finish_reason": "stop",
                "model": "m",
                "provider_request_id": "req_9",
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                "latency_s": 0.1,
                "response": completion,
            },
        )
    )
    assert line.endswith(b"\n")
    assert json.loads(line) == {
        "id": "batch_req_j1",
        "custom_id": "request-1",
        "response": {"status_code": 200, "request_id": "req_9", "body": completion},
        "error": None,
    }


def test_the_line_of_a_refusal_has_its_status_and_an_error_as_its_body() -> None:
    line = output_line(
        record(
            state="failed",
            error={
                "code": "context_length",
                "message": "The prompt is too long.",
                "retryable": False,
                "http_status": 400,
                "provider_message": "This model's maximum context length is 8 tokens.",
                "remedy": "Shorten it.",
            },
        )
    )
    assert json.loads(line)["response"] == {
        "status_code": 400,
        "request_id": "j1",
        "body": {
            "error": {
                "message": "This model's maximum context length is 8 tokens.",
                "type": "invalid_request_error",
                "param": None,
                "code": "context_length",
                "remedy": "Shorten it.",
            }
        },
    }


@pytest.mark.parametrize("state", ["failed", "cancelled", "expired"])
def test_the_line_of_a_job_that_got_no_answer_says_why(state: str) -> None:
    line = output_line(
        record(state=state, error={"code": "c", "message": "M.", "retryable": False, "remedy": "R."})
    )
    assert json.loads(line) == {
        "id": "batch_req_j1",
        "custom_id": "request-1",
        "response": None,
        "error": {"code": "c", "message": "M.", "remedy": "R."},
    }
