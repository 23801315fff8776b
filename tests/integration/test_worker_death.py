"""Workers that die, or are silent for longer than their lease: no job is lost, no record is written twice."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from installation import WAIT_S, Install, until

ONLY_THE_LAST_CALL_COUNTS = [("worker_lost", False, True), (None, True, False)]


def test_killing_a_worker_in_the_middle_of_500_calls_repeats_its_calls_and_no_others(
    install: Install,
) -> None:
    """Before the kill 50 jobs had ended, 500 ran on two workers and 100 waited."""
    installation = install(worker={"slots": 250, "lease": "5s"})
    first, _second = installation.start_workers(2)
    before = installation.queue.enqueue_batch([f"job:before-{n}" for n in range(50)], "sim")
    assert len(installation.follow(before.id)) == 50

    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(600)], "sim")
    installation.await_in_flight(500)
    first.kill()
    assert installation.simulator.wait(aborted=250, timeout_s=WAIT_S)
    installation.release_answers()
    records = installation.follow(batch.id)

    assert len(records) == len({record.id for record in records}) == 600
    assert {record.state for record in records} == {"succeeded"}
    tallies = installation.simulator.counts()["jobs"]
    in_flight_at_the_kill = {name for name, tally in tallies.items() if tally["aborted"]}
    assert len(in_flight_at_the_kill) == 250
    for record in records:
        assert record.result is not None
        name = record.result.text.split()[2].removeprefix("job:")
        called_twice = name in in_flight_at_the_kill
        assert tallies[name]["received"] == (2 if called_twice else 1)
        attempts = [(a.error_code, a.counted, a.maybe_charged) for a in record.attempts]
        assert attempts == (ONLY_THE_LAST_CALL_COUNTS if called_twice else ONLY_THE_LAST_CALL_COUNTS[1:])
    assert {tallies[f"before-{n}"]["received"] for n in range(50)} == {1}
    assert installation.queue.batch(batch.id).counts.succeeded == 600


@pytest.mark.thorough
def test_a_job_that_must_never_be_paid_twice_fails_when_its_worker_dies(install: Install) -> None:
    connection = {
        "source": "custom", "url": "simulator", "model": "demo", "retry": {"on_worker_lost": "fail"},
    }  # fmt: skip
    installation = install(connections={"never-twice": connection}, worker={"slots": 10, "lease": "1s"})
    first = installation.start_worker()
    installation.hold_answers()
    job = installation.queue.enqueue("never-twice", "job:never-twice Say hi")
    installation.await_in_flight(1)
    first.kill()
    installation.start_worker()
    installation.release_answers()
    record = installation.queue.wait(job.id, WAIT_S)
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert [attempt.maybe_charged for attempt in record.attempts] == [True]
    assert installation.calls() == {"never-twice": 1}


@pytest.mark.thorough
def test_a_job_that_kills_every_worker_is_found_and_its_40_neighbours_succeed(install: Install) -> None:
    """Whichever worker has begun the job is killed, while its neighbours are in flight as long as they may be."""
    installation = install(worker={"slots": 100, "lease": "1s"})
    prompts = [f"job:innocent-{n} Say hi" for n in range(40)]
    prompts.insert(20, "job:poison [sim: silence]")
    installation.hold_answers()
    batch = installation.queue.enqueue_batch(
        [{"prompt": prompt, "custom_id": prompt.split()[0]} for prompt in prompts], "sim"
    )
    worker = installation.start_worker()
    for in_flight in (41, 41, 30):
        installation.await_in_flight(in_flight)
        worker.kill()
        worker = installation.start_worker()
    installation.release_answers()
    assert installation.simulator.wait(job="poison", received=4, timeout_s=WAIT_S)
    worker.kill()
    installation.start_worker()

    records = {record.custom_id: record for record in installation.follow(batch.id)}
    poison = records.pop("job:poison")
    assert poison.error is not None
    assert (poison.state, poison.error.code, len(poison.attempts)) == ("failed", "worker_lost", 4)
    assert Counter(record.state for record in records.values()) == {"succeeded": 40}
    assert installation.simulator.counts("poison")["received"] == 4


@pytest.mark.thorough
def test_when_the_leader_of_the_clock_is_killed_another_leads_and_jobs_go_on(install: Install) -> None:
    installation = install(worker={"slots": 10, "lease": "2s"})
    installation.start_workers(2)
    leader = until(installation.leader, "a leader")
    due_later = installation.queue.enqueue("sim", "job:due-later", not_before="1s")
    killed_ms = installation.now_ms()
    leader.kill()
    until(lambda: installation.leader() not in (None, leader), "another leader")
    # A leader may be silent for 2.5 s; the rest is for a busy machine.
    assert installation.now_ms() - killed_ms < 5000
    assert installation.queue.wait(due_later.id, WAIT_S).state == "succeeded"
    assert installation.run("sim", "job:after").state == "succeeded"


@pytest.mark.thorough
def test_the_answers_of_a_worker_that_was_suspended_past_its_lease_change_nothing(install: Install) -> None:
    installation = install(worker={"slots": 20, "lease": "1s"})
    suspended = installation.start_worker()
    installation.hold_answers()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(20)], "sim")
    installation.await_in_flight(20)

    suspended.send(signal.SIGSTOP)
    other = installation.start_worker()
    installation.await_in_flight(40)  # the calls of the suspended one are still open
    installation.release_answers()
    records = {record.id: record for record in installation.follow(batch.id)}
    suspended.send(signal.SIGCONT)
    until(lambda: installation.redis.hget("chatq:totals", "stale") == "20", "20 refused answers")

    assert {record.state for record in records.values()} == {"succeeded"}
    assert {name: installation.queue.get(name) for name in records} == records
    assert installation.queue.batch(batch.id).counts.succeeded == 20
    assert set(installation.calls().values()) == {2}
    # It registers anew, under its old name, and goes on working.
    until(lambda: len(installation.registered()) == 2, "the suspended worker to register")
    other.kill()
    assert installation.run("sim", "job:afterwards").state == "succeeded"
