"""How close a lane runs to its provider's limit, and that it does not cross it: issue 5's bars, in virtual time.

`CHATQ_TEST_EXAMPLES=1` adds the slow, the fast and the odd ones.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from ledger_driver import LedgerDriver
from paced_provider import Pace, PacedProvider, Wire, Work

from chatq_sandbox.limits import BucketShape, Limits

MORE = bool(os.environ.get("CHATQ_TEST_EXAMPLES"))

QUICK = Wire(latency_s=0.2)
SLOW = Wire(latency_s=2.0)
QUICK_HEADERS = Wire(latency_s=0.2, headers=True)
SLOW_HEADERS = Wire(latency_s=2.0, headers=True)

AT_ONCE: dict[BucketShape, float] = {"second": 1.03, "minute": 1.05, "window": 1.03}
"""Of the least time, when told the limit."""


def answers_of_any_length(jobs: int, *, cap: int = 0, mean: float = 1.0) -> list[Work]:
    """Prompts of 50 to 400 tokens and answers of 10 to over 1,000, 300 together; bytes tell 30 % too many tokens."""
    draw = random.Random(3)
    work = []
    for _ in range(jobs):
        prompt = round(draw.choice((50, 100, 200, 400)) * mean)
        answer = round(min(draw.lognormvariate(4.6, 0.8), 1500) * mean) + 1
        work.append(Work(prompt, min(answer, cap or answer), round(prompt * 3.5 * 1.3) + 16, cap))
    return work


def run(
    ledger: LedgerDriver, limits: Limits, wire: Wire, work: list[Work], workers: int, **rules: Any
) -> Pace:
    return PacedProvider(ledger, limits, wire, workers=workers).run(work, **rules)


def assert_all_done(pace: Pace, jobs: int) -> None:
    assert (pace.succeeded, pace.failed) == (jobs, 0)


@pytest.mark.parametrize("workers", [1, 3] if MORE else [3])
@pytest.mark.parametrize(
    ("a_minute", "shape", "wire", "jobs"),
    [
        (60, "second", QUICK, 60),
        (60, "minute", SLOW_HEADERS, 180),
        pytest.param(600, "second", SLOW, 600, marks=pytest.mark.thorough),
        *(
            [
                (10, "second", QUICK, 30),
                (10, "second", SLOW, 30),
                (10, "window", SLOW, 30),
                (60, "window", SLOW, 90),
                (10, "minute", QUICK_HEADERS, 50),
                (60, "second", SLOW, 120),
                (60, "minute", QUICK_HEADERS, 240),
                (100, "second", QUICK, 200),
                (100, "second", SLOW, 200),
                (100, "window", QUICK, 200),
                (100, "minute", SLOW_HEADERS, 300),
                (600, "second", QUICK, 1200),
                (600, "window", QUICK, 1200),
                (600, "minute", QUICK_HEADERS, 1800),
                (600, "minute", SLOW_HEADERS, 1800),
                (6000, "second", QUICK, 6000),
                (6000, "second", SLOW, 9000),
                (6000, "window", SLOW, 6000),
                (6000, "minute", QUICK_HEADERS, 12000),
            ]
            if MORE
            else []
        ),
    ],
)
def test_told_the_requests_a_minute_all_of_them_go_and_none_is_refused(
    real_ledger: LedgerDriver, a_minute: int, shape: BucketShape, wire: Wire, jobs: int, workers: int
) -> None:
    limits = Limits(requests_per_minute=a_minute, bucket=shape)
    rules = {"requests_per_minute": a_minute, **({"sliding": 1} if shape == "window" else {})}
    pace = run(real_ledger, limits, wire, [Work()] * jobs, workers, **rules)
    assert_all_done(pace, jobs)
    assert pace.refusals == []
    assert pace.ratio <= AT_ONCE[shape]


@pytest.mark.parametrize("workers", [1, 3] if MORE else [3])
@pytest.mark.parametrize(
    ("a_minute", "charge", "shape", "wire", "work"),
    [
        (60_000, "reserved", "second", SLOW, answers_of_any_length(200, cap=600)),
        pytest.param(
            60_000,
            "used",
            "second",
            QUICK,
            answers_of_any_length(800, mean=0.25),
            marks=pytest.mark.thorough,
        ),
        *(
            [
                (60_000, "reserved", "second", QUICK, answers_of_any_length(300, cap=600)),
                (60_000, "reserved", "minute", SLOW_HEADERS, answers_of_any_length(300, cap=600)),
                (60_000, "used", "minute", QUICK_HEADERS, answers_of_any_length(2000, mean=0.25)),
                (1_000_000, "reserved", "second", QUICK, answers_of_any_length(3000, cap=600)),
                (1_000_000, "reserved", "second", SLOW, answers_of_any_length(5000, cap=600)),
                (1_000_000, "reserved", "minute", SLOW_HEADERS, answers_of_any_length(5000, cap=600)),
                (1_000_000, "used", "second", QUICK, answers_of_any_length(6000)),
                (1_000_000, "used", "second", SLOW, answers_of_any_length(12000)),
                (1_000_000, "used", "minute", QUICK_HEADERS, answers_of_any_length(6000)),
            ]
            if MORE
            else []
        ),
    ],
)
def test_told_the_tokens_a_minute_all_of_them_go_and_none_is_refused(
    real_ledger: LedgerDriver,
    a_minute: int,
    charge: Any,
    shape: BucketShape,
    wire: Wire,
    work: list[Work],
    workers: int,
) -> None:
    limits = Limits(tokens_per_minute=a_minute, bucket=shape, charge=charge)
    rules = {"tokens_per_minute": a_minute, **({"door": 1} if charge == "reserved" else {})}
    pace = run(real_ledger, limits, wire, work, workers, **rules)
    assert_all_done(pace, len(work))
    assert pace.refusals == []
    assert pace.ratio <= AT_ONCE[shape]


@pytest.mark.thorough
@pytest.mark.parametrize("a_minute", [(600, 120_000), *([(300, 120_000), (300, 600_000)] if MORE else [])])
def test_told_requests_and_tokens_a_minute_neither_is_crossed(
    real_ledger: LedgerDriver, a_minute: tuple[int, int]
) -> None:
    """Which of them binds changes from minute to minute."""
    requests, tokens = a_minute
    work = answers_of_any_length(300)
    limits = Limits(requests_per_minute=requests, tokens_per_minute=tokens, charge="used")
    pace = run(real_ledger, limits, QUICK, work, 3, requests_per_minute=requests, tokens_per_minute=tokens)
    assert_all_done(pace, 300)
    assert pace.refusals == []
    assert pace.ratio <= 1.03


@pytest.mark.parametrize(
    ("limits", "wire", "work"),
    [
        (Limits(requests_per_minute=60), QUICK_HEADERS, [Work()] * 120),
        pytest.param(
            Limits(requests_per_minute=60, bucket="minute"),
            SLOW_HEADERS,
            [Work()] * 180,
            marks=pytest.mark.thorough,
        ),
        *(
            [
                (Limits(requests_per_minute=10), QUICK_HEADERS, [Work()] * 30),
                (Limits(requests_per_minute=10), SLOW_HEADERS, [Work()] * 30),
                (Limits(requests_per_minute=10, bucket="minute"), SLOW_HEADERS, [Work()] * 50),
                (Limits(requests_per_minute=60), SLOW_HEADERS, [Work()] * 120),
                (Limits(requests_per_minute=600), SLOW_HEADERS, [Work()] * 600),
                (Limits(requests_per_minute=600, bucket="minute"), SLOW_HEADERS, [Work()] * 1800),
                (Limits(requests_per_minute=6000), SLOW_HEADERS, [Work()] * 6000),
            ]
            if MORE
            else []
        ),
    ],
)
def test_requests_a_minute_are_learned_from_the_first_answer(
    real_ledger: LedgerDriver, limits: Limits, wire: Wire, work: list[Work]
) -> None:
    pace = run(real_ledger, limits, wire, work, 3, tells_limits=1)
    assert_all_done(pace, len(work))
    assert pace.refused_share() < 0.005
    assert pace.ratio <= 1.10


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("limits", "wire", "jobs", "cap"),
    [
        (
            Limits(requests_per_minute=2000, tokens_per_minute=120_000, charge="reserved"),
            SLOW_HEADERS,
            200,
            600,
        ),
        pytest.param(
            Limits(requests_per_minute=2000, tokens_per_minute=240_000, charge="used"),
            QUICK_HEADERS,
            500,
            0,
            marks=pytest.mark.thorough,
        ),
        *(
            [
                (
                    Limits(
                        requests_per_minute=9000, tokens_per_minute=900_000, charge="used", bucket="minute"
                    ),
                    QUICK_HEADERS,
                    6000,
                    0,
                ),
                (
                    Limits(
                        requests_per_minute=9000, tokens_per_minute=900_000, charge="used", bucket="minute"
                    ),
                    SLOW_HEADERS,
                    6000,
                    0,
                ),
                (
                    Limits(requests_per_minute=9000, tokens_per_minute=900_000, charge="used"),
                    SLOW_HEADERS,
                    6000,
                    0,
                ),
            ]
            if MORE
            else []
        ),
    ],
)
def test_tokens_a_minute_are_learned_from_the_first_answer(
    real_ledger: LedgerDriver, limits: Limits, wire: Wire, jobs: int, cap: int
) -> None:
    rules = {"door": 1} if limits.charge == "reserved" else {}
    pace = run(real_ledger, limits, wire, answers_of_any_length(jobs, cap=cap), 3, tells_limits=1, **rules)
    assert_all_done(pace, jobs)
    assert pace.refused_share() < 0.005
    assert pace.ratio <= 1.10


@pytest.mark.thorough
@pytest.mark.parametrize("retry_after", [True, False] if MORE else [False])
@pytest.mark.parametrize(
    ("a_minute", "shape", "latency_s", "jobs"),
    [
        (60, "second", 2.0, 300),
        *(
            [
                (60, "second", 0.2, 600),
                (60, "minute", 2.0, 600),
                (600, "second", 2.0, 3000),
                (600, "minute", 0.2, 3000),
                (3000, "second", 0.2, 15000),
            ]
            if MORE
            else []
        ),
    ],
)
def test_a_limit_that_nobody_tells_is_found_within_a_minute(
    real_ledger: LedgerDriver,
    a_minute: int,
    shape: BucketShape,
    latency_s: float,
    jobs: int,
    retry_after: bool,
) -> None:
    limits = Limits(requests_per_minute=a_minute, bucket=shape)
    wire = Wire(latency_s, retry_after=retry_after)
    pace = PacedProvider(real_ledger, limits, wire, workers=3, slots=100).run([Work()] * jobs)
    assert_all_done(pace, jobs)
    assert pace.refused_share(after_s=60) < 0.02
    assert pace.ratio <= 1.20


@pytest.mark.thorough
def test_nothing_is_called_for_the_time_that_a_refusal_names_and_no_attempt_is_used(
    real_ledger: LedgerDriver,
) -> None:
    wire = Wire(latency_s=0.2, refuse_from_s=3, refuse_for_s=40)
    provider = PacedProvider(real_ledger, Limits(), wire, workers=3, slots=3)
    pace = provider.run([Work()] * 1000)
    assert_all_done(pace, 1000)
    assert pace.attempts_used == 0
    [refused] = pace.refusals
    assert [call for call in pace.calls if refused + 0.05 < call < refused + 40] == []
    assert pace.longest_silence_s < 41
