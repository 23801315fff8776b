"""Durations as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from chatq.contract.duration import Duration, PositiveDuration, format_duration, parse_duration
from for_each import for_each


@for_each(
    ("written", "seconds"),
    [
        ("90s", 90.0),
        ("10m", 600.0),
        ("24h", 86400.0),
        ("7d", 604800.0),
        ("2w", 1209600.0),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        (" 30s ", 30.0),
        ("90", 90.0),
        ("0.5", 0.5),
        (90, 90.0),
        (0.5, 0.5),
        (0, 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@for_each(
    "written",
    [
        "",
        " ",
        "s",
        "10 m",
        "10M",
        "5:00",
        "1m1h",
        "1m1m",
        "-1s",
        "1e3",
        "1,5h",
        "ten",
        "10min",
        "٣s",
        "1" * 50 + "s",
    ],
)
def test_a_text_that_is_no_duration_is_refused_with_examples(written: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90s, 10m, 24h or plain seconds, got "):
        parse_duration(written)


@for_each("written", [None, True, False, [], {}, b"10s", math.nan])
def test_a_value_of_another_kind_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90s, 10m, 24h or plain seconds, got "):
        parse_duration(written)


@for_each("written", [-1, -0.001, math.inf, -math.inf, 10**400, "36501d", 3153600001])
def test_a_duration_is_from_zero_to_a_century(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration from 0s to 36500d, got "):
        parse_duration(written)


def test_a_refusal_says_what_came() -> None:
    with pytest.raises(ValueError, match=r'got "5:00"$'):
        parse_duration("5:00")


@for_each(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (90, "1m30s"),
        (600, "10m"),
        (5400, "1h30m"),
        (604800, "7d"),
        (1.0004, "1s"),
    ],
)
def test_seconds_are_written_in_the_largest_units(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@given(st.integers(min_value=0, max_value=3153600000000))
def test_what_is_written_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


class _Waits(BaseModel):
    any_length: Duration = 0.0
    positive: PositiveDuration = 1.0


def test_a_field_of_a_model_is_written_like_a_duration() -> None:
    assert _Waits.model_validate({"any_length": "10m"}).any_length == 600.0


def test_a_positive_duration_refuses_zero() -> None:
    with pytest.raises(ValidationError, match="expected at least 1ms, got 0s"):
        _Waits.model_validate({"positive": 0})
