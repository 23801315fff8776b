"""What a caller may send, and what is refused with a remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from chatq.contract import job as contract
from chatq.contract.errors import InvalidJob, JobTooLarge
from chatq.contract.job import JOB_FORMAT, SINCE, Job, Names, unknown_fields
from for_each import for_each

HELLO = {"connection": "demo", "prompt": "hello"}


def refused(**keys: Any) -> str:
    """The message with which a job is refused."""
    with pytest.raises(InvalidJob) as caught:
        Job.parse({**HELLO, **keys})
    assert caught.value.remedy
    return caught.value.message


def test_a_prompt_is_one_user_message() -> None:
    assert Job.parse(HELLO).chat() == [{"role": "user", "content": "hello"}]


def test_messages_travel_as_they_were_given_with_keys_that_nobody_knows() -> None:
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}], "extra": 1}
    ]
    job = Job.parse({"connection": "demo", "messages": messages})
    assert json.loads(job.request(max_bytes=10_000))["messages"] == messages


def test_the_request_holds_only_what_was_given() -> None:
    assert json.loads(Job.parse(HELLO).request(max_bytes=10_000)) == {
        "connection": "demo",
        "messages": [{"role": "user", "content": "hello"}],
    }


@pytest.mark.parametrize("prompt", ["", "   ", "\n"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    assert "the prompt is empty" in refused(prompt=prompt)


def test_prompt_and_messages_together_are_refused() -> None:
    assert "exactly one of prompt" in refused(messages=[{"role": "user", "content": "x"}])


def test_the_json_schema_says_that_a_job_has_either_a_prompt_or_messages() -> None:
    one, other = Job.model_json_schema()["oneOf"]
    assert (one["required"], other["required"]) == (["prompt"], ["messages"])


def test_the_json_schema_says_that_a_job_expires_later_than_at_once() -> None:
    seconds, _ = Job.model_json_schema()["properties"]["expires_in"]["anyOf"]
    assert seconds == {"type": "number", "exclusiveMinimum": 0, "maximum": 3_153_600_000}


def test_a_wrong_role_is_named_with_its_place_and_the_roles_there_are() -> None:
    with pytest.raises(InvalidJob) as caught:
        Job.parse({"connection": "demo", "messages": [{"role": "usr", "content": "secret words"}]})
    assert "messages.0.role" in caught.value.message
    assert "'assistant'" in caught.value.message
    assert "secret words" not in caught.value.message


def test_every_problem_is_reported_at_once() -> None:
    message = refused(priority=12, metadata={"a": 1}, expires_in=-1)
    assert all(name in message for name in ("priority", "metadata.a", "expires_in"))


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    assert 'unknown key "parms" (did you mean "params"?)' in refused(parms={})


@for_each("key", ["float", "str", "datetime", "list[ContentPart]"])
def test_a_key_with_the_name_of_a_type_is_a_key(key: str) -> None:
    assert f'unknown key "{key}"' in refused(**{key: None})
    assert f"metadata.{key}: " in refused(metadata={key: 1})


@for_each(
    ("field", "where"),
    [
        ({"not_before": [1]}, "not_before: "),
        ({"tool_choice": 5}, "tool_choice: "),
        (
            {"prompt": None, "messages": [{"role": "user", "content": [{"text": "x"}]}]},
            "messages.0.content.0.type: ",
        ),
    ],
)
def test_a_field_of_several_types_is_named_by_what_the_caller_wrote(
    field: dict[str, object], where: str
) -> None:
    message = refused(**field)
    assert where in message
    assert not any(f".{name}" in message for name in ("str:", "float:", "datetime:", "dict[", "list["))


@for_each("field", ["expires_in", "not_before"])
@for_each("long", [1e306, 3_153_600_001, "36501d"])
def test_no_job_waits_for_more_than_a_century(field: str, long: object) -> None:
    assert f"{field}: " in refused(**{field: long})


@for_each(
    ("field", "told"),
    [
        (
            {"not_before": "yesterday"},
            "not_before: expected a duration such as 90s or 24h, or a moment such as 2026-",
        ),
        (
            {"id": "a b"},
            'id: expected 1 to 128 letters, digits and . _ : -, beginning with a letter or digit, got "a b"',
        ),
        ({"connection": "A"}, "connection: expected the ID of a connection: 1 to 64 of a-z, 0-9"),
        ({"tenant": "a\n"}, "tenant: expected a text without control characters"),
        ({"connection": None}, "connection: input should be a valid string, got nothing"),
    ],
)
def test_what_was_expected_is_said_in_words(field: dict[str, object], told: str) -> None:
    assert told in refused(**field)


def test_of_a_key_that_is_missing_nothing_came() -> None:
    with pytest.raises(InvalidJob, match=r"connection: field required\."):
        Job.parse({"prompt": "hi"})


def test_what_came_is_told_once() -> None:
    assert refused(expires_in="1e3").count("1e3") == 1


@for_each("job_id", ["", "a b", "ä", "-x", "a" * 129, "a/b", 'a"b'])
def test_an_id_that_cannot_be_part_of_a_key_or_an_address_is_refused(job_id: str) -> None:
    assert "id:" in refused(id=job_id)


def test_a_job_over_the_bound_is_refused_with_both_sizes() -> None:
    job = Job.parse({**HELLO, "prompt": "x" * 2000})
    with pytest.raises(JobTooLarge, match=r"2,\d\d\d bytes; bounds.job_bytes allows 1,000"):
        job.request(max_bytes=1000)


def test_metadata_counts_for_the_bound() -> None:
    with pytest.raises(JobTooLarge, match=r"9,9\d\d bytes"):
        Job.parse({**HELLO, "metadata": {"a": "b" * 9_900}}).request(max_bytes=5_000)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_carry_is_refused(number: float) -> None:
    job = Job.parse({**HELLO, "params": {"temperature": [number]}})
    with pytest.raises(InvalidJob, match="not finite"):
        job.request(max_bytes=1000)


@for_each("where", [{"prompt": "\ud800"}, {"metadata": {"a": "\ud800"}}, {"metadata": {"\ud800": "b"}}])
def test_half_a_character_is_refused_and_not_an_encoding_error(where: dict[str, object]) -> None:
    with pytest.raises(InvalidJob, match="surrogates"):
        Job.parse({**HELLO, **where}).request(max_bytes=1000)


@for_each(
    ("given", "due"),
    [
        ("90s", "+90000"),
        (1.5, "+1500"),
        ("10m", "+600000"),
        ("2026-11-23T18:00:00Z", "1795456800000"),
        ("2026-11-23T19:00:00+01:00", "1795456800000"),
        (datetime(2026, 11, 23, 18, tzinfo=UTC), "1795456800000"),
        ("0001-01-01T00:00:00+05:00", "-62135614800000"),
        ("9999-12-31T23:59:59-05:00", "253402318799000"),
    ],
)
def test_not_before_is_a_duration_or_a_moment(given: object, due: str) -> None:
    assert Job.parse({**HELLO, "not_before": given}).due() == due


def test_a_moment_without_an_offset_is_refused() -> None:
    assert "offset from UTC" in refused(not_before="2026-11-23T18:00:00")


def digest(job: Job) -> str:
    return job.digest(job.request(max_bytes=100_000))


@for_each(
    "of_mapping",
    [
        {"params": {"seed": 1, "n": 2}},
        {"params": {"logit_bias": {"7": 1, "11": 2}}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True}}},
        {"names": {"char": "Ann", "user": "Bob"}},
    ],
)
def test_the_order_of_keys_makes_no_other_job(of_mapping: dict[str, Any]) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(inner) for key, inner in reversed(value.items())}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert digest(Job.parse({**HELLO, **of_mapping})) == digest(Job.parse({**HELLO, **turned(of_mapping)}))


def test_messages_with_their_keys_in_another_order_are_the_same() -> None:
    turned = [{"content": "hello", "role": "user"}]
    assert digest(Job.parse({"connection": "demo", "messages": turned})) == digest(Job.parse(HELLO))


def test_a_request_without_mappings_of_the_callers_has_its_keys_in_order() -> None:
    """`digest` relies on it."""
    job = Job.parse({**HELLO, "model": "m", "post_processing": "none", "stream": True, "priority": 1})
    request = job.request(max_bytes=1000)
    assert request == orjson.dumps(orjson.loads(request), option=orjson.OPT_SORT_KEYS)


def test_the_same_job_has_the_same_digest_whatever_its_id_and_metadata() -> None:
    one = Job.parse({**HELLO, "id": "one", "metadata": {"a": "b"}})
    other = Job.parse({"connection": "demo", "messages": [{"role": "user", "content": "hello"}]})
    assert digest(one) == digest(other)


@for_each(
    "difference",
    [
        {"prompt": "hello!"},
        {"priority": 6},
        {"params": {"seed": 1}},
        {"tenant": "t"},
        {"connection": "other"},
    ],
)
def test_any_other_difference_is_another_job(difference: dict[str, Any]) -> None:
    assert digest(Job.parse({**HELLO, **difference})) != digest(Job.parse(HELLO))


FIRST_FORMAT = {
    "connection", "prompt", "messages", "id", "model", "params", "post_processing", "names", "names.char", "names.user",
    "names.group", "tools", "tool_choice", "response_format", "priority", "tenant", "idempotency_key", "custom_id",
    "not_before", "expires_in", "metadata",
}  # fmt: skip


def test_every_field_that_came_after_the_first_format_says_with_which() -> None:
    """It may not be forgotten: workers that do not know the field would drop it."""
    fields = {*Job.model_fields, *(f"names.{name}" for name in Names.model_fields)}
    assert fields == FIRST_FORMAT | set(SINCE)
    assert max(SINCE.values(), default=1) == JOB_FORMAT


def test_a_job_asks_for_the_latest_format_of_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "SINCE", {"names.group": 2, "tools": 3})
    assert Job.parse(HELLO).format == 1
    assert Job.parse({**HELLO, "names": {"char": "Ann"}}).format == 1
    assert Job.parse({**HELLO, "names": {"group": ["Ann"]}}).format == 2
    assert Job.parse({**HELLO, "names": {"group": ["Ann"]}, "tools": []}).format == 3


def test_a_job_that_does_not_stream_is_what_it_was_before_there_were_streams() -> None:
    plain, silent = Job.parse(HELLO), Job.parse({**HELLO, "stream": False})
    assert (digest(plain), plain.format) == (digest(silent), silent.format)
    assert digest(plain) == "dbe585ce03a612c9f56a8920824da56f"
    assert "stream" not in json.loads(silent.request(max_bytes=1000))


def test_a_job_that_streams_asks_for_a_worker_that_knows_how() -> None:
    job = Job.parse({**HELLO, "stream": True})
    assert job.format == 2
    assert json.loads(job.request(max_bytes=1000))["stream"] is True
    assert digest(job) != digest(Job.parse(HELLO))


def test_fields_of_a_newer_version_are_found_in_a_request() -> None:
    job = Job.parse({**HELLO, "names": {"char": "Ann"}, "params": {"anything": 1}, "tools": [{"x": 1}]})
    request = json.loads(job.request(max_bytes=1000))
    assert unknown_fields(request) == []
    assert unknown_fields({**request, "cache": True, "names": {"pets": []}}) == ["cache", "names.pets"]
