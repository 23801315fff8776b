"""Workers that come, fall silent and go, and the one of them that leads the clock."""

from __future__ import annotations

import pytest
from ledger_checks import jobs_of
from ledger_driver import LEASE_S, LedgerDriver

from chatq.ledger.readiness import hindrances


def lose_once(ledger: LedgerDriver, name: str) -> None:
    """A worker begins the job and dies; the clock finds out."""
    ledger.worker(name)
    assert ledger.start()
    ledger.pass_s(31)
    ledger.tick("clock")


def test_a_claim_that_nobody_begins_goes_back_after_three_seconds(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.admit()
    assert ledger.tick().wait_ms == 1000
    ledger.pass_s(2.9)
    assert ledger.tick().wait_ms == 100
    assert ledger.admit() == []
    ledger.pass_s(0.1)
    assert ledger.tick().due_lanes == ["alpha/m"]
    assert len(ledger.admit()) == 1
    assert ledger.record(job_id).attempts == []


def test_a_claim_waits_for_a_worker_that_is_still_busy_with_earlier_messages(ledger: LedgerDriver) -> None:
    first, second, third = (ledger.add(id=name) for name in ("first", "second", "third"))
    ledger.worker()
    messages = {item.job_id: item for item in ledger.admit()}
    ledger.pass_s(2.9)
    ledger.begin(messages[first])
    ledger.pass_s(0.1)
    ledger.tick()
    assert ledger.admit() == []
    ledger.pass_s(2.8)
    ledger.begin(messages[second])
    ledger.pass_s(0.2)
    ledger.tick()
    assert ledger.begin(messages[third])


def test_a_claim_is_lost_when_its_worker_has_come_to_a_later_message(ledger: LedgerDriver) -> None:
    passed_over, later = (ledger.add(id=name) for name in ("passed-over", "later"))
    ledger.worker()
    messages = {item.job_id: item for item in ledger.admit()}
    ledger.pass_s(2.9)
    ledger.begin(messages[later])
    ledger.pass_s(0.1)
    ledger.tick()
    assert [item.job_id for item in ledger.admit()] == [passed_over]


def test_a_claim_is_lost_when_its_worker_has_come_to_no_message_for_three_seconds(
    ledger: LedgerDriver,
) -> None:
    first, _lost = (ledger.add(id=name) for name in ("first", "lost"))
    ledger.worker()
    messages = {item.job_id: item for item in ledger.admit()}
    ledger.pass_s(1)
    ledger.begin(messages[first])
    ledger.pass_s(2)
    ledger.tick()
    assert ledger.admit() == []
    ledger.pass_s(1)
    ledger.tick()
    assert [item.job_id for item in ledger.admit()] == ["lost"]


def test_what_is_in_the_queue_of_a_worker_that_comes_to_nothing_is_thrown_away_with_its_claims(
    ledger: LedgerDriver,
) -> None:
    """Else a slow worker would get through old messages until the next ones are old as well."""
    queue = ledger.ledger.keys.worker_queue("w1")
    ledger.worker()
    ledger.add_many(2)
    messages = ledger.admit()
    ledger.begin(messages[0])
    ledger.client.lpush(queue, "message")
    ledger.pass_s(2.9)
    ledger.tick()
    assert ledger.client.llen(queue) == 1
    ledger.pass_s(0.1)
    ledger.tick()
    assert ledger.client.llen(queue) == 0


def test_a_worker_that_came_to_nothing_gets_few_messages_at_a_time_until_it_keeps_up(
    ledger: LedgerDriver,
) -> None:
    """Else it would be late with all of them again."""
    ledger.add_many(50)
    ledger.worker()
    assert len(ledger.admit()) == 50
    ledger.pass_s(3)
    ledger.tick()
    few = ledger.admit()
    assert len(few) == 8
    assert ledger.why() == ("claims", 5)
    assert all(ledger.begin(job) for job in few)
    assert len(ledger.admit()) == 16


def test_what_is_in_the_queue_of_a_worker_that_goes_on_stays(ledger: LedgerDriver) -> None:
    queue = ledger.ledger.keys.worker_queue("w1")
    ledger.worker()
    ledger.add_many(2)
    messages = ledger.admit()
    ledger.client.lpush(queue, "message")
    ledger.pass_s(2.9)
    ledger.begin(messages[1])
    ledger.pass_s(0.2)
    ledger.tick()
    assert ledger.client.llen(queue) == 1


def test_a_stale_message_shows_as_well_that_a_worker_goes_on(ledger: LedgerDriver) -> None:
    ledger.add(id="first")
    ledger.worker()
    [stale] = ledger.admit()
    ledger.pass_s(3)
    ledger.tick()
    [current] = ledger.admit()
    ledger.pass_s(2.9)
    assert not ledger.begin(stale)
    ledger.pass_s(0.1)
    ledger.tick()
    assert ledger.begin(current)


def test_jobs_of_a_silent_worker_go_back_in_line_as_lost(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.start()
    ledger.pass_s(30)
    assert ledger.tick("w2").dead_workers == ["w1"]
    record = ledger.record(job_id)
    [attempt] = record.attempts
    assert record.state == "queued"
    assert (attempt.error_code, attempt.counted, attempt.maybe_charged) == ("worker_lost", False, True)
    ledger.worker("w2")
    assert [job.job_id for job in ledger.start()] == [job_id]


def test_claims_of_a_dead_worker_go_back_with_it_and_without_an_attempt(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.pass_s(29)
    ledger.admit()
    ledger.pass_s(1)
    assert ledger.tick("w2").dead_workers == ["w1"]
    assert ledger.record(job_id).attempts == []
    assert not [key for key in ledger.everything() if "w1" in key]


def test_a_worker_that_renews_keeps_what_it_holds(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    for _ in range(10):
        ledger.pass_s(20)
        assert ledger.renew() == ("renewed", [])
        assert ledger.tick().dead_workers == []
    assert ledger.settle(job).state == "succeeded"


def test_a_worker_that_was_given_up_is_told_so_and_may_come_back(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.pass_s(31)
    ledger.tick("w2")
    assert ledger.renew() == ("lost", [])
    assert ledger.settle(job).state == "stale"
    ledger.worker()
    assert len(ledger.start()) == 1


def test_a_worker_stays_dead_while_its_jobs_go_back_in_chunks(ledger: LedgerDriver) -> None:
    """It wakes between two ticks: what it still holds is not its own any more, and it may not register yet."""
    ledger.add_many(5)
    ledger.worker()
    ledger.start()
    ledger.pass_s(31)
    assert ledger.tick("w2", most=2).wait_ms == 0
    assert ledger.renew() == ("lost", [])
    anew = ledger.ledger.renew("w1", lease_s=30, slots=5, facts={}, registered=False)
    assert ledger.run(anew).status == "lost"
    while ledger.tick("w2", most=2).wait_ms == 0:
        pass
    assert ledger.run(anew).status == "registered"
    assert ledger.everything()["room"] == {"w1": 5.0}


def test_a_lost_job_fails_when_its_connection_must_never_pay_twice(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.publish("d", b"{}", {"on_worker_lost:alpha": "fail"}))
    job_id = ledger.add()
    lose_once(ledger, "w1")
    record = ledger.record(job_id)
    assert (record.state, record.error and record.error.code) == ("failed", "worker_lost")
    assert record.attempts[0].maybe_charged


def test_a_cancelled_job_whose_worker_dies_is_cancelled(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.start()
    ledger.run(ledger.ledger.cancel(job_id))
    ledger.pass_s(31)
    ledger.tick("w2")
    assert ledger.state(job_id) == "cancelled"


def test_a_worker_hears_what_to_stop_until_it_has_let_go(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    held = ledger.start()
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.cancels("w1"))
    heard.get_message(timeout=1)
    ledger.run(ledger.ledger.cancel("j1"))
    message = heard.get_message(timeout=1)
    heard.close()
    assert message is not None
    assert message["data"] == b"j1"
    assert ledger.renew() == ("renewed", ["j1"])
    assert ledger.renew() == ("renewed", ["j1"])
    ledger.settle(held[0], "cancelled")
    assert ledger.renew() == ("renewed", [])


def test_a_draining_worker_gives_its_claims_back_at_once_and_keeps_its_calls(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker()
    [held] = ledger.start(most=1)
    ledger.admit(most=2)
    assert ledger.run(ledger.ledger.drain("w1", leave=False)) == 2
    assert [ledger.state(job) for job in ("j1", "j2", "j3")] == ["running", "queued", "queued"]
    assert ledger.settle(held).admitted == []
    assert ledger.state("j1") == "succeeded"


def test_a_message_that_a_drain_overtook_begins_nothing(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.admit()
    ledger.run(ledger.ledger.drain("w1", leave=False))
    assert not ledger.begin(job)


def test_a_worker_that_leaves_loses_what_it_still_holds_and_leaves_no_trace(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    ledger.tick()
    ledger.start()
    assert ledger.run(ledger.ledger.drain("w1", leave=True)) == 2
    assert ledger.record("j1").attempts[0].error_code == "worker_lost"
    assert ledger.run(ledger.ledger.drain("w1", leave=True)) == 0
    assert not [key for key in ledger.everything() if "w1" in key or key in {"workers", "room", "leader"}]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7])
def test_a_drain_in_chunks_puts_everything_back_once(ledger: LedgerDriver, most: int) -> None:
    ledger.add_many(6)
    ledger.worker()
    ledger.start(most=3)
    ledger.admit(most=3)
    counts = [ledger.run(ledger.ledger.drain("w1", leave=True, most=most))]
    while counts[-1] == most:
        counts.append(ledger.run(ledger.ledger.drain("w1", leave=True, most=most)))
    assert sum(counts) == 6
    assert [len(ledger.record(f"j{number}").attempts) for number in range(1, 7)] == [1, 1, 1, 0, 0, 0]
    assert not [key for key in ledger.everything() if "w1" in key]


def test_one_worker_leads_and_the_others_are_told_when_to_ask_again(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    assert ledger.tick("w1").leads
    ledger.pass_s(1)
    second = ledger.tick("w2")
    assert (second.leads, second.wait_ms) == (False, 2000)


def test_another_worker_leads_three_seconds_after_the_leader_fell_silent(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    ledger.tick("w1")
    ledger.pass_s(2.999)
    assert not ledger.tick("w2").leads
    ledger.pass_s(0.001)
    assert ledger.tick("w2").leads
    assert not ledger.tick("w1").leads


def test_another_worker_leads_at_once_when_the_leader_leaves(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    ledger.tick("w1")
    ledger.run(ledger.ledger.drain("w1", leave=True))
    assert ledger.tick("w2").leads


def test_who_is_no_registered_worker_does_not_keep_the_lead(ledger: LedgerDriver) -> None:
    ledger.worker("w2")
    assert ledger.tick("ghost").leads
    assert ledger.tick("w2").leads


def test_the_clock_of_a_worker_that_does_not_lead_changes_nothing(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    ledger.add(expires_in=1)
    ledger.tick("w1")
    ledger.pass_s(2)
    before = ledger.everything()
    ledger.tick("w2")
    assert ledger.everything() == before


def test_no_lease_is_judged_before_its_worker_could_renew_it_after_a_restart(ledger: LedgerDriver) -> None:
    """The server was away for a minute: every lease ran out, and every worker lives."""
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.tick("w2", run_id="before")
    ledger.pass_s(60)
    ticked = ledger.tick("w2", run_id="after")
    assert (ticked.dead_workers, ledger.state(job.job_id)) == ([], "running")
    ledger.pass_s(29)
    assert ledger.renew() == ("renewed", [])
    assert ledger.settle(job).state == "succeeded"


def test_a_worker_that_died_with_the_server_is_found_after_the_grace(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.start()
    ledger.tick("w2", run_id="before")
    ledger.pass_s(60)
    for _ in range(10):
        assert ledger.tick("w2", run_id="after").dead_workers == []
        ledger.pass_s(3)
    assert ledger.tick("w2", run_id="after").dead_workers == ["w1"]
    assert ledger.state(job_id) == "queued"


def test_no_lease_is_judged_before_its_worker_could_renew_it_when_the_server_refused_to_write(
    ledger: LedgerDriver,
) -> None:
    """For a minute: no clock could tick and no worker renew, and the answer of the call waits in its worker."""
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.tick("w2")
    ledger.pass_s(60)
    assert ledger.tick("w2").dead_workers == []
    ledger.pass_s(2)
    assert ledger.renew() == ("renewed", [])
    assert ledger.settle(job).state == "succeeded"


def test_a_worker_that_died_while_nobody_kept_time_is_found_soon_after(ledger: LedgerDriver) -> None:
    """All workers were gone; w2 is the first that comes back."""
    job_id = ledger.add()
    ledger.worker()
    ledger.start()
    ledger.tick("w1")
    ledger.pass_s(60)
    ledger.worker("w2")
    assert ledger.tick("w2").dead_workers == []
    ledger.pass_s(3)
    assert ledger.tick("w2").dead_workers == ["w1"]
    assert ledger.state(job_id) == "queued"


def test_that_a_leader_died_is_no_grace_for_it(ledger: LedgerDriver) -> None:
    ledger.worker("w2")
    ledger.run(ledger.ledger.renew("w1", lease_s=2, slots=1, facts={}, registered=False))
    ledger.tick("w1")
    ledger.pass_s(4)
    assert ledger.tick("w2").dead_workers == ["w1"]


def test_messages_get_their_time_again_after_a_restart(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    ledger.tick("w2", run_id="before")
    [job] = ledger.admit()
    ledger.pass_s(10)
    ledger.tick("w2", run_id="after")
    assert ledger.begin(job)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_tick_moves_more_than_its_number_of_jobs(ledger: LedgerDriver, most: int) -> None:
    """Lost, due, expired, cancelled and purged jobs at once, 20 in all."""
    ledger.run(ledger.ledger.publish("d", b"{}", {"keep_ms": 40_000}))
    ledger.worker()
    ledger.add_many(4, "beta")
    ledger.start("beta/m")
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.add_many(4, batch="b")
    purged = ledger.add_many(4)
    for job_id in purged:
        ledger.run(ledger.ledger.cancel(job_id))
    ledger.pass_s(1)
    ledger.add_many(4, not_before=20)
    ledger.add_many(4, expires_in=20)
    ledger.pass_s(40)
    ledger.run(ledger.ledger.cancel_batch("b", 1))
    before = _moved(ledger)
    while ledger.tick("w2", most=most).wait_ms == 0:
        now = _moved(ledger)
        assert len(before - now) <= most
        before = now
    assert ledger.tick("w2").wait_ms > 0
    states = [ledger.run(ledger.ledger.read([f"j{number}"]))[0] for number in range(1, 21)]
    assert sum(state is None for state in states) == 4


def _moved(ledger: LedgerDriver) -> set[tuple[str, str]]:
    """Each job that is known, with its place."""
    return {(job_id, job["place"]) for job_id, job in jobs_of(ledger.everything()).items()}


def test_the_overview_tells_workers_and_what_waits_and_runs(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker(slots=7)
    ledger.start(most=1)
    ledger.pass_s(10)
    overview = ledger.run(ledger.ledger.overview(["alpha", "beta"]))
    [worker] = overview.workers
    assert (worker.id, worker.slots, worker.held, worker.lease_left_ms) == ("w1", 7, 1, 20_000)
    counts = {name: (facts.queued, facts.running) for name, facts in overview.connections.items()}
    assert counts == {"alpha": (2, 1), "beta": (0, 0)}


def test_a_worker_that_died_alone_is_no_worker_although_nobody_takes_it_away(ledger: LedgerDriver) -> None:
    ledger.worker()
    job = ledger.add()
    ledger.pass_s(LEASE_S)
    overview = ledger.run(ledger.ledger.overview([]))
    assert overview.workers == []
    assert [hindrance.message for hindrance in hindrances(overview)] == ["No worker is alive."]
    said = ledger.run(ledger.ledger.why(job)) or {}
    assert (said["reason"], said["workers"], said["no_estimate"]) == ("no_worker", "0", "no_worker")
    assert ledger.run(ledger.ledger.price("alpha", "m")) is None
