"""The plan of `chatq verify`: the same for the same seed, and every fault has its turn."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from chatq.contract.job import Job
from chatq_sandbox.misbehaviours import KINDS as MISBEHAVIOURS
from chatq_sandbox.verify.faults import FAULTS
from chatq_sandbox.verify.plan import KINDS, PRODUCERS, make_plan
from for_each import for_each

SEEDS = [1, 2, 3, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(4, 21))]


def test_the_same_seed_and_number_of_jobs_give_the_same_plan() -> None:
    assert make_plan(7, 500) == make_plan(7, 500)


def test_another_seed_gives_other_jobs_and_other_faults() -> None:
    one, other = make_plan(7, 500), make_plan(8, 500)
    assert one.jobs != other.jobs
    assert one.faults != other.faults


def test_there_are_as_many_jobs_as_asked_for_each_under_a_name_of_its_own() -> None:
    plan = make_plan(1, 1234)
    assert sum(len(unit.jobs) for unit in plan.units) == len(plan.jobs) == 1234


@for_each("seed", SEEDS)
def test_5000_jobs_see_every_fault(seed: int) -> None:
    assert {fault.name for fault in make_plan(seed, 5000).faults} == set(FAULTS)


def test_only_the_faults_that_were_asked_for_strike() -> None:
    plan = make_plan(1, 5000, ["server killed", "worker killed"])
    assert {fault.name for fault in plan.faults} == {"server killed", "worker killed"}


@for_each("seed", SEEDS)
def test_what_strikes_on_top_of_another_fault_strikes_something_else_and_is_alone_on_it(seed: int) -> None:
    """So no fault finds what it strikes already gone, and each is undone before the next of its kind."""
    faults = make_plan(seed, 5000).faults
    for number, fault in enumerate(faults):
        over_s = fault.at_s + fault.lasts_s
        on_top = [
            later for later in faults[number + 1 :] if later.at_s <= over_s + (FAULTS[fault.name].bar_s or 0)
        ]
        assert len(on_top) <= 1
        assert all(FAULTS[later.name].target != FAULTS[fault.name].target for later in on_top)


def test_most_faults_of_a_long_run_strike_alone_so_that_they_can_be_held_against_their_bar() -> None:
    alone = [
        later.at_s > fault.at_s + fault.lasts_s + (FAULTS[fault.name].bar_s or 0)
        for fault, later in itertools.pairwise(make_plan(1, 5000).faults)
    ]
    assert sum(alone) > len(alone) / 2


def test_every_planned_job_is_one_that_chatq_takes() -> None:
    for planned in make_plan(1, 5000).jobs.values():
        Job.parse(planned.job)


def test_a_job_is_named_to_the_simulator_and_in_its_metadata() -> None:
    for name, planned in make_plan(1, 300).jobs.items():
        assert planned.job["metadata"] == {"name": name}
        assert f"job:{name} " in planned.job["prompt"]


def test_every_misbehaviour_of_the_simulator_has_a_kind_of_job_or_a_fault() -> None:
    asked_for = {
        directive.removeprefix("[sim: ").split()[0]
        for kind in KINDS
        for directive in kind.directives
        if directive
    }
    assert set(MISBEHAVIOURS) - asked_for == {"quota_exhausted", "refuse", "error_mid_stream"}


def test_jobs_are_enqueued_one_by_one_and_in_batches_by_every_producer() -> None:
    units = make_plan(1, 1000).units
    assert Counter(unit.producer for unit in units).keys() == set(range(PRODUCERS))
    assert {unit.batch for unit in units} == {True, False}
    assert [unit.at_s for unit in units] == sorted(unit.at_s for unit in units)


def test_single_jobs_have_an_id_or_an_idempotency_key_so_that_a_second_enqueue_is_the_same_job() -> None:
    for unit in make_plan(1, 1000).units:
        for planned in unit.jobs:
            assert ("id" in planned.job) + ("idempotency_key" in planned.job) == (0 if unit.batch else 1)
