from __future__ import annotations

import pytest

from chatq_sandbox.latency import Fixed, Lognormal, Uniform
from chatq_sandbox.randomness import Draws


def samples(latency: Fixed | Uniform | Lognormal, seed: int = 1) -> list[float]:
    return [latency.sample(Draws(seed, f"job-{number}", 1)) for number in range(2000)]


def test_fixed_takes_the_same_time_for_every_call() -> None:
    assert set(samples(Fixed(0.25))) == {0.25}


def test_uniform_spreads_evenly_between_its_bounds() -> None:
    drawn = samples(Uniform(1.0, 3.0))
    assert 1.0 <= min(drawn) < 1.01
    assert 2.99 < max(drawn) <= 3.0
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, abs=0.05)


def test_lognormal_has_its_median_and_its_tail() -> None:
    drawn = sorted(samples(Lognormal(median_s=2.0, sigma=0.5)))
    assert drawn[1000] == pytest.approx(2.0, rel=0.05)
    assert drawn[1980] == pytest.approx(2.0 * 3.2, rel=0.15)


def test_lognormal_is_cut_at_its_maximum() -> None:
    assert max(samples(Lognormal(median_s=2.0, sigma=3.0, max_s=20.0))) == 20.0


def test_a_call_draws_the_same_numbers_in_every_run_whatever_came_before_it() -> None:
    forwards = {job: Draws(7, job, 1).uniform("latency") for job in ("a", "b", "c")}
    backwards = {job: Draws(7, job, 1).uniform("latency") for job in ("c", "b", "a")}
    assert forwards == backwards
    assert forwards["a"] == pytest.approx(0.43330, abs=1e-5)


def test_seed_job_call_and_purpose_each_change_what_is_drawn() -> None:
    drawn = {
        Draws(seed, job, call).uniform(purpose)
        for seed in (1, 2)
        for job in ("a", "b")
        for call in (1, 2)
        for purpose in ("latency", "share")
    }
    assert len(drawn) == 16
