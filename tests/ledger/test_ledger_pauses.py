"""Connections that are paused, by an operator or because the provider refused the account, and how that ends."""

from __future__ import annotations

import pytest
from ledger_checks import leftovers
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted


def start_one(ledger: LedgerDriver, lane: str = "alpha/m") -> Admitted:
    [job] = ledger.start(lane, most=1)
    return job


def refused_once(ledger: LedgerDriver) -> str:
    """A connection that is paused because its account was refused; the job's id."""
    ledger.worker()
    job_id = ledger.add()
    ledger.refuse(start_one(ledger))
    assert ledger.paused() == {"alpha": "unauthorized"}
    return job_id


# An operator pauses


def test_nothing_of_a_paused_connection_goes_and_what_comes_waits(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    ledger.pause()
    ledger.add(priority=9)
    assert ledger.admit() == []
    assert ledger.everything()["parked"] == {"5\x1falpha\x1fm\x1fsingle", "9\x1falpha\x1fm\x1fsingle"}


def test_calls_under_way_end_as_they_would(ledger: LedgerDriver) -> None:
    ledger.worker()
    job_id = ledger.add()
    job = start_one(ledger)
    ledger.pause()
    ledger.settle(job)
    assert ledger.state(job_id) == "succeeded"


def test_a_job_that_was_admitted_before_and_has_not_begun_is_not_called(ledger: LedgerDriver) -> None:
    ledger.worker()
    job_id = ledger.add()
    [job] = ledger.admit()
    ledger.pause()
    assert not ledger.begin(job)
    assert (ledger.state(job_id), ledger.record(job_id).attempts) == ("queued", [])


def test_a_job_that_comes_back_while_its_connection_is_paused_waits(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    job = start_one(ledger)
    ledger.pause()
    ledger.settle(job, "queued")
    assert ledger.admit() == []


def test_a_job_whose_moment_comes_while_its_connection_is_paused_waits(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add(not_before=5)
    ledger.pause()
    ledger.pass_s(5)
    ledger.tick()
    assert ledger.admit() == []
    ledger.resume()
    assert len(ledger.admit()) == 1


def test_other_connections_of_the_account_go_on(ledger: LedgerDriver) -> None:
    ledger.publish({"account:alpha": "alpha", "account:beta": "alpha"})
    ledger.worker()
    ledger.add("alpha")
    other = ledger.add("beta")
    ledger.pause("alpha")
    assert [job.job_id for job in ledger.admit("alpha/m")] == [other]


def test_a_paused_job_expires_and_can_be_cancelled(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.pause()
    expiring, cancelled = ledger.add(expires_in=5), ledger.add()
    ledger.run(ledger.ledger.cancel(cancelled))
    ledger.pass_s(5)
    ledger.tick()
    assert (ledger.state(expiring), ledger.state(cancelled)) == ("expired", "cancelled")
    assert "parked" not in ledger.everything()


def test_a_batch_that_is_cancelled_while_its_connection_is_paused_leaves_nothing(
    ledger: LedgerDriver,
) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.pause()
    ledger.add_many(5, batch="b")
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    ledger.resume()
    ledger.pass_s(60)
    ledger.tick()
    assert leftovers(ledger.everything()) == set()


def test_a_pause_says_who_why_and_since_when(ledger: LedgerDriver) -> None:
    ledger.pause()
    assert ledger.run(ledger.ledger.paused()) == {
        "alpha": {
            "code": "operator",
            "message": "Later.",
            "remedy": "Resume it: chatq connections resume alpha",
            "since": "2027-01-15T08:00:00.000Z",
        }
    }


def test_what_is_not_paused_cannot_be_resumed(ledger: LedgerDriver) -> None:
    assert not ledger.resume()
    assert "connection:alpha" not in ledger.everything()


def test_calls_set_in_by_one_after_a_pause(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(20)
    ledger.pause()
    ledger.resume()
    assert len(ledger.start()) == 1
    assert ledger.why()[0] == "ramp"


def test_a_call_that_began_before_a_pause_and_ends_after_it_makes_no_room_for_more(
    ledger: LedgerDriver,
) -> None:
    ledger.worker()
    ledger.add_many(20)
    ledger.pause()
    ledger.resume()
    earlier = start_one(ledger)
    ledger.pause()
    ledger.resume()
    start_one(ledger)
    assert ledger.settle(earlier, "queued").admitted == []
    assert ledger.why()[0] == "ramp"


def test_a_pause_is_not_charged_to_a_jobs_time(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    ledger.fail(start_one(ledger))
    ledger.pass_s(2)
    ledger.pause()
    ledger.pass_s(3600)
    ledger.resume()
    ledger.worker("w2")
    ledger.tick("w2")
    [job] = ledger.admit()
    assert ledger.begun(job).since_first_call_ms == 2000


def test_jobs_of_a_paused_connection_wait_when_it_is_taken_out_of_the_settings(ledger: LedgerDriver) -> None:
    ledger.publish({"account:alpha": "alpha"})
    ledger.worker()
    ledger.add()
    ledger.pause()
    ledger.publish({"account:beta": "beta"})
    assert ledger.admit() == []
    assert ledger.resume()
    assert len(ledger.admit()) == 1


# The provider refuses the account


def test_a_refused_account_pauses_the_connection_and_burns_no_job(ledger: LedgerDriver) -> None:
    job_id = refused_once(ledger)
    assert (ledger.state(job_id), ledger.counted(job_id)) == ("queued", 0)
    assert ledger.admit() == []


def test_the_first_reason_is_kept(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    first, second = ledger.start()
    ledger.refuse(first, code="quota_exhausted")
    ledger.refuse(second, code="unauthorized")
    assert ledger.paused() == {"alpha": "quota_exhausted"}


def test_jobs_whose_calls_are_refused_during_the_pause_wait_too(ledger: LedgerDriver) -> None:
    ledger.worker()
    jobs = ledger.add_many(10)
    for job in ledger.start():
        ledger.refuse(job)
    assert {(ledger.state(id_), ledger.counted(id_)) for id_ in jobs} == {("queued", 0)}


def test_a_late_refusal_of_a_call_from_before_the_resume_does_not_pause_again(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(2)
    first, late = ledger.start()
    ledger.refuse(first)
    ledger.pass_s(1)
    ledger.resume()
    assert ledger.refuse(late).state == "queued"
    assert ledger.paused() == {}


def test_a_refusal_after_the_resume_pauses_again_and_still_burns_no_job(ledger: LedgerDriver) -> None:
    job_id = refused_once(ledger)
    ledger.resume()
    ledger.refuse(start_one(ledger))
    assert ledger.paused() == {"alpha": "unauthorized"}
    assert ledger.counted(job_id) == 0


def test_a_check_that_proves_the_account_resumes_the_connection(ledger: LedgerDriver) -> None:
    refused_once(ledger)
    assert ledger.resume(proof=True)
    assert len(ledger.admit()) == 1


def test_a_job_that_is_refused_again_after_a_check_proved_the_account_fails(ledger: LedgerDriver) -> None:
    job_id = refused_once(ledger)
    ledger.pass_s(1)
    ledger.resume(proof=True)
    assert ledger.refuse(start_one(ledger)).state == "failed"
    assert ledger.counted(job_id) == 1
    assert ledger.paused() == {}


def test_another_job_that_is_refused_after_that_proof_pauses_again(ledger: LedgerDriver) -> None:
    job_id = refused_once(ledger)
    ledger.run(ledger.ledger.cancel(job_id))
    ledger.pass_s(1)
    ledger.resume(proof=True)
    ledger.add()
    ledger.refuse(start_one(ledger))
    assert ledger.paused() == {"alpha": "unauthorized"}


def test_no_proof_lifts_an_operators_pause(ledger: LedgerDriver) -> None:
    ledger.pause()
    assert not ledger.resume(proof=True)
    assert ledger.paused() == {"alpha": "operator"}


def test_an_operators_pause_of_a_connection_that_is_paused_already_is_theirs(ledger: LedgerDriver) -> None:
    refused_once(ledger)
    ledger.pause()
    assert not ledger.resume(proof=True)
    assert ledger.paused() == {"alpha": "operator"}


def test_a_refusal_does_not_take_over_an_operators_pause(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    job = start_one(ledger)
    ledger.pause()
    ledger.refuse(job)
    assert ledger.paused() == {"alpha": "operator"}
    assert not ledger.resume(proof=True)


def test_only_the_refused_model_lane_sets_in_by_one_and_only_of_that_connection(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add_many(3, "beta")
    refused_once_more = ledger.add()
    ledger.refuse(start_one(ledger))
    ledger.resume()
    assert ledger.state(refused_once_more) == "queued"
    assert len(ledger.admit("beta/m")) == 3


# Nothing is there (404)


def miss(ledger: LedgerDriver, times: int) -> list[str]:
    """So many 404s; the states of the jobs."""
    states = []
    for _ in range(times):
        ledger.add()
        states.append(ledger.refuse(start_one(ledger), outcome="missing", code="not_found").state)
    return states


def test_the_fifth_404_pauses_a_connection_on_which_nothing_ever_worked(ledger: LedgerDriver) -> None:
    ledger.worker()
    assert miss(ledger, 5) == ["failed"] * 4 + ["queued"]
    assert ledger.paused() == {"alpha": "not_found"}


def test_a_404_is_the_jobs_own_when_a_call_of_the_connection_ever_worked(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.add()
    ledger.settle(start_one(ledger))
    assert miss(ledger, 20) == ["failed"] * 20
    assert ledger.paused() == {}


def test_new_settings_begin_the_count_of_404s_anew(ledger: LedgerDriver) -> None:
    ledger.publish({"account:alpha": "alpha"})
    ledger.worker()
    miss(ledger, 4)
    ledger.publish({"account:alpha": "alpha", "keep_ms": 60_000})
    assert miss(ledger, 4) == ["failed"] * 4


def test_a_404_after_new_settings_says_that_these_never_worked(ledger: LedgerDriver) -> None:
    ledger.publish({"account:alpha": "alpha"})
    ledger.worker()
    ledger.add()
    ledger.settle(start_one(ledger))
    ledger.publish({"account:alpha": "alpha", "keep_ms": 60_000})
    assert miss(ledger, 5)[-1] == "queued"


def test_late_404s_of_calls_from_before_the_resume_burn_no_job_and_do_not_pause_again(
    ledger: LedgerDriver,
) -> None:
    ledger.worker()
    ledger.add_many(10)
    late = ledger.start()
    miss(ledger, 5)
    ledger.pass_s(1)
    ledger.resume()
    assert {ledger.refuse(job, outcome="missing").state for job in late} == {"queued"}
    assert ledger.paused() == {}


@pytest.mark.parametrize("outcome", ["account", "missing"])
def test_a_refusal_by_a_fallback_pauses_the_fallback(ledger: LedgerDriver, outcome: str) -> None:
    ledger.publish(
        {"account:alpha": "alpha", "account:beta": "beta", "model:beta": "m", "fallback:alpha": "beta"}
    )
    ledger.worker()
    ledger.pause("alpha")
    ledger.add_many(5)
    for job in ledger.start("beta/m"):
        ledger.refuse(job, outcome=outcome)  # type: ignore[arg-type]
    assert ledger.paused() == {"alpha": "operator", "beta": "unauthorized"}
