"""When to come back, in every notation that providers use."""

from __future__ import annotations

import pytest

from chatq_worker.providers.retry_after import retry_after_s, should_retry
from for_each import for_each

NOON = 1_795_348_800.0
"""2026-11-22T12:00:00Z, the moment of these tests."""


@for_each(
    ("headers", "seconds"),
    [
        ({"retry-after": "13"}, 13.0),
        ({"retry-after": " 13 "}, 13.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "86400"}, 86_400.0),
        ({"retry-after": "31536000"}, 31_536_000.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 22 Dec 2026 12:00:00 GMT"}, 30 * 86_400.0),
        ({"retry-after": "2026-11-22T12:00:10Z"}, 10.0),
        ({"retry-after": "2026-11-22T14:00:10+02:00"}, 10.0),
        ({"retry-after": "6m0s"}, 360.0),
        ({"retry-after": "1795348807"}, 7.0),
        ({"retry-after": "1795348807500"}, 7.5),
        ({"retry-after-ms": "820"}, 0.82),
        ({"retry-after-ms": "820.5"}, 0.8205),
    ],
)
def test_the_header_is_read_in_any_notation_and_capped_nowhere(
    headers: dict[str, str], seconds: float
) -> None:
    assert retry_after_s(headers, now=NOON) == pytest.approx(seconds)


@for_each(
    "value",
    ["-1", "nan", "NaN", "inf", "-inf", "1e999", "", " ", "soon", "5 apples", "m", "5x", "9" * 5000, "1795348000",
     "Sun, 22 Nov 2026 11:59:59 GMT", "Sun, 99 Nov 2026 12:00:30 GMT"],
)  # fmt: skip
def test_what_says_nothing_usable_is_ignored(value: str) -> None:
    assert retry_after_s({"retry-after": value}, now=NOON) is None


@for_each("value", ["-1", "nan", "inf", "1e999", "", "soon", "1s"])
def test_unusable_milliseconds_leave_the_seconds(value: str) -> None:
    assert retry_after_s({"retry-after": "1", "retry-after-ms": value}, now=NOON) == 1.0


def test_milliseconds_win_over_seconds_because_they_are_finer() -> None:
    assert retry_after_s({"retry-after": "1", "retry-after-ms": "820"}, now=NOON) == 0.82


def test_a_moment_is_measured_against_the_providers_own_clock() -> None:
    headers = {"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:10 GMT"}

    assert retry_after_s(headers, now=0.0) == 20.0


def test_without_a_clock_of_the_providers_ours_is_asked() -> None:
    assert retry_after_s({"retry-after": "Tue, 01 Jan 2999 00:00:00 GMT"}) > 3e10  # type: ignore[operator]


RESETS = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "1s", 1.0),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens", "6m0s", 360.0),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens", "120ms", 0.12),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens", "2m59.56s", 179.56),
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "1h2m3.5s", 3723.5),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining", "2026-11-22T12:00:13Z", 13.0),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining", "2026-11-22T12:00:02Z", 2.0),
    ("x-ratelimit-reset", "x-ratelimit-remaining", "1795348860", 60.0),
    ("x-ratelimit-reset", "x-ratelimit-remaining", "1795348860000", 60.0),
    ("x-ratelimit-reset", "x-ratelimit-remaining", "45", 45.0),
    ("ratelimit-reset", "ratelimit-remaining", "45", 45.0),
    ("x-ratelimit-reset-requests-day", "x-ratelimit-remaining-requests-day", "33011.5", 33_011.5),
    ("llm_provider-x-ratelimit-reset-tokens", "llm_provider-x-ratelimit-remaining-tokens", "8s", 8.0),
]  # fmt: skip


@for_each(("reset", "remaining", "value", "seconds"), RESETS)
def test_without_the_header_the_reset_of_the_allowance_that_is_used_up_counts(
    reset: str, remaining: str, value: str, seconds: float
) -> None:
    assert retry_after_s({reset: value, remaining: "0"}, now=NOON) == pytest.approx(seconds)


@for_each(("reset", "remaining", "value", "seconds"), RESETS)
def test_the_reset_of_an_allowance_that_is_left_says_nothing(
    reset: str, remaining: str, value: str, seconds: float
) -> None:
    assert retry_after_s({reset: value, remaining: "5"}, now=NOON) is None


def test_of_several_allowances_that_are_used_up_the_latest_counts() -> None:
    headers = {
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-remaining-tokens": "0",
    }

    assert retry_after_s(headers, now=NOON) == 360.0


def test_the_reset_of_a_limit_that_is_none_says_nothing() -> None:
    headers = {
        "x-ratelimit-limit-requests": "-1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }

    assert retry_after_s(headers, now=NOON) is None


@for_each(
    ("text", "seconds"),
    [
        ("Rate limit reached. Please try again in 120ms.", 0.12),
        ("Please try again in 6m0s. Visit ...", 360.0),
        ("Please try again in 7.66s", 7.66),
        ("try again in 1h2m3.5s", 3723.5),
        ("Please retry after 20 seconds.", 20.0),
        ("Please wait 1 minute.", 60.0),
        ("Try again in 2 hours", 7200.0),
        ("wait for 1.5 seconds", 1.5),
        ("retry in 500 milliseconds", 0.5),
        ("try again in about 3 days", 259_200.0),
        ("Retry after 1 second.", 1.0),
        ("try again in 7m 12s.", 432.0),
        ("try again in 1 hour, 2 minutes and 3 seconds", 3723.0),
        ("Please wait 5 mins", 300.0),
        ("retry in 20 s", 20.0),
        ("Try again in 2 hrs", 7200.0),
        ("usage limit exceeded, resets at 2026-11-22T15:00:00Z (2056)", 10_800.0),
        ("Please try again at 2026-11-22 12:00:01.5+00:00", 1.5),
        ('{"error":{"code":429,"metadata":{"retry_after": 12.5}}}', 12.5),
        ('{"retry_after_ms":500}', 0.5),
        ('{"retryAfterMs": "250"}', 0.25),
        ('{"retry_after_seconds":"30","detail":"x"}', 30.0),
        ('{"retry_after":1795348807}', 7.0),
        ('{"error":{"details":[{"@type":"RetryInfo","retryDelay":"17s"}]}}', 17.0),
        ('{"retryDelay": "3.25s"}', 3.25),
    ],
)
def test_a_moment_in_the_text_counts_when_no_header_names_one(text: str, seconds: float) -> None:
    assert retry_after_s({}, text, now=NOON) == pytest.approx(seconds)
    assert retry_after_s({"retry-after": "1"}, text, now=NOON) == 1.0


@for_each(
    "text",
    ["", "Please try again later.", "Limit 500, Used 500, Requested 1.", "try again in -5s", "try again in 5 parsecs",
     "wait 99999999999999999999 seconds", "try again in " + "9" * 400 + "s", "wait 5 meters", "try again in 5",
     "resets at 2026-11-22T11:00:00Z", '{"retry_after":-1}', '{"retry_after":null}', '{"retry_after":"soon"}',
     "resets at 2026-13-22T15:00:00Z"],
)  # fmt: skip
def test_a_text_without_a_moment_says_nothing(text: str) -> None:
    assert retry_after_s({}, text, now=NOON) is None


def test_a_long_hostile_text_is_searched_in_a_moment() -> None:
    assert retry_after_s({}, "try again in " + "1" * 1_000_000, now=NOON) is None


@for_each(
    ("headers", "expected"),
    [
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "false"}, False),
        ({"x-should-retry": " TRUE "}, True),
        ({"x-should-retry": "1"}, None),
        ({}, None),
    ],
)
def test_x_should_retry_says_yes_no_or_nothing(headers: dict[str, str], expected: bool | None) -> None:
    assert should_retry(headers) is expected
