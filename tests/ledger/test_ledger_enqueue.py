"""Enqueueing: ids, idempotency keys, the backlog limit, and where a new job waits."""

from __future__ import annotations

import gc
from dataclasses import fields

from ledger_checks import jobs_of
from ledger_driver import LedgerDriver

from chatq.contract.job import Job
from chatq.ledger.entry import Entry


def enqueue(ledger: LedgerDriver, *jobs: dict[str, object], batch: str = "") -> list[tuple[str, str]]:
    return list(ledger.enqueue(*(ledger.entry(**job) for job in jobs), batch=batch).jobs)


def test_a_known_id_with_the_same_job_is_that_job(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"id": "own"})
    assert enqueue(ledger, {"id": "own"}) == [("same", "own")]


def test_a_known_id_with_another_job_is_a_conflict(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"id": "own"})
    assert enqueue(ledger, {"id": "own", "prompt": "Say no"}) == [("conflict", "own")]
    assert ledger.run(ledger.ledger.read(["own"]))[0] is not None


def test_metadata_is_not_compared(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"id": "own", "metadata": {"a": "1"}})
    assert enqueue(ledger, {"id": "own", "metadata": {"a": "2"}}) == [("same", "own")]


def test_an_idempotency_key_gives_the_id_of_the_first_job(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"idempotency_key": "k"})
    assert enqueue(ledger, {"idempotency_key": "k"}) == [("same", "j1")]
    assert "entry:j2" not in ledger.everything()


def test_an_idempotency_key_of_another_job_is_a_conflict(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"idempotency_key": "k"})
    assert enqueue(ledger, {"idempotency_key": "k", "priority": 9}) == [("conflict", "j1")]


def test_an_idempotency_key_holds_also_after_the_job_failed(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"idempotency_key": "k"})
    ledger.worker()
    ledger.settle(ledger.start()[0], "failed")
    assert enqueue(ledger, {"idempotency_key": "k"}) == [("same", "j1")]


def test_an_idempotency_key_ends_with_its_record(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"idempotency_key": "k"})
    ledger.run(ledger.ledger.cancel("j1"))
    ledger.run(ledger.ledger.delete("j1"))
    assert enqueue(ledger, {"idempotency_key": "k"}) == [("new", "j2")]


def test_an_idempotency_key_counts_within_one_call_too(ledger: LedgerDriver) -> None:
    key = {"idempotency_key": "k"}
    assert enqueue(ledger, key, key, key | {"priority": 0}) == [
        ("new", "j1"),
        ("same", "j1"),
        ("conflict", "j1"),
    ]


def test_a_doubled_id_within_one_call_is_one_job(ledger: LedgerDriver) -> None:
    job = {"id": "own"}
    assert enqueue(ledger, job, job, job | {"priority": 0}) == [
        ("new", "own"),
        ("same", "own"),
        ("conflict", "own"),
    ]
    assert ledger.everything()["totals"]["jobs"] == "1"


def test_a_job_has_no_hash_until_something_becomes_of_it(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.run(ledger.ledger.move_batch("b", "beta", "m"))
    waiting = ledger.add(batch="b", custom_id="c", expires_in=60), ledger.add(not_before=5, expires_in=60)
    stored = ledger.everything()
    assert not [key for key in stored if key.startswith("job:")]
    assert [jobs_of(stored)[job_id]["place"] for job_id in waiting] == ["line", "later"]
    ledger.worker()
    ledger.pass_s(5)
    ledger.tick()
    assert jobs_of(ledger.everything())[waiting[1]]["place"] == "line"
    ledger.pass_s(55)
    ledger.tick()
    assert [ledger.state(job_id) for job_id in waiting] == ["expired", "expired"]


def test_an_idempotency_key_belongs_to_its_tenant(ledger: LedgerDriver) -> None:
    key = {"idempotency_key": "k"}
    replies = enqueue(ledger, key, key | {"tenant": "a"}, key | {"tenant": "b"})
    assert [status for status, _ in replies] == ["new", "new", "new"]


def test_a_custom_id_belongs_to_its_batch(ledger: LedgerDriver) -> None:
    for batch in ("one", "two"):
        ledger.run(ledger.ledger.open_batch(batch, {}, 60))
    job = {"custom_id": "c"}
    assert enqueue(ledger, job, job, batch="one") == [("new", "j1"), ("same", "j1")]
    assert enqueue(ledger, job, batch="two") == [("new", "j3")]


def test_a_custom_id_ends_with_the_record_of_its_job(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    job = {"custom_id": "c"}
    enqueue(ledger, job, job | {"idempotency_key": "k"}, batch="b")
    for job_id in ("j1", "j2"):
        ledger.run(ledger.ledger.cancel(job_id))
    ledger.run(ledger.ledger.delete("j2"))
    assert enqueue(ledger, job, batch="b") == [("same", "j1")]  # the other job went by its own key
    ledger.run(ledger.ledger.delete("j1"))
    assert enqueue(ledger, job, batch="b") == [("new", "j4")]


def test_a_call_tells_what_is_new_and_what_is_known_in_order(ledger: LedgerDriver) -> None:
    enqueue(ledger, {"id": "known"}, {"id": "other", "priority": 9})
    jobs = [{"id": "first"}, {"id": "known"}, {"id": "second"}, {"id": "other"}, {"id": "first"}]
    assert enqueue(ledger, *jobs) == [
        ("new", "first"),
        ("same", "known"),
        ("new", "second"),
        ("conflict", "other"),
        ("same", "first"),
    ]


def test_no_tenant_name_reaches_the_custom_ids_of_a_batch(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    enqueue(ledger, {"custom_id": "c"}, batch="b")
    assert enqueue(ledger, {"tenant": "batch:b", "idempotency_key": "c"}) == [("new", "j2")]


def test_a_full_backlog_refuses_the_whole_call_and_writes_nothing(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    before = ledger.everything()
    done = ledger.enqueue(ledger.entry(idempotency_key="k"), ledger.entry(expires_in=5), jobs=3)
    assert (done.refused, done.backlog_jobs, done.jobs) == ("full", 2, ())
    assert ledger.everything() == before


def test_the_backlog_is_full_by_bytes_as_well(ledger: LedgerDriver) -> None:
    entry = ledger.entry()
    room = len(entry.request)
    assert ledger.enqueue(entry, bytes_=room - 1).refused == "full"
    assert ledger.enqueue(entry, bytes_=room).refused is None
    assert ledger.enqueue(ledger.entry(), bytes_=room).backlog_bytes == room


def test_when_it_is_full_the_moment_to_try_again_goes_by_how_fast_jobs_end(ledger: LedgerDriver) -> None:
    def told_ms(jobs: int = 1, room: int = 30) -> int:
        return ledger.enqueue(*(ledger.entry() for _ in range(jobs)), jobs=room).retry_after_ms

    ledger.worker()
    ledger.tick()
    ledger.add_many(40)
    assert told_ms() == 2000  # nobody knows yet
    for job in ledger.start(most=10):
        ledger.settle(job)
    ledger.pass_s(5)
    ledger.tick()
    assert told_ms() == 1000  # 2 a second end; there is room for 30, 30 are there, and one is too much
    assert told_ms(jobs=10) == 5000
    assert told_ms(room=21) == 5000
    ledger.pass_s(10)
    ledger.tick()
    assert told_ms() == 60_000  # none end


def test_by_bytes_as_well(ledger: LedgerDriver) -> None:
    ledger.worker()
    ledger.tick()
    ledger.add_many(40)
    for job in ledger.start(most=10):
        ledger.settle(job)
    ledger.pass_s(5)
    ledger.tick()
    entry = ledger.entry()
    each = len(entry.request)
    assert ledger.enqueue(entry, bytes_=each * 25).retry_after_ms == 3000  # six are too much


def test_a_full_backlog_still_answers_for_known_jobs(ledger: LedgerDriver) -> None:
    known = ledger.entry()
    ledger.enqueue(known)
    assert ledger.enqueue(known, jobs=1).jobs == [("same", "j1")]


def test_running_jobs_are_part_of_the_backlog_and_final_ones_are_not(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [held] = ledger.start()
    assert ledger.enqueue(ledger.entry(), jobs=1).refused == "full"
    ledger.settle(held)
    assert ledger.enqueue(ledger.entry(), jobs=1).refused is None


def test_a_batch_that_is_unknown_sealed_or_cancelled_takes_no_jobs(ledger: LedgerDriver) -> None:
    for batch in ("sealed", "cancelled"):
        ledger.run(ledger.ledger.open_batch(batch, {}, 60))
    ledger.run(ledger.ledger.seal("sealed"))
    ledger.run(ledger.ledger.cancel_batch("cancelled"))
    before = ledger.everything()
    refusals = [
        ledger.enqueue(ledger.entry(), batch=batch).refused for batch in ("unknown", "sealed", "cancelled")
    ]
    assert refusals == ["no_batch"] * 3
    assert ledger.everything() == before


def test_each_lane_is_kicked_once_a_call(ledger: LedgerDriver) -> None:
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.kick)
    heard.get_message(timeout=1)
    ledger.enqueue(
        *(ledger.entry(name, tenant=tenant) for name in ("alpha", "beta") for tenant in ("s", "t"))
    )
    messages = [heard.get_message(timeout=1) for _ in range(2)]
    assert sorted(message["data"] for message in messages if message) == [b"alpha/m", b"beta/m"]
    assert heard.get_message() is None
    heard.close()


def test_a_job_that_is_not_due_waits_without_a_slot_until_its_moment(ledger: LedgerDriver) -> None:
    job = ledger.add(not_before=60)
    ledger.worker()
    assert ledger.why()[0] == "empty"
    assert ledger.tick().wait_ms == 1000
    ledger.pass_s(59.5)
    ledger.renew()
    assert ledger.tick().wait_ms == 500
    ledger.pass_s(0.5)
    assert ledger.tick().due_lanes == ["alpha/m"]
    assert [item.job_id for item in ledger.admit()] == [job]


def test_a_moment_in_the_past_is_now(ledger: LedgerDriver) -> None:
    job = ledger.add(not_before="2001-01-01T00:00:00Z")
    ledger.worker()
    assert [item.job_id for item in ledger.admit()] == [job]


def test_a_job_that_does_not_start_in_time_expires(ledger: LedgerDriver) -> None:
    job = ledger.add(expires_in=5)
    ledger.worker()
    ledger.pass_s(4.999)
    ledger.tick()
    assert ledger.state(job) == "queued"
    ledger.pass_s(0.001)
    ledger.tick()
    record = ledger.record(job)
    assert (record.state, record.error and record.error.code, record.started_at) == (
        "expired",
        "expired",
        None,
    )


def test_a_job_that_is_not_yet_due_expires_as_well(ledger: LedgerDriver) -> None:
    job = ledger.add(not_before=60, expires_in=5)
    ledger.worker()
    ledger.pass_s(5)
    ledger.tick()
    assert ledger.state(job) == "expired"


def test_expiry_does_not_stop_a_call_but_the_next_attempt(ledger: LedgerDriver) -> None:
    job = ledger.add(expires_in=5)
    ledger.worker()
    [held] = ledger.start()
    ledger.pass_s(10)
    ledger.tick()
    assert ledger.state(job) == "running"
    assert ledger.settle(held, "retrying", counted=True).state == "expired"
    assert ledger.record(job).attempts[0].number == 1


def test_a_call_that_ends_well_after_the_expiry_is_a_success(ledger: LedgerDriver) -> None:
    job = ledger.add(expires_in=5)
    ledger.worker()
    [held] = ledger.start()
    ledger.pass_s(10)
    ledger.tick()
    ledger.settle(held)
    assert ledger.state(job) == "succeeded"


def test_an_entry_holds_nothing_that_the_collector_of_garbage_would_look_into() -> None:
    """Of a large batch hundreds are held at a time: this took a seventh of the time to enqueue one."""
    job = Job(
        connection="alpha",
        prompt="Say hi",
        custom_id="line-1",
        metadata={"a": "b"},
        params={"max_tokens": 5},
        tenant="t",
    )
    entry = Entry.of(job, "j1", job.request(max_bytes=1000), "m", {"temperature": 1})
    assert not [field.name for field in fields(Entry) if gc.is_tracked(getattr(entry, field.name))]
