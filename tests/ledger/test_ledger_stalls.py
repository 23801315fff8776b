"""Workers that renew their lease and come to none of their messages: others lose nothing by them."""

from __future__ import annotations

from ledger_driver import LedgerDriver

from chatq.contract.why import explained
from chatq.ledger.replies import Admitted


def deaf_beside_hearing(ledger: LedgerDriver) -> list[Admitted]:
    """`deaf` and `hearing` have 10 slots each; what `deaf` was given has run out, and is in line again."""
    ledger.worker("hearing", slots=10)
    ledger.worker("deaf", slots=10)
    ledger.add_many(20)
    admitted = ledger.admit()
    for job in admitted:
        if job.worker == "hearing":
            assert ledger.begin(job)
            ledger.settle(job)
    ledger.pass_s(3)
    ledger.tick("hearing")
    return [job for job in admitted if job.worker == "deaf"]


def stalled(ledger: LedgerDriver, name: str = "deaf") -> float | None:
    """For how many seconds a worker has stalled, None when it has not."""
    workers = ledger.run(ledger.ledger.overview([])).workers
    ms = {worker.id: worker.stalled_ms for worker in workers}[name]
    return None if ms is None else ms / 1000


def test_a_worker_that_begins_nothing_is_given_nothing_while_another_hears(ledger: LedgerDriver) -> None:
    assert len(deaf_beside_hearing(ledger)) == 10
    ledger.add_many(20)
    assert [job.worker for job in ledger.admit()] == ["hearing"] * 10
    assert ledger.why() == ("slots", 1000)


def test_a_worker_that_begins_nothing_is_told_at_once_and_at_each_renewal(ledger: LedgerDriver) -> None:
    ledger.worker("deaf")
    ledger.add()
    ledger.admit()
    told = ledger.client.pubsub(ignore_subscribe_messages=True)
    told.subscribe(ledger.ledger.keys.cancels("deaf"))
    told.get_message(timeout=1)
    assert not ledger.told_stalled("deaf")
    ledger.pass_s(3)
    ledger.tick("deaf")
    assert told.get_message(timeout=1) is not None
    told.close()
    assert ledger.told_stalled("deaf")
    assert ledger.told_stalled("deaf")


def test_the_overview_says_how_long_a_worker_has_stalled(ledger: LedgerDriver) -> None:
    deaf_beside_hearing(ledger)
    ledger.pass_s(7)
    assert (stalled(ledger), stalled(ledger, "hearing")) == (7, None)


def test_a_stalled_worker_that_comes_to_a_message_takes_jobs_again(ledger: LedgerDriver) -> None:
    first, *_ = deaf_beside_hearing(ledger)
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.kick)
    heard.get_message(timeout=1)
    assert not ledger.begin(first)  # a stale message shows it as well
    assert heard.get_message(timeout=1) is not None, "the clock was not kicked"
    heard.close()
    assert stalled(ledger) is None
    assert not ledger.told_stalled("deaf")
    ledger.add_many(20)
    # Few at a time at first: 8, and one more for the message that it came to.
    assert sorted(job.worker for job in ledger.admit()) == ["deaf"] * 9 + ["hearing"] * 10


def test_a_stalled_worker_that_comes_to_a_message_of_its_own_takes_jobs_again(ledger: LedgerDriver) -> None:
    deaf_beside_hearing(ledger)
    ledger.run(ledger.ledger.hear("deaf"))
    assert stalled(ledger) is None
    assert {job.worker for job in ledger.admit()} == {"deaf", "hearing"}


def test_when_all_workers_have_stalled_jobs_are_given_out_all_the_same_a_few_at_a_time(
    ledger: LedgerDriver,
) -> None:
    """What they are given is what shows that one hears again."""
    ledger.worker("deaf", slots=10)
    ledger.add_many(15)
    assert len(ledger.admit()) == 10
    ledger.pass_s(3)
    ledger.tick("deaf")
    assert stalled(ledger) == 0
    again = ledger.admit()
    assert [job.worker for job in again] == ["deaf"] * 8
    assert ledger.begin(again[0])
    assert stalled(ledger) is None


def test_of_a_job_that_a_stalled_worker_was_given_why_says_so(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker("deaf")
    ledger.admit()
    ledger.pass_s(3)
    ledger.tick("deaf")
    ledger.admit()
    why = explained(job_id, ledger.run(ledger.ledger.why(job_id)) or {})
    assert (why.reason, why.worker) == ("stalled", "deaf")
    assert why.message.startswith("Worker deaf was given it, but comes to none of its messages")
    assert why.remedy is not None


def test_what_a_stalled_worker_holds_ends_and_gives_its_slots_back(ledger: LedgerDriver) -> None:
    ledger.worker("deaf", slots=10)
    ledger.add_many(2)
    [held] = ledger.start(most=1)
    ledger.admit()
    ledger.pass_s(3)
    ledger.tick("deaf")
    assert ledger.everything()["stalled"] == {"deaf": 9}
    settled = ledger.settle(held)
    assert (settled.state, len(settled.admitted)) == ("succeeded", 1)  # there is no other worker
    assert ledger.everything()["stalled"] == {"deaf": 9}
    ledger.run(ledger.ledger.hear("deaf"))
    assert ledger.everything()["room"] == {"deaf": 9}


def test_a_lost_message_is_no_stall_of_a_worker_that_came_to_a_later_one(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.add_many(2)
    _lost, later = ledger.admit()
    assert ledger.begin(later)
    ledger.pass_s(3.5)
    ledger.tick("w1")
    assert stalled(ledger, "w1") is None


def test_a_worker_that_is_behind_with_its_messages_has_not_stalled(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.add_many(3)
    first, second, _third = ledger.admit()
    for job in (first, second):
        ledger.pass_s(2.9)
        assert ledger.begin(job)
        ledger.tick("w1")
    assert stalled(ledger, "w1") is None


def test_a_stalled_worker_that_stops_leaves_nothing_behind(ledger: LedgerDriver) -> None:
    deaf_beside_hearing(ledger)
    ledger.run(ledger.ledger.drain("deaf", leave=False))
    assert stalled(ledger) is None
    ledger.run(ledger.ledger.hear("deaf"))
    ledger.run(ledger.ledger.drain("deaf", leave=True))
    assert not [key for key, value in ledger.everything().items() if "deaf" in key or "deaf" in str(value)]


def test_a_leader_that_leaves_kicks_the_others_so_that_one_of_them_leads_at_once(
    ledger: LedgerDriver,
) -> None:
    ledger.worker("w1")
    ledger.worker("w2")
    assert ledger.tick("w1").leads
    assert not ledger.tick("w2").leads
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.kick)
    heard.get_message(timeout=1)
    ledger.run(ledger.ledger.drain("w1", leave=True))
    assert heard.get_message(timeout=1) is not None
    heard.close()
    assert ledger.tick("w2").leads


def test_the_overview_tells_how_long_the_clock_has_not_done_what_is_due(ledger: LedgerDriver) -> None:
    ledger.worker("w1")
    ledger.add()
    ledger.add("beta", not_before=1.0)
    ledger.pass_s(12)
    assert ledger.run(ledger.ledger.overview([])).overdue_ms == 12_000
    ledger.tick("w1")
    ledger.start()
    ledger.start("beta/m")
    assert ledger.run(ledger.ledger.overview([])).overdue_ms == 0
