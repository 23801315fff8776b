"""The reckoning of `chatq verify` finds what must not be: each test makes up one thing that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chatq_sandbox.counts import Tally
from chatq_sandbox.verify.evidence import BatchSeen, Change, Evidence, Struck
from chatq_sandbox.verify.reckoning import longest_stall_ms, reckon

KILLED_MS = 1_767_225_610_000.0
"""2026-01-01T00:00:10Z, ten seconds after the start."""


def moment(second: float) -> str:
    return f"2026-01-01T00:00:{second:06.3f}Z"


def attempt(start: float = 1, end: float = 2, **facts: Any) -> dict[str, Any]:
    return {
        "started_at": moment(start),
        "ended_at": moment(end),
        "http_status": 200,
        "error_code": None,
        "counted": True,
        "maybe_charged": False,
        **facts,
    }


def lost(start: float = 9, end: float = 12) -> dict[str, Any]:
    return attempt(start, end, http_status=None, error_code="worker_lost", counted=False, maybe_charged=True)


def record(name: str, *attempts: Mapping[str, Any], state: str = "succeeded", **facts: Any) -> dict[str, Any]:
    attempts = attempts or (attempt(),)
    return {
        "id": f"id-{name}",
        "state": state,
        "attempts": attempts,
        "finished_at": attempts[-1]["ended_at"],
        "metadata": {"name": name},
        **facts,
    }


def calls(received: int = 1, *, charged: int | None = None, rate_limited: int = 0) -> dict[str, Any]:
    tally = Tally()
    tally.received, tally.charged = received, received if charged is None else charged
    tally.refused = {"rate_limited": rate_limited}
    return tally.as_json()


def evidence(*records: Mapping[str, Any], **facts: Any) -> Evidence:
    """Of a run in which all went well: each record is that of an acknowledged job, called as often as it says."""
    names = [str(one["metadata"]["name"]) for one in records]
    return replace(
        Evidence(
            ends={name: frozenset({"succeeded"}) for name in names},
            acknowledged={name: f"id-{name}" for name in names},
            records=records,
            unfinished={},
            announced={f"id-{name}": 1 for name in names},
            changes=[],
            calls={
                name: calls(len(one["attempts"]), charged=1) for name, one in zip(names, records, strict=True)
            },
        ),
        **facts,
    )


def found(evidence: Evidence) -> dict[str, Sequence[str]]:
    return {finding.what.partition(":")[0]: finding.jobs for finding in reckon(evidence).findings}


def test_a_run_in_which_all_went_well_holds() -> None:
    ledger = reckon(evidence(record("a"), record("b")))
    assert ledger.holds
    assert (ledger.jobs, ledger.acknowledged, ledger.states) == (2, 2, {"succeeded": 2})
    assert (ledger.lost, ledger.doubled, ledger.changed_after_final, ledger.paid_twice) == (0, 0, 0, 0)


def test_an_acknowledged_job_without_a_record_is_lost() -> None:
    ledger = reckon(evidence(record("a"), acknowledged={"a": "id-a", "b": "id-b"}))
    assert (ledger.lost, ledger.holds) == (1, False)


def test_a_job_that_never_became_final_is_lost() -> None:
    run = evidence(
        record("a"), acknowledged={"a": "id-a", "b": "id-b"}, unfinished={"id-b": ("running", "b")}
    )
    assert reckon(run).lost == 1
    assert found(run)["lost"] == ["b (id-b: running)"]


def test_an_acknowledged_id_under_which_another_job_stands_is_lost() -> None:
    run = evidence(record("a"), acknowledged={"a": "id-a", "b": "id-a"})
    assert found(run)["lost"] == ["b (not in the server)"]


def test_a_job_of_a_batch_is_known_by_its_name() -> None:
    assert reckon(evidence(record("a"), acknowledged={"a": None})).holds


def test_what_was_not_acknowledged_may_be_there_or_not() -> None:
    run = evidence(record("a"), record("b"), acknowledged={"a": "id-a"})
    ledger = reckon(run)
    assert (ledger.holds, ledger.unacknowledged) == (True, 1)


def test_two_records_of_one_job_are_doubled() -> None:
    twin = {**record("a"), "id": "id-twin"}
    ledger = reckon(evidence(record("a"), twin))
    assert (ledger.doubled, ledger.holds) == (2, False)


def test_a_second_job_of_the_same_name_that_never_ended_is_doubled() -> None:
    assert reckon(evidence(record("a"), unfinished={"id-twin": ("queued", "a")})).doubled == 2


def test_a_job_that_a_batch_lists_twice_is_doubled() -> None:
    batch = BatchSeen("b1", ["id-a", "id-a"], {"total": 1, "succeeded": 1})
    run = evidence(record("a", batch="b1"), batches=[batch])
    assert found(run)["doubled"] == ["id-a"]


def test_a_record_that_was_another_when_it_was_read_again_has_changed() -> None:
    ledger = reckon(evidence(record("a"), changes=[Change("id-a", "before", "after")]))
    assert (ledger.changed_after_final, ledger.holds) == (1, False)


def test_a_job_that_was_announced_twice_became_final_twice() -> None:
    ledger = reckon(evidence(record("a"), announced={"id-a": 2}))
    assert (ledger.announced_twice, ledger.holds) == (1, False)


def test_a_job_whose_announcement_was_not_heard_is_no_fault() -> None:
    assert reckon(evidence(record("a"), announced={})).holds


def test_a_call_paid_in_vain_is_explained_by_an_attempt_that_is_maybe_charged() -> None:
    run = evidence(
        record("a", lost(), attempt(12, 13)),
        calls={"a": calls(2)},
        struck=[Struck("worker killed", KILLED_MS, KILLED_MS)],
    )
    ledger = reckon(run)
    assert ledger.holds
    assert (ledger.paid_twice, ledger.in_flight_at_a_kill, ledger.paid_unexplained) == (1, 1, 0)


def test_a_call_paid_in_vain_is_explained_by_an_answer_that_did_not_come_whole() -> None:
    broken = attempt(http_status=None, error_code="connect_error")
    ledger = reckon(evidence(record("a", broken, attempt(2, 3)), calls={"a": calls(2)}))
    assert ledger.holds
    assert (ledger.paid_twice, ledger.answer_broken) == (1, 1)


def test_a_call_paid_in_vain_after_a_refusal_is_unexplained() -> None:
    refused = attempt(http_status=503, error_code="server_error")
    ledger = reckon(evidence(record("a", refused, attempt(2, 3)), calls={"a": calls(2)}))
    assert (ledger.paid_twice, ledger.paid_unexplained, ledger.holds) == (1, 1, False)


def test_a_failed_job_that_was_paid_without_its_record_saying_so_is_unexplained() -> None:
    run = evidence(
        record("a", attempt(error_code="invalid_request"), state="failed", error={"code": "invalid_request"}),
        ends={"a": frozenset({"failed:invalid_request"})},
    )
    assert found(run) == {"paid more often than its record says": ["a"]}


def test_a_call_that_the_record_does_not_list_is_found() -> None:
    ledger = reckon(evidence(record("a"), calls={"a": calls(2, charged=1)}))
    assert (ledger.unlisted_calls, ledger.holds) == (1, False)


def test_a_call_of_a_job_that_is_not_there_is_found() -> None:
    run = evidence(record("a"), calls={"a": calls(), "ghost": calls()})
    assert found(run) == {"called more often than its record says": ["ghost"]}


def test_an_attempt_that_was_never_sent_may_be_listed() -> None:
    unsent = attempt(http_status=None, error_code="connect_error")
    assert reckon(evidence(record("a", unsent, attempt(2, 3)), calls={"a": calls(1)})).holds


def test_a_worker_that_was_thought_dead_without_a_fault_is_found() -> None:
    run = evidence(
        record("a", lost(30, 33), attempt(33, 34)), struck=[Struck("worker killed", KILLED_MS, KILLED_MS)]
    )
    assert found(run) == {"thought lost, and no fault had struck its worker": ["id-a"]}


def test_a_fault_of_the_provider_does_not_explain_a_lost_worker() -> None:
    run = evidence(
        record("a", lost(), attempt(12, 13)), struck=[Struck("provider down", KILLED_MS, KILLED_MS)]
    )
    assert "thought lost, and no fault had struck its worker" in found(run)


def test_a_job_that_ended_as_nothing_in_the_plan_explains_is_found() -> None:
    failed = record("a", state="failed", error={"code": "worker_lost"})
    run = evidence(failed, calls={"a": calls(1, charged=0)})
    assert found(run) == {"ended as it should not": ["id-a (failed:worker_lost)"]}


def test_a_job_may_end_in_each_way_of_its_plan() -> None:
    failed = record("a", state="failed", error={"code": "redirected"})
    run = evidence(
        failed, calls={"a": calls(1, charged=0)}, ends={"a": frozenset({"succeeded", "failed:redirected"})}
    )
    assert reckon(run).holds


@pytest.mark.parametrize(
    "batch",
    [
        BatchSeen("b1", ["id-a"], {"total": 2, "succeeded": 2}),
        BatchSeen("b1", ["id-a"], {"total": 1, "succeeded": 0, "running": 1}),
        BatchSeen("b1", [], {"total": 1, "succeeded": 1}),
    ],
    ids=["more than there are", "in another state", "not listed"],
)
def test_a_batch_that_counts_otherwise_is_found(batch: BatchSeen) -> None:
    run = evidence(record("a", batch="b1"), batches=[batch])
    assert found(run) == {"batch that tells other counts than its jobs have": ["b1"]}


def test_jobs_that_the_overview_still_counts_are_found() -> None:
    assert found(evidence(record("a"), left_over=2)) == {
        "left over in the counts of what waits and runs": ["2 jobs"]
    }


def test_tracebacks_and_workers_that_ended_by_themselves_are_found() -> None:
    run = evidence(record("a"), complaints=["worker-1 ended"], tracebacks=["worker-2.log:7: KeyError"])
    assert found(run) == {
        "processes": ["worker-1 ended"],
        "tracebacks in workers' logs": ["worker-2.log:7: KeyError"],
    }


def test_429s_of_the_providers_own_limits_are_counted_by_connection() -> None:
    run = evidence(
        record("paced-1", attempt(http_status=429, error_code="rate_limited", counted=False), attempt(2, 3)),
        calls={"paced-1": calls(2, charged=1, rate_limited=1)},
    )
    assert reckon(run).refused_beyond == {"paced": 1}


def test_a_stall_is_the_longest_time_between_two_ends() -> None:
    assert longest_stall_ms([500, 1200, 1300, 5000, 5100], 1000, 6000) == 3700


def test_a_stall_is_counted_until_the_next_fault_strikes() -> None:
    assert longest_stall_ms([1100, 1200, 9000], 1000, 2500) == 1300
    assert longest_stall_ms([1100, 1200, 9000], 1000, 1150) == 100


def test_nothing_is_stalled_when_nothing_is_left_to_do() -> None:
    assert longest_stall_ms([500], 1000, 2000) == 0


def test_after_a_killed_worker_the_time_until_its_jobs_are_back_counts() -> None:
    run = evidence(
        record("a", lost(9, 12.5), attempt(12.5, 13)),
        record("b", attempt(9, 10.5)),
        struck=[Struck("worker killed", KILLED_MS, KILLED_MS)],
    )
    (recovery,) = reckon(run).recoveries
    assert (recovery.name, recovery.judged, recovery.longest_s, recovery.met) == (
        "worker killed",
        1,
        2.5,
        True,
    )


def test_a_bar_that_was_missed_is_told_and_is_no_loss() -> None:
    over = Struck("server killed", KILLED_MS, KILLED_MS + 1000)
    run = evidence(record("a", attempt(9, 10.5)), record("b", attempt(17, 18)), struck=[over])
    ledger = reckon(run)
    (recovery,) = ledger.recoveries
    assert (recovery.longest_s, recovery.bar_s, recovery.met, ledger.holds) == (7.0, 5.0, False, True)


def test_a_fault_that_another_struck_upon_is_not_held_against_its_bar() -> None:
    run = evidence(
        record("a", attempt(9, 18)),
        struck=[
            Struck("server killed", KILLED_MS, KILLED_MS + 1000),
            Struck("worker killed", KILLED_MS + 500, KILLED_MS + 500),
        ],
    )
    assert [(recovery.struck, recovery.judged) for recovery in reckon(run).recoveries] == [(1, 0), (1, 0)]


def test_for_the_leader_it_counts_how_soon_another_leads() -> None:
    run = evidence(record("a"), struck=[Struck("leader killed", KILLED_MS, KILLED_MS + 2600)])
    (recovery,) = reckon(run).recoveries
    assert (recovery.longest_s, recovery.bar_s) == (2.6, 3.0)
