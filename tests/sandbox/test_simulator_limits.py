"""The limiter by itself, with the time passed in."""

from __future__ import annotations

import pytest

from chatq_sandbox.exchange import Allowance
from chatq_sandbox.limits import Bucket, Lane, Limits, MinutePeak, Window
from for_each import for_each


def admitted(bucket: Bucket, moments: list[float], cost: int = 1) -> int:
    count = 0
    for now in moments:
        if bucket.wait_s(cost, now) == 0:
            bucket.take(cost, now)
            count += 1
    return count


def test_a_second_bucket_lets_a_sixtieth_of_the_limit_through_at_once() -> None:
    assert admitted(Bucket(600, "second"), [1000.0] * 50) == 10


def test_a_second_bucket_of_a_small_limit_still_lets_one_through() -> None:
    assert admitted(Bucket(20, "second"), [1000.0] * 50) == 1


def test_a_minute_bucket_lets_the_whole_limit_through_at_once() -> None:
    assert admitted(Bucket(600, "minute"), [1000.0] * 1000) == 600


def test_it_refills_continuously_and_not_by_the_window() -> None:
    bucket = Bucket(60, "minute")
    assert admitted(bucket, [0.0] * 100) == 60
    assert admitted(bucket, [30.0] * 100) == 30


@for_each("limit", [7, 60, 333, 500, 10_000])
def test_over_ten_minutes_of_pressing_exactly_the_limit_a_minute_goes_through(limit: int) -> None:
    bucket = Bucket(limit, "minute")
    assert admitted(bucket, [0.0] * (limit + 1)) == limit
    moments = [minute + step / 1000 * 60 for minute in range(0, 600, 60) for step in range(1, 1001)]
    hasty = [moment for moment in moments for _ in range(1 + limit // 500)]
    assert abs(admitted(bucket, hasty) - 10 * limit) <= 1


def test_who_waits_as_long_as_told_gets_through() -> None:
    bucket, now = Bucket(333, "second"), 0.0
    for _ in range(5000):
        wait_s = bucket.wait_s(1, now)
        assert wait_s is not None
        now += wait_s
        assert bucket.wait_s(1, now) == 0
        bucket.take(1, now)


def test_something_bigger_than_the_bucket_goes_when_it_is_full_and_leaves_a_debt() -> None:
    bucket = Bucket(60_000, "second")
    assert bucket.wait_s(10_000, 100.0) == 0
    bucket.take(10_000, 100.0)
    assert bucket.wait_s(1, 100.0) == pytest.approx(9.001, abs=0.001)


def test_something_bigger_than_the_limit_never_goes() -> None:
    assert Bucket(1000, "minute").wait_s(1001, 0.0) is None


def test_remaining_and_reset_tell_what_is_in_the_bucket() -> None:
    bucket = Bucket(60, "minute")
    bucket.take(20, 0.0)
    assert (bucket.remaining(0.0), bucket.reset_s(0.0)) == (40, 20.0)
    assert (bucket.remaining(15.0), bucket.reset_s(15.0)) == (55, 5.0)
    assert (bucket.remaining(99.0), bucket.reset_s(99.0)) == (60, 0.0)


def lane(
    requests: int | None = None,
    tokens: int | None = None,
    concurrency: int | None = None,
    penalty_s: float = 0.0,
) -> Lane:
    made = Lane("m")
    made.set_limits(
        Limits(
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            concurrency=concurrency,
            bucket="minute",
            penalty_s=penalty_s,
        )
    )
    return made


def test_a_lane_reserves_all_allowances_or_none() -> None:
    made = lane(requests=10, tokens=100)
    assert made.admit(60, 40, 0.0) is None
    reached = made.admit(20, 30, 0.0)
    assert reached is not None
    assert (reached.what, reached.limit, reached.used, reached.requested) == ("tokens", 100, 100, 50)
    assert made.state(0.0).requests == Allowance(10, 9, 6.0)


def test_a_lane_holds_no_more_calls_in_flight_than_its_concurrency() -> None:
    made = lane(concurrency=2)
    assert [made.admit(1, 1, 0.0) is None for _ in range(3)] == [True, True, False]
    made.release()
    assert made.admit(1, 1, 0.0) is None
    assert made.max_in_flight == 2


def test_a_lane_with_a_penalty_refuses_everything_for_so_long() -> None:
    made = lane(requests=1, penalty_s=180)
    assert made.admit(1, 1, 0.0) is None
    reached = made.admit(1, 1, 1.0)
    assert reached is not None
    assert reached.wait_s == 180
    still = made.admit(1, 1, 100.0)
    assert still is not None
    assert still.wait_s == 81
    assert made.admit(1, 1, 181.0) is None


def test_a_window_lets_the_limit_through_in_any_sixty_seconds() -> None:
    window = Window(3)
    for moment in (0.0, 30.0, 59.0):
        assert window.wait_s(1, moment) == 0.0
        window.take(1, moment)
    assert (window.remaining(59.0), window.reset_s(59.0)) == (0, 60.0)
    assert window.wait_s(1, 59.5) == 0.5
    assert window.wait_s(2, 59.5) == 30.5
    assert window.wait_s(1, 60.0) == 0.0
    assert window.wait_s(4, 60.0) is None
    assert (window.remaining(90.0), window.remaining(200.0), window.reset_s(200.0)) == (2, 3, 0.0)


def test_a_failed_request_counts_as_a_request_only_where_that_is_asked_for() -> None:
    made = lane(requests=2, tokens=10)
    assert made.count_failed(0.0) is None
    state = made.state(0.0)
    assert state.requests is not None
    assert state.tokens is not None
    assert (state.requests.remaining, state.tokens.remaining, made.admitted, made.in_flight) == (1, 10, 0, 0)
    assert made.count_failed(0.0) is None
    reached = made.count_failed(0.0)
    assert reached is not None
    assert (reached.what, reached.wait_s, made.refused) == ("requests", 30.0, 1)


def test_the_highest_minute_counts_any_sixty_seconds_and_not_those_of_the_clock() -> None:
    peak = MinutePeak()
    for moment in (0.0, 59.0, 61.0, 100.0, 118.0, 180.0):
        peak.add(10, moment)
    assert peak.highest == 40
