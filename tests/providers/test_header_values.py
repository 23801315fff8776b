"""Numbers, durations and moments, in every notation that providers use."""

from __future__ import annotations

import pytest

from chatq_worker.providers.header_values import count, go_duration_s, number, provider_clock, seconds_from
from for_each import for_each

NOON = 1_795_348_800.0
"""2026-11-22T12:00:00Z, the moment of these tests."""


@for_each(("text", "value"), [("0", 0.0), ("13", 13.0), (" 1.5 ", 1.5), ("1e3", 1000.0)])
def test_a_number(text: str, value: float) -> None:
    assert number(text) == value


@for_each("text", [None, "", " ", "-1", "nan", "inf", "-inf", "1e999", "9" * 5000, "5 apples", "1,000"])
def test_no_number(text: str | None) -> None:
    assert number(text) is None


@for_each(
    ("text", "value"), [("0", 0), ("500", 500), ("500.9", 500), ("1000000000000", 10**12), ("1e15", 10**15)]
)
def test_a_count_is_whole(text: str, value: int) -> None:
    assert count(text) == value


@for_each("text", [None, "-1", "nan", "1.1e15", "9223372036854775807", "unlimited"])
def test_no_count(text: str | None) -> None:
    assert count(text) is None


def test_a_count_for_a_second_is_told_for_a_minute_with_its_fraction() -> None:
    assert count("2929.6875", times=60) == 175_781


@for_each(
    ("text", "seconds"),
    [("0s", 0.0), ("120ms", 0.12), ("6m0s", 360.0), ("1h", 3600.0), ("1h2m3.5s", 3723.5), (".5s", 0.5), ("10us", 1e-5),
     ("10µs", 1e-5), ("10ns", 1e-8)],
)  # fmt: skip
def test_a_go_duration(text: str, seconds: float) -> None:
    assert go_duration_s(text) == pytest.approx(seconds)


@for_each("text", ["", "5", "s", "5d", "-5s", "5s ", "5 s", "1h-2m", "5S"])
def test_no_go_duration(text: str) -> None:
    assert go_duration_s(text) is None


@for_each(
    ("text", "seconds"),
    [
        ("45", 45.0),
        ("7.66s", 7.66),
        ("1795348860", 60.0),
        ("1795348860500", 60.5),
        ("2026-11-22T12:00:01Z", 1.0),
        ("2026-11-22t12:00:01.25z", 1.25),
        ("2026-11-22T14:00:10+02:00", 10.0),
        ("2026-11-22 12:00:10", 10.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
    ],
)
def test_the_seconds_to_a_moment_in_any_notation(text: str, seconds: float) -> None:
    assert seconds_from(NOON, text) == pytest.approx(seconds)


@for_each("text", [None, "", "soon", "-5", "2026-11-22T11:59:59Z", "1795348799"])
def test_what_says_nothing_or_has_gone_by_is_none(text: str | None) -> None:
    assert seconds_from(NOON, text) is None


def test_a_moment_that_may_be_rounded_down_is_now() -> None:
    assert seconds_from(NOON + 0.9, "2026-11-22T12:00:00Z", late_s=1.0) == 0.0
    assert seconds_from(NOON + 1.1, "2026-11-22T12:00:00Z", late_s=1.0) is None


def test_the_providers_clock_goes_before_ours() -> None:
    assert provider_clock({"date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 7.0) == NOON
    assert provider_clock({"date": "today"}, 7.0) == 7.0
