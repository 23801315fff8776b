"""Beginning and settling: only the holder of the current token changes a job, and may say everything twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_driver import ANSWER, FAILURE, LedgerDriver, attempt

from chatq.contract.states import State


def test_begin_gives_the_request_as_it_was_enqueued(ledger: LedgerDriver) -> None:
    entry = ledger.entry(
        "alpha", messages=[{"role": "user", "content": "ü \x00 \U0001f600"}], params={"stop": []}
    )
    ledger.enqueue(entry)
    ledger.worker()
    [job] = ledger.admit()
    begun = ledger.run(ledger.ledger.begin(job.job_id, job.token, job.worker))
    assert begun is not None
    assert begun.request == entry.request
    assert (begun.connection, begun.model, begun.counted, begun.since_first_call_ms) == ("alpha", "m", 0, 0)


def test_begin_tells_attempts_and_time_since_the_first_call(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "retrying", counted=True, wait_s=2)
    ledger.pass_s(2)
    ledger.tick()
    [job] = ledger.admit()
    begun = ledger.run(ledger.ledger.begin(job.job_id, job.token, job.worker))
    assert begun is not None
    assert (begun.counted, begun.since_first_call_ms) == (1, 2000)


def test_begin_may_be_asked_again_when_its_reply_was_lost(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    before = ledger.everything()
    assert ledger.begin(job)
    assert ledger.everything() == before


def test_a_message_whose_claim_was_taken_back_begins_nothing(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [late] = ledger.admit()
    ledger.pass_s(3)
    ledger.tick()
    [again] = ledger.admit()
    assert not ledger.begin(late)
    assert ledger.begin(again)


def test_another_worker_with_the_token_begins_nothing(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.admit()
    assert not ledger.begin(replace(job, worker="w2"))


def test_a_message_of_a_cancelled_job_begins_nothing(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.admit()
    assert ledger.run(ledger.ledger.cancel(job_id)) == "cancelled"
    assert not ledger.begin(job)


def test_a_stale_token_changes_nothing_and_is_counted(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [late] = ledger.start()
    ledger.pass_s(31)
    ledger.tick()
    before = ledger.everything()
    assert ledger.settle(late).state == "stale"
    after = ledger.everything()
    assert after["totals"].pop("stale") == "1"
    assert after == before


def test_a_settlement_made_twice_counts_once(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    assert ledger.settle(job).state == "succeeded"
    before = ledger.everything()
    assert ledger.settle(job).state == "again"
    assert ledger.settle(job, "failed").state == "again"
    assert ledger.everything() == before


def test_a_settlement_lets_the_next_job_of_the_lane_go(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    [job] = ledger.start(most=1)
    [following] = ledger.settle(job).admitted
    assert (following.job_id, following.worker) == ("j2", "w1")
    assert ledger.begin(following)


def test_who_waits_for_a_job_hears_its_final_state(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.done(job_id))
    heard.get_message(timeout=1)
    ledger.settle(ledger.start()[0], "failed")
    message = heard.get_message(timeout=1)
    heard.close()
    assert message is not None
    assert message["data"] == b"failed"


def test_a_failed_job_keeps_its_request_so_that_it_can_be_tried_again(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    ledger.settle(ledger.start()[0], "failed")
    assert "entry:j1" in ledger.everything()


def test_of_a_job_that_did_not_fail_only_what_later_calls_ask_for_is_kept(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.add(batch="b", custom_id="c", metadata={"a": "b"}, expires_in=60)
    ledger.worker()
    ledger.settle(ledger.start()[0])
    kept = ledger.everything()["job:j1"]
    assert set(kept) == {"state", "place", "token", "flow", "custom", "digest"}
    assert "entry:j1" not in ledger.everything()


def test_tokens_never_repeat(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker()
    tokens = {job.token for job in ledger.admit(most=3)}
    ledger.pass_s(3)
    ledger.tick()
    tokens |= {job.token for job in ledger.admit(most=3)}
    assert len(tokens) == 6


def test_a_claim_that_could_not_be_published_goes_back_as_it_was(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "retrying", counted=True)
    ledger.pass_s(3)
    ledger.tick()
    [claim] = ledger.admit()
    assert ledger.settle(claim, "queued", attempt=b"").state == "retrying"
    record = ledger.record(job_id)
    assert (record.state, len(record.attempts)) == ("retrying", 1)


@pytest.mark.parametrize(
    ("state", "ending"),
    [("succeeded", ANSWER), ("failed", FAILURE), ("cancelled", FAILURE), ("retrying", b"")],
)
def test_an_outcome_counts_although_the_server_forgot_the_begin(
    ledger: LedgerDriver, state: str, ending: bytes
) -> None:
    """A server with fsync: everysec died after the begin; the worker settles again what it settled last."""
    job_id = ledger.add()
    ledger.worker()
    [claim] = ledger.admit()
    call = ledger.ledger.settle(
        claim.job_id, claim.token, State(state), attempt=attempt(), counted=True, ending=ending, wait_s=60
    )
    assert ledger.run(call).state == state
    record = ledger.record(job_id)
    assert (record.state, len(record.attempts)) == (state, 1)
    assert record.started_at is not None


def test_a_job_that_waits_after_a_settlement_goes_at_its_moment(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.settle(job, "retrying", wait_s=7.5, counted=True)
    assert ledger.tick().wait_ms == 1000
    ledger.pass_s(7)
    assert ledger.tick().wait_ms == 500
    ledger.pass_s(0.5)
    assert ledger.tick().due_lanes == ["alpha/m"]
    assert len(ledger.admit()) == 1


def test_a_wait_uses_no_slot_and_no_concurrency(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.publish("d", b"{}", {"concurrency:alpha": 1}))
    ledger.add_many(2)
    ledger.worker(slots=1)
    [job] = ledger.start()
    [following] = ledger.settle(job, "retrying", wait_s=60).admitted
    assert following.job_id == "j2"


def test_attempts_are_kept_in_order_with_their_times(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.pass_s(1.5)
    ledger.settle(job, "queued", attempt=attempt(code='"rate_limited"', status="429"), wait_s=60)
    ledger.pass_s(60)
    ledger.renew()
    ledger.tick()
    [job] = ledger.start()
    ledger.pass_s(0.25)
    ledger.settle(job)
    record = ledger.record(job_id)
    first, second = record.attempts
    assert (first.number, first.error_code, first.http_status) == (1, "rate_limited", 429)
    assert (second.number, second.error_code, second.http_status) == (2, None, 200)
    assert first.started_at == record.started_at
    assert first.ended_at is not None
    assert (first.ended_at - first.started_at).total_seconds() == 1.5
    assert (second.started_at - first.ended_at).total_seconds() == 60
    assert second.ended_at == record.finished_at


def test_a_running_job_that_is_cancelled_is_final_when_its_worker_says_so(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    assert ledger.run(ledger.ledger.cancel(job_id)) == "stopping"
    assert (ledger.state(job_id), ledger.record(job_id).cancel_requested) == ("running", True)
    assert ledger.settle(job, "cancelled").state == "cancelled"
    assert ledger.record(job_id).cancel_requested is False


def test_a_cancelled_job_that_would_be_tried_again_is_final(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.run(ledger.ledger.cancel(job_id))
    assert ledger.settle(job, "retrying", wait_s=60).state == "cancelled"


def test_a_cancelled_job_that_ends_well_first_is_a_success(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    [job] = ledger.start()
    ledger.run(ledger.ledger.cancel(job_id))
    assert ledger.settle(job).state == "succeeded"


def test_a_cancelled_running_job_keeps_its_slot_until_it_ends(ledger: LedgerDriver) -> None:
    ledger.add_many(20)
    ledger.worker(slots=10)
    held = ledger.start()
    ledger.run(ledger.ledger.cancel(held[0].job_id))
    assert ledger.admit() == []
    assert len(ledger.settle(held[0], "cancelled").admitted) == 1


@pytest.mark.parametrize("place", ["line", "later", "claim"])
def test_a_job_that_does_not_run_is_cancelled_at_once(ledger: LedgerDriver, place: str) -> None:
    job_id = ledger.add(not_before=60 if place == "later" else 0)
    ledger.worker()
    if place == "claim":
        ledger.admit()
    assert ledger.run(ledger.ledger.cancel(job_id)) == "cancelled"
    record = ledger.record(job_id)
    assert (record.state, record.error and record.error.code) == ("cancelled", "cancelled")


def test_cancelling_a_final_or_unknown_job_says_so(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.run(ledger.ledger.cancel(job_id))
    assert ledger.run(ledger.ledger.cancel(job_id)) == "cancelled"
    assert ledger.run(ledger.ledger.cancel("nobody")) == "unknown"


def test_only_a_final_job_can_be_deleted(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    assert ledger.run(ledger.ledger.delete(job_id)) == "queued"
    ledger.worker()
    [job] = ledger.start()
    assert ledger.run(ledger.ledger.delete(job_id)) == "running"
    ledger.settle(job)
    assert ledger.run(ledger.ledger.delete(job_id)) == "deleted"
    assert ledger.run(ledger.ledger.delete(job_id)) == "unknown"
    assert not [key for key in ledger.everything() if job_id in key]


def test_a_final_job_is_kept_for_its_time_and_then_forgotten(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.publish("d", b"{}", {"keep_ms": 60_000}))
    job_id = ledger.add(idempotency_key="k")
    ledger.worker()
    ledger.settle(ledger.start()[0])
    ledger.pass_s(59)
    ledger.renew()
    ledger.tick()
    assert ledger.state(job_id) == "succeeded"
    ledger.pass_s(1)
    ledger.tick()
    assert ledger.run(ledger.ledger.read([job_id])) == [None]
    assert not [
        key for key in ledger.everything() if key.startswith(("idem:", "entry:", "job:", "result:", "ended"))
    ]


def test_a_job_whose_connection_a_worker_does_not_know_goes_to_each_worker_in_turn(
    ledger: LedgerDriver,
) -> None:
    for name in ("w1", "w2", "w3"):
        ledger.worker(name)
    ledger.add()
    seen = []
    for _ in range(4):
        [job] = ledger.start()
        seen.append(job.worker)
        ledger.settle(job, "queued", attempt=b"", outcome="astray", wait_s=1, used="-")
        ledger.pass_s(1)
        ledger.tick()
    assert seen == ["w3", "w2", "w3", "w1"]
    assert ledger.record(job.job_id).attempts == []
