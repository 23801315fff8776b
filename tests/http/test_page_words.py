"""What the page makes of numbers: words, charts, and how fast a batch goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chatq.http.page import batch_pace
from chatq.http.page.batch_pace import BatchPace
from chatq.http.page.charts import backlog_chart, limit_chart
from chatq.http.page.rendering import ago, duration, rate, short
from chatq.ledger.backlog_history import BacklogSample

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)


def test_durations_have_two_units_at_most() -> None:
    seconds = (0.004, 0.5, 1, 9.96, 59.6, 61, 3600, 3661, 90_061, 864_000)
    assert [duration(one) for one in seconds] == [
        "4 ms", "500 ms", "1 s", "10 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "10 d",
    ]  # fmt: skip


def test_moments_are_told_from_now() -> None:
    seconds = (0.4, 12, 3 * 60, -45, -7200)
    assert [ago(NOW - timedelta(seconds=one), NOW) for one in seconds] == [
        "now", "12 s ago", "3 min ago", "in 45 s", "in 2 h",
    ]  # fmt: skip


def test_numbers_are_short() -> None:
    assert [short(one) for one in (0, 12.34, 999, 1500, 200_000, 4e6)] == [
        "0",
        "12.3",
        "999",
        "1.5k",
        "200k",
        "4M",
    ]
    assert [rate(one) for one in (0, 8.24, 0.5, 1 / 600)] == ["0/min", "8.2/s", "30/min", "6/h"]


def test_the_backlog_is_drawn_from_an_hour_ago_to_now() -> None:
    chart = backlog_chart([BacklogSample(59, 10, 0), BacklogSample(58, 20, 0)], 20, 4)
    assert (chart.most, chart.now) == (20, 20)
    assert chart.line == "M0 15.75 L1 1.50 M58.5 1.50 H59"
    assert chart.running == "M0 30.00 L1 30.00 M58.5 24.30 H59"
    assert chart.area == "M0 15.75 L1 1.50 V30 H0 Z"


def test_of_this_minute_the_moment_counts_and_not_its_sample() -> None:
    chart = backlog_chart([BacklogSample(1, 8, 0), BacklogSample(0, 500, 0)], 4, 0)
    assert (chart.most, chart.line) == (8, "M58 1.50 L59 15.75")


def test_a_limit_is_drawn_up_to_the_highest_number_that_is_known_of_it() -> None:
    chart = limit_chart(400.0, 100.0, set=500.0, learned=400.0, found=None)
    assert (chart.used, chart.marks) == (20, [("set", 100), ("learned", 80)])
    assert limit_chart(None, None).used == 0
    assert limit_chart(10.0, 20.0).used == 100


def test_a_batch_goes_as_fast_as_it_was_seen_to_go() -> None:
    pace = BatchPace()
    assert pace.rate("b", 0, 1000, None) is None
    assert pace.rate("b", 100, 1000, 900) == 1  # at first, since it began
    assert pace.rate("b", 150, 1010, 900) == 15
    assert pace.rate("b", 150, 1100, 900) == 1.5
    assert pace.rate("b", 150, 1300, 900) == 0.375  # nothing is known of the last two minutes


def test_only_so_many_batches_are_remembered() -> None:
    pace = BatchPace()
    for number in range(batch_pace._BATCHES + 10):
        pace.rate(f"b{number}", 0, 1000, None)
    assert len(pace._seen) == batch_pace._BATCHES
