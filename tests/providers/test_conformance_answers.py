"""One suite for all sources: how answers, good and bad, are read. The samples of data/wire are in test_wire_answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from provider_testing import SOURCES, failure, openai_answer, read

from chatq_worker.failures import FailureClass
from for_each import for_each

OPENAI_SHAPED = [source for source in SOURCES if source not in ("claude", "cohere", "perplexity")]


def spoken(
    source: str, text: str = "Hello.", *, finish: Any = None, usage: Any = None, **more: Any
) -> dict[str, Any]:
    """An answer that says `text`, in the source's shape. `finish`, `usage`: in its own words; `more`: keys beside."""
    if source == "claude":
        blocks = [{"type": "text", "text": text}] if text else []
        body: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": blocks}
        body |= {"stop_reason": finish or "end_turn"}
    elif source == "cohere":
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        body = {"id": "c1", "message": message, "finish_reason": finish or "COMPLETE"}
    elif source == "perplexity":
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        body = {"id": "resp_1", "status": finish or "completed", "output": [item]}
    else:
        body = openai_answer({"content": text}, finish or "stop")
        del body["usage"]
    if usage is not None:
        body["usage"] = usage
    return {**body, **more}


@for_each("source", SOURCES)
def test_an_answer_without_usage_or_model_is_a_completion_with_a_warning(source: str) -> None:
    body = spoken(source)
    body.pop("model", None)

    completion = read(source, body)

    assert completion.text == "Hello."
    assert (completion.usage.prompt_tokens, completion.usage.total_tokens) == (0, 0)
    assert completion.warnings == ["The provider did not say how many tokens were used."]
    assert completion.model  # the one that was asked for
    assert "usage" not in completion.response


FINISHES = {
    "claude": [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
    "cohere": [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
    ],
    "mistralai": [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
    ],
    "openai": [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "function_call"),
    ],
    "perplexity": [("completed", "stop"), ("requires_action", "tool_calls")],
}


@for_each(
    ("source", "own", "openais"),
    [
        pytest.param(source, *words, id=f"{source}-{words[0]}")
        for source, rows in FINISHES.items()
        for words in rows
    ],
)
def test_a_finish_reason_is_in_openais_words_and_the_sources_own_is_kept(
    source: str, own: str, openais: str
) -> None:
    completion = read(source, spoken(source, finish=own))

    choice = completion.response["choices"][0]
    assert completion.finish_reason == choice["finish_reason"] == openais
    assert choice.get("native_finish_reason", openais) == own


@for_each("source", SOURCES)
def test_an_unknown_finish_reason_stays_as_it_is(source: str) -> None:
    assert read(source, spoken(source, finish="tired_of_talking")).finish_reason == "tired_of_talking"


BROKEN_OFF = [
    ("deepseek", "insufficient_system_resource"),
    ("mistralai", "error"),
    ("cohere", "ERROR"),
    ("cohere", "TIMEOUT"),
    ("perplexity", "failed"),
    ("perplexity", "cancelled"),
    ("perplexity", "in_progress"),
    ("perplexity", "queued"),
]


@for_each(("source", "finish"), BROKEN_OFF)
def test_a_generation_that_the_server_gave_up_is_a_failure_of_its(source: str, finish: str) -> None:
    failed = failure(source, spoken(source, finish=finish), 200)

    assert (failed.code, failed.kind, failed.http_status) == ("server_error", FailureClass.TRANSIENT, 200)


@for_each("source", SOURCES)
def test_blank_lines_before_the_answer_do_not_matter(source: str) -> None:
    assert read(source, b"\n\n  \n" + json.dumps(spoken(source)).encode() + b"\n\n").text == "Hello."


@for_each("source", SOURCES)
def test_an_empty_answer_is_a_completion_without_text(source: str) -> None:
    assert read(source, spoken(source, "")).text == ""


BAD = {
    "nothing": b"",
    "a web page": b"<!DOCTYPE html><html><body>Welcome</body></html>",
    "half a document": b'{"id": "x", "choices": [{"mess',
    "no JSON": b"hello",
    "NaN": b'{"choices": NaN}',
    "invalid UTF-8": b'{"choices": "\xff\xfe"}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "wrong types": b'{"choices": {}, "content": 3, "message": [], "output": "x", "usage": "y"}',
    "empty choices": b'{"choices": [], "content": null, "message": null, "output": null}',
    "nulls inside": b'{"choices": [null], "message": 1, "output": {}}',
    "too deep": b'{"choices": [{"message": {"content": "x", "deep": ' + b"[" * 400 + b"]" * 400 + b"}}],"
    b' "content": [' + b"[" * 400 + b"]" * 400 + b', {"type": "x", "d": ' + b"[" * 400 + b"]" * 400 + b"}],"
    b' "message": {"deep": ' + b"[" * 400 + b"]" * 400 + b"},"
    b' "output": [{"type": "x", "d": ' + b"[" * 400 + b"]" * 400 + b"}]}",
}


@for_each("source", SOURCES)
@for_each("what", BAD)
def test_an_answer_that_is_none_is_a_bad_answer_and_worth_a_retry(source: str, what: str) -> None:
    failed = failure(source, BAD[what], 200)

    assert (failed.code, failed.kind) == ("bad_answer", FailureClass.TRANSIENT)


STATUSES = {
    301: "redirected",
    302: "redirected",
    308: "redirected",
    400: "invalid_request",
    401: "unauthorized",
    402: "quota_exhausted",
    403: "forbidden",
    404: "wrong_url",
    405: "wrong_url",
    408: "server_error",
    409: "server_error",
    413: "request_too_large",
    422: "invalid_request",
    429: "rate_limited",
    498: "unauthorized",
    499: "invalid_request",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
    529: "overloaded",
    530: "server_error",
}


@for_each("source", SOURCES)
@for_each(("status", "code"), STATUSES.items())
def test_a_status_alone_says_which_failure_it_is(source: str, status: int, code: str) -> None:
    failed = failure(source, b"", status)

    assert (failed.code, failed.http_status, failed.provider_message) == (code, status, None)
    assert failed.remedy


@for_each("source", SOURCES)
def test_a_server_that_says_when_it_is_back_is_left_alone_until_then(source: str) -> None:
    failed = failure(source, b"", 503, {"retry-after": "7"})

    assert (failed.code, failed.kind) == ("overloaded", FailureClass.RATE_LIMITED)
    assert failed.retry_after_s == (180.0 if source == "electronhub" else 7.0)


@for_each("source", SOURCES)
def test_a_429_that_is_not_worth_a_retry_is_an_exhausted_quota(source: str) -> None:
    failed = failure(source, b"{}", 429, {"x-should-retry": "false"})

    assert (failed.code, failed.retry_after_s) == ("quota_exhausted", None)


@for_each("source", SOURCES)
def test_a_server_error_that_is_not_worth_a_retry_fails_the_job(source: str) -> None:
    assert failure(source, b"{}", 500, {"x-should-retry": "false"}).kind is FailureClass.REQUEST


@for_each("source", SOURCES)
def test_a_refusal_that_is_worth_a_retry_is_tried_again(source: str) -> None:
    failed = failure(source, b"{}", 400, {"x-should-retry": "true", "retry-after": "2"})

    assert (failed.kind, failed.retry_after_s) == (FailureClass.TRANSIENT, 2.0)


@for_each("source", SOURCES)
def test_a_bad_key_stays_a_bad_key_whatever_the_answer_says_of_retries(source: str) -> None:
    assert failure(source, b"{}", 401, {"x-should-retry": "true"}).kind is FailureClass.ACCOUNT


@for_each("source", SOURCES)
def test_an_error_inside_a_200_is_a_failure_of_the_server(source: str) -> None:
    failed = failure(
        source, {"error": {"message": "upstream failed", "type": "api_error", "code": None}}, 200
    )

    assert (failed.code, failed.http_status) == ("server_error", 200)
    assert failed.provider_message == "upstream failed"


@for_each("source", OPENAI_SHAPED)
@for_each(
    ("code", "expected"),
    [(429, "rate_limited"), ("402", "quota_exhausted"), (401, "unauthorized"), (502, "server_error")],
)
def test_an_error_inside_a_200_may_name_its_status(source: str, code: int | str, expected: str) -> None:
    assert failure(source, {"error": {"message": "x", "code": code}}, 200).code == expected


WORDS = {
    "error.message": {"error": {"message": "the words"}},
    "error as text": {"error": "the words"},
    "message": {"message": "the words"},
    "message.detail": {"message": {"detail": "the words"}},
    "detail": {"detail": "the words"},
    "detail as list": {"detail": [{"loc": ["body", "x"], "msg": "the words"}]},
    "a list of errors": [{"error": {"code": 400, "message": "the words", "status": "INVALID_ARGUMENT"}}],
    "raw text": "the words",
}


@for_each("source", SOURCES)
@for_each("shape", WORDS)
def test_the_providers_words_are_found_in_every_shape_of_error(source: str, shape: str) -> None:
    assert "the words" in (failure(source, WORDS[shape], 400).provider_message or "")


@for_each("source", SOURCES)
def test_the_providers_words_are_kept_short_and_on_one_line(source: str) -> None:
    failed = failure(source, {"error": {"message": "line\n" * 10_000}}, 400)

    assert failed.provider_message == ("line " * 100)


@for_each("source", SOURCES)
@for_each("status", [400, 404, 422])
def test_an_unknown_model_is_told_from_other_refusals(source: str, status: int) -> None:
    body = {"error": {"message": "The model `nope` does not exist.", "type": "NotFoundError"}}

    assert failure(source, body, status).code == "model_not_found"


@for_each("source", SOURCES)
@for_each(
    "words",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        "This model does not support images.",
        "temperature is not available for the model gpt-x",
    ],
)
def test_a_parameter_that_a_model_refuses_is_no_unknown_model(source: str, words: str) -> None:
    assert failure(source, {"error": {"message": words}}, 400).code == "invalid_request"


@for_each("source", SOURCES)
@for_each(
    ("words", "code"),
    [("Your API key may not use this endpoint.", "unauthorized"), ("Country is not supported.", "forbidden")],
)
def test_a_403_is_the_accounts_only_when_it_is_about_the_key(source: str, words: str, code: str) -> None:
    assert failure(source, {"error": {"message": words}}, 403).code == code


@for_each("source", SOURCES)
@for_each("kind", ["content_filter", "content_policy_violation"])
def test_content_that_is_refused_is_told_from_other_refusals(source: str, kind: str) -> None:
    assert failure(source, {"error": {"message": "flagged", "code": kind}}, 400).code == "content_refused"


@for_each("source", SOURCES)
@for_each(
    "code",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_not_active",
        "billing_hard_limit_reached",
    ],
)
def test_a_429_about_money_is_no_rate_limit(source: str, code: str) -> None:
    assert failure(source, {"error": {"message": "x", "code": code}}, 429).kind is FailureClass.ACCOUNT
