"""Batches: open, growing, sealed, cancelled, ended, read in the order of completion, purged."""

from __future__ import annotations

import orjson
import pytest
from ledger_driver import LedgerDriver

from chatq.contract.record import Batch
from chatq.ledger.call_facts import Spent

DAY_S = 86_400


def open_batch(ledger: LedgerDriver, name: str = "b", keep_s: float = 60) -> str:
    assert ledger.run(ledger.ledger.open_batch(name, {"who": 'me "ü"'}, keep_s))
    return name


def read(ledger: LedgerDriver, name: str = "b") -> Batch:
    raw = ledger.run(ledger.ledger.read_batch(name))
    assert raw is not None
    return Batch.model_validate_json(raw)


def results(ledger: LedgerDriver, cursor: int = 0, **limits: int) -> tuple[int, bool, list[str]]:
    found = ledger.run(ledger.ledger.results("b", cursor, **limits))
    assert found is not None
    return found[0], found[1], [orjson.loads(raw)["id"] for raw in found[2]]


def test_a_batch_tells_its_counts_and_metadata(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(4, batch="b")
    ledger.worker()
    one, _, _ = ledger.start(most=3)
    ledger.settle(one)
    batch = read(ledger)
    assert batch.counts.model_dump() == {
        "total": 4, "queued": 1, "running": 2, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0,
    }  # fmt: skip
    assert (batch.sealed, batch.ended, batch.metadata) == (False, False, {"who": 'me "ü"'})


def test_a_batch_ends_when_it_is_sealed_and_all_its_jobs_are_final(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add(batch="b")
    ledger.worker()
    [job] = ledger.start()
    ledger.run(ledger.ledger.seal("b"))
    assert not read(ledger).ended
    ledger.settle(job)
    assert read(ledger).ended


def test_a_batch_whose_jobs_are_final_ends_when_it_is_sealed(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.run(ledger.ledger.cancel(ledger.add(batch="b")))
    assert not read(ledger).ended
    ledger.run(ledger.ledger.seal("b"))
    assert read(ledger).ended


def test_an_empty_batch_ends_when_it_is_sealed(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    assert ledger.run(ledger.ledger.seal("b"))
    assert read(ledger).ended


def test_a_batch_id_is_used_once(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    assert not ledger.run(ledger.ledger.open_batch("b", {}, 60))


def test_nothing_is_known_of_an_unknown_batch(ledger: LedgerDriver) -> None:
    calls = ledger.ledger
    assert ledger.run(calls.seal("b")) is False
    assert ledger.run(calls.read_batch("b")) is None
    assert ledger.run(calls.results("b", 0)) is None
    assert ledger.run(calls.cancel_batch("b")) == "unknown"


def test_results_come_in_the_order_of_completion(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(3, batch="b")
    ledger.worker()
    one, two, three = ledger.start()
    ledger.settle(three)
    ledger.settle(one)
    assert results(ledger) == (2, False, ["j3", "j1"])
    ledger.run(ledger.ledger.seal("b"))
    assert results(ledger, 2) == (2, False, [])
    ledger.settle(two)
    assert results(ledger, 2) == (3, True, ["j2"])


def test_results_are_cut_by_number_and_by_bytes(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(3, batch="b")
    ledger.worker()
    for job in ledger.start():
        ledger.settle(job)
    ledger.run(ledger.ledger.seal("b"))
    assert results(ledger, 0, most=2) == (2, False, ["j1", "j2"])
    assert results(ledger, 1, most_bytes=1) == (2, False, ["j2"])
    assert results(ledger, 2, most_bytes=1) == (3, True, ["j3"])


def test_results_pass_over_deleted_records(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(2, batch="b")
    ledger.worker()
    for job in ledger.start():
        ledger.settle(job)
    ledger.run(ledger.ledger.delete("j1"))
    assert results(ledger) == (2, False, ["j2"])


def test_followers_hear_of_every_job_and_of_the_end(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add(batch="b")
    heard = ledger.client.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(ledger.ledger.keys.batch_done("b"))
    heard.get_message(timeout=1)
    ledger.run(ledger.ledger.seal("b"))
    ledger.run(ledger.ledger.cancel("j1"))
    messages = [heard.get_message(timeout=1) for _ in range(2)]
    heard.close()
    assert sorted(message["data"] for message in messages if message) == [b"ended", b"j1"]


def test_a_cancelled_batch_is_final_but_for_its_running_jobs(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(4, batch="b")
    ledger.add(batch="b", not_before=60)
    ledger.worker()
    [running] = ledger.start(most=1)
    ledger.admit(most=1)
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "done"
    assert [ledger.state(f"j{number}") for number in range(1, 6)] == ["running"] + ["cancelled"] * 4
    assert ledger.renew() == ("renewed", ["j1"])
    assert not read(ledger).ended
    ledger.settle(running, "cancelled")
    assert read(ledger).ended
    assert ledger.run(ledger.ledger.cancel_batch("b")) == "ended"


def test_no_job_of_a_cancelled_batch_is_admitted_while_the_rest_is_swept(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.add_many(6, batch="b")
    single = ledger.add()
    ledger.worker()
    assert ledger.run(ledger.ledger.cancel_batch("b", 2)) == "more"
    assert [job.job_id for job in ledger.admit()] == [single]
    ledger.tick()
    assert read(ledger).counts.cancelled == 6


@pytest.mark.parametrize("way", ["settled", "claim ran out", "worker lost", "due"])
def test_a_job_that_comes_back_does_not_reopen_its_cancelled_batch(ledger: LedgerDriver, way: str) -> None:
    """The sweep has not come to it yet: it is the last of its batch."""
    open_batch(ledger)
    ledger.add_many(3, batch="b", priority=0)
    job_id = ledger.add(batch="b", not_before=20 if way == "due" else 0, priority=0, model="n")
    ledger.worker()
    admitted = ledger.admit("alpha/n")
    if way in {"settled", "worker lost"}:
        assert ledger.begin(admitted[0])
    ledger.run(ledger.ledger.cancel_batch("b", 1))
    if way == "settled":
        ledger.settle(admitted[0], "queued")
    else:
        ledger.pass_s(31 if way == "worker lost" else 20)
        ledger.tick("w2", most=1)
    assert ledger.state(job_id) == "cancelled"
    assert "flows:alpha/n" not in ledger.everything()


def test_a_batch_of_final_jobs_that_is_cancelled_in_chunks_ends(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    for _ in range(2):
        ledger.run(ledger.ledger.cancel(ledger.add(batch="b")))
    assert ledger.run(ledger.ledger.cancel_batch("b", 2)) == "more"
    ledger.tick()
    assert read(ledger).ended


def test_a_batch_that_nobody_seals_is_sealed_a_day_after_its_last_job(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.pass_s(DAY_S / 2)
    ledger.run(ledger.ledger.cancel(ledger.add(batch="b")))
    ledger.pass_s(DAY_S - 1)
    ledger.tick()
    assert not read(ledger).sealed
    ledger.pass_s(1)
    ledger.tick()
    assert (read(ledger).sealed, read(ledger).ended) == (True, True)


def test_a_batch_is_purged_with_its_jobs_counted_from_its_end(ledger: LedgerDriver) -> None:
    open_batch(ledger, keep_s=60)
    ledger.run(ledger.ledger.cancel(ledger.add(batch="b", custom_id="c")))
    ledger.pass_s(3600)
    ledger.run(ledger.ledger.seal("b"))
    ledger.pass_s(59)
    ledger.tick()
    assert results(ledger) == (1, True, ["j1"])
    ledger.pass_s(1)
    ledger.tick()
    assert not [
        key
        for key in ledger.everything()
        if key.startswith(("batch:", "entry:", "job:", "result:", "idem:", "ended"))
    ]


def test_a_large_batch_is_purged_in_chunks(ledger: LedgerDriver) -> None:
    for name in ("b", "empty"):
        open_batch(ledger, name)
    ledger.add_many(7, batch="b")
    for name in ("b", "empty"):
        ledger.run(ledger.ledger.cancel_batch(name))
    ledger.pass_s(60)
    left = [7]
    while ledger.tick(most=3).wait_ms == 0:
        left.append(sum(key.startswith("job:") for key in ledger.everything()))
    assert left == [7, 4, 1]
    assert not [key for key in ledger.everything() if key.startswith(("batch:", "entry:", "job:", "ended"))]


def test_a_deleted_jobs_id_is_free_and_its_old_batch_leaves_the_new_job_alone(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    ledger.run(ledger.ledger.cancel(ledger.add(id="own", batch="b")))
    ledger.run(ledger.ledger.delete("own"))
    ledger.add(id="own")
    assert results(ledger) == (1, False, [])
    ledger.run(ledger.ledger.cancel_batch("b"))
    assert ledger.state("own") == "queued"
    ledger.pass_s(60)
    ledger.worker()
    ledger.tick()
    assert ledger.run(ledger.ledger.read_batch("b")) is None
    assert [job.job_id for job in ledger.start()] == ["own"]


def test_what_its_answers_used_and_cost_is_summed_up(ledger: LedgerDriver) -> None:
    open_batch(ledger)
    assert (read(ledger).usage.total_tokens, read(ledger).cost_usd, read(ledger).uncosted) == (0, None, 0)
    ledger.add_many(4, batch="b")
    ledger.worker()
    known, unknown, failed, again = ledger.start()
    ledger.settle(known, spent=Spent(100, 20, 0.000123456))
    ledger.settle(unknown, spent=Spent(7, 1, None))
    ledger.settle(failed, "failed", outcome="request")
    ledger.fail(again)
    batch = read(ledger)
    assert (batch.usage.prompt_tokens, batch.usage.completion_tokens, batch.usage.total_tokens) == (
        107,
        21,
        128,
    )
    assert (batch.cost_usd, batch.uncosted) == (0.000123456, 1)
    assert ledger.everything()["connection:alpha"]["cost"] == "123456"
