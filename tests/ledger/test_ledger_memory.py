"""A server that is out of memory: new work is refused and nothing of it written; what is there comes to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from ledger_driver import LedgerDriver

from chatq.contract.errors import ServerFull
from chatq.ledger.server import Server
from servers import RealServer


@contextlib.contextmanager
def out_of_memory(ledger: LedgerDriver) -> Iterator[None]:
    """The server's limit is far below what it uses already."""
    ledger.client.config_set("maxmemory-policy", "noeviction")
    ledger.client.config_set("maxmemory", 100_000)
    try:
        yield
    finally:
        ledger.client.config_set("maxmemory", 0)


def test_enqueue_is_refused_and_writes_nothing(real_ledger: LedgerDriver, valkey: RealServer) -> None:
    real_ledger.add()
    before = real_ledger.everything()
    server = Server(lambda: valkey.url)
    call = real_ledger.ledger.enqueue(
        [real_ledger.entry(idempotency_key="k", expires_in=5)], backlog_jobs=10, backlog_bytes=1 << 20
    )
    with out_of_memory(real_ledger), pytest.raises(ServerFull) as caught:
        server.run(call)
    assert "out of memory" in caught.value.message
    assert "maxmemory" in caught.value.remedy
    assert real_ledger.everything() == before
    assert server.run(call).jobs == [("new", "j2")]
    server.close()


def test_a_job_that_is_known_is_still_found(real_ledger: LedgerDriver) -> None:
    entry = real_ledger.entry()
    real_ledger.enqueue(entry)
    with out_of_memory(real_ledger):
        assert real_ledger.enqueue(entry).jobs == [("same", "j1")]


def test_jobs_are_admitted_begun_and_settled(real_ledger: LedgerDriver) -> None:
    real_ledger.add_many(3)
    real_ledger.worker()
    with out_of_memory(real_ledger):
        one, two = real_ledger.start(most=2)
        [three] = real_ledger.settle(one).admitted
        assert real_ledger.begin(three)
        real_ledger.settle(two, "retrying", outcome="transient", wait_s=60, counted=True)
        real_ledger.settle(three, "failed")
    assert [real_ledger.state(f"j{number}") for number in (1, 2, 3)] == ["succeeded", "retrying", "failed"]


@pytest.mark.parametrize("reason", ["empty", "no_worker", "slots", "concurrency", "cooling"])
def test_a_lane_of_which_nothing_can_go_says_why(real_ledger: LedgerDriver, reason: str) -> None:
    if reason != "empty":
        real_ledger.add_many(20)
    if reason != "no_worker":
        real_ledger.worker(slots=9)
    if reason == "concurrency":
        real_ledger.run(real_ledger.ledger.publish("d", b"{}", {"concurrency:alpha": 0}))
    if reason in {"slots", "cooling"}:
        held = real_ledger.start()
    if reason == "cooling":
        real_ledger.settle(held[0], "queued", cool_s=5)
    with out_of_memory(real_ledger):
        assert real_ledger.why()[0] == reason


def test_a_stale_settlement_is_counted(real_ledger: LedgerDriver) -> None:
    real_ledger.add()
    real_ledger.worker()
    [job] = real_ledger.start()
    real_ledger.settle(job, "queued")
    with out_of_memory(real_ledger):
        assert real_ledger.settle(job).state == "stale"


@pytest.mark.parametrize("place", ["line", "later", "claim", "held"])
def test_jobs_are_cancelled_in_every_place(real_ledger: LedgerDriver, place: str) -> None:
    job_id = real_ledger.add(not_before=60 if place == "later" else 0)
    real_ledger.worker()
    if place == "claim":
        real_ledger.admit()
    if place == "held":
        real_ledger.start()
    with out_of_memory(real_ledger):
        assert real_ledger.run(real_ledger.ledger.cancel(job_id)) == (
            "stopping" if place == "held" else "cancelled"
        )


def test_final_jobs_are_deleted(real_ledger: LedgerDriver) -> None:
    job_id = real_ledger.add()
    real_ledger.run(real_ledger.ledger.cancel(job_id))
    with out_of_memory(real_ledger):
        assert real_ledger.run(real_ledger.ledger.delete(job_id)) == "deleted"


def test_workers_register_renew_drain_and_leave(real_ledger: LedgerDriver) -> None:
    real_ledger.add_many(2)
    with out_of_memory(real_ledger):
        real_ledger.worker()
        real_ledger.start(most=1)
        real_ledger.admit(most=1)
        assert real_ledger.renew() == ("renewed", [])
        assert real_ledger.run(real_ledger.ledger.drain("w1", leave=False)) == 1
        assert real_ledger.run(real_ledger.ledger.drain("w1", leave=True)) == 1


def test_the_clock_goes_on(real_ledger: LedgerDriver) -> None:
    """A lost claim, a dead worker, a due job, an expired job and one to purge, all in one tick."""
    real_ledger.run(real_ledger.ledger.publish("d", b"{}", {"keep_ms": 30_000}))
    real_ledger.run(real_ledger.ledger.cancel(real_ledger.add()))
    due = real_ledger.add(not_before=10)
    expired = real_ledger.add("beta", expires_in=10)
    lost = real_ledger.add()
    real_ledger.worker()
    real_ledger.start("alpha/m")
    real_ledger.pass_s(29)
    real_ledger.worker("w2")
    claimed = real_ledger.add("gamma")
    real_ledger.admit("gamma/m")
    real_ledger.pass_s(3)
    with out_of_memory(real_ledger):
        assert real_ledger.tick("w2").dead_workers == ["w1"]
    assert [real_ledger.state(job) for job in (due, expired, lost, claimed)] == [
        "queued",
        "expired",
        "queued",
        "queued",
    ]
    assert real_ledger.record(lost).attempts[0].error_code == "worker_lost"
    assert real_ledger.run(real_ledger.ledger.read(["j1"])) == [None]
    assert "claims:w2" not in real_ledger.everything()


def test_batches_are_sealed_cancelled_and_end(real_ledger: LedgerDriver) -> None:
    for batch in ("sealed", "cancelled"):
        real_ledger.run(real_ledger.ledger.open_batch(batch, {}, 60))
    real_ledger.add_many(3, batch="cancelled")
    with out_of_memory(real_ledger):
        assert real_ledger.run(real_ledger.ledger.seal("sealed"))
        assert real_ledger.run(real_ledger.ledger.cancel_batch("cancelled", 2)) == "more"
        real_ledger.worker()
        real_ledger.tick()
    assert set(real_ledger.everything()["ended"]) == {"batch:sealed", "batch:cancelled"}


def test_a_new_batch_is_refused(real_ledger: LedgerDriver, valkey: RealServer) -> None:
    server = Server(lambda: valkey.url)
    server.run(real_ledger.ledger.read([]))
    with out_of_memory(real_ledger), pytest.raises(ServerFull):
        server.run(real_ledger.ledger.open_batch("b", {}, 60))
    server.close()
    assert "batch:b" not in real_ledger.everything()


def test_new_settings_are_published(real_ledger: LedgerDriver) -> None:
    real_ledger.add()
    with out_of_memory(real_ledger):
        assert real_ledger.run(real_ledger.ledger.publish("d", b"{}", {"account:alpha": "acme"}))
    assert "flows:acme/m" in real_ledger.everything()
