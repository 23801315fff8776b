"""docs/performance.md as it is made from what was measured."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    import page

    return page


def measured(contenders: dict[str, list[dict[str, float]]], **others: Any) -> dict[str, Any]:
    around = {"machine": "2 x a processor", "date": "2026-11-26"}
    kept = {
        "contenders": contenders,
        "not_measured": {},
        "repetitions": 3,
        "quick": False,
        "circumstances": around,
    }
    return {**kept, **others}


def test_a_ratio_is_that_of_each_repetition_told_as_median_least_and_most(page: ModuleType) -> None:
    bare = [{"cpu_us": cpu_us} for cpu_us in (100.0, 200.0, 150.0)]
    chatq = [{"cpu_us": cpu_us} for cpu_us in (300.0, 1200.0, 600.0)]
    text = page.page({"calls-0-ms": measured({"bare loop": bare, "chatq": chatq})})
    assert "| bare loop | 150 (100 to 200) |  |" in text
    assert "| chatq | 600 (300 to 1,200) | 4.00 (3.00 to 6.00) |" in text


@pytest.mark.parametrize(("cpu_us", "verdict"), [(800.0, "met"), (801.0, "**missed**")])
def test_a_bar_is_judged_by_the_median(page: ModuleType, cpu_us: float, verdict: str) -> None:
    chatq = [{"cpu_us": each} for each in (9000.0, cpu_us, 100.0)]
    text = page.page({"calls-0-ms": measured({"bare loop": [{"cpu_us": 100.0}] * 3, "chatq": chatq})})
    assert f"≤ 8 | {cpu_us / 100:.2f} (1.00 to 90.00) | {verdict} |" in text


def test_a_bar_whose_case_was_not_measured_says_so(page: ModuleType) -> None:
    assert "| worker's CPU a job, 0 ms, backlog ÷ bare loop | ≤ 8 | not measured |  |" in page.page({})


def test_little_work_meets_no_bar(page: ModuleType) -> None:
    one = [{"cpu_us": 100.0}]
    text = page.page({"calls-0-ms": measured({"bare loop": one, "chatq": one}, quick=True)})
    assert "| ≤ 8 | 1.00 | with little work: says nothing |" in text


def test_a_contender_that_could_not_be_run_is_named_with_the_reason(page: ModuleType) -> None:
    one = [{"cpu_us": 100.0, "wall_s": 1.0}]
    missing = {"Bespoke Curator": "it is not installed"}
    text = page.page({"peers": measured({"bare loop": one, "chatq": one}, not_measured=missing)})
    assert "| Bespoke Curator | not measured: it is not installed |" in text


def test_jobs_without_an_answer_are_told(page: ModuleType) -> None:
    whole, part = {"cpu_us": 1.0, "jobs": 2000, "done": 2000}, {"cpu_us": 1.0, "jobs": 2000, "done": 1900}
    text = page.page({"calls-0-ms": measured({"bare loop": [whole, whole], "chatq": [whole, part]})})
    assert "chatq left 100 of 2,000 jobs without an answer." in text
    assert "bare loop left" not in text
