"""How many calls may be in flight: slots of workers, concurrency of lanes, and the few that every lane always has."""

from __future__ import annotations

from typing import Any

from ledger_driver import LedgerDriver


def publish(ledger: LedgerDriver, **rules: Any) -> None:
    named = {name.replace("__", ":"): value for name, value in rules.items()}
    ledger.run(ledger.ledger.publish(repr(named), b"{}", named))


def lanes_of(admitted: Any) -> list[str]:
    return [job.connection for job in admitted]


def test_no_worker_no_admission(ledger: LedgerDriver) -> None:
    ledger.add()
    assert ledger.why() == ("no_worker", 1000)


def test_one_lane_may_take_every_slot(ledger: LedgerDriver) -> None:
    ledger.add_many(40)
    ledger.worker(slots=30)
    assert len(ledger.admit()) == 30
    assert ledger.why() == ("slots", 1000)


def test_the_worker_with_most_room_gets_the_next_job(ledger: LedgerDriver) -> None:
    ledger.add_many(6)
    ledger.worker("small", slots=2)
    ledger.worker("large", slots=5)
    assert [job.worker for job in ledger.admit()] == ["large", "large", "large", "small", "large", "small"]


def test_a_slot_is_free_again_when_its_job_is_settled(ledger: LedgerDriver) -> None:
    ledger.add_many(20)
    ledger.worker(slots=10)
    held = ledger.start()
    assert len(ledger.settle(held[0]).admitted) == 1
    assert ledger.why()[0] == "slots"


def test_every_lane_may_have_eight_calls_when_others_hold_all_slots(ledger: LedgerDriver) -> None:
    ledger.add_many(40, "alpha")
    ledger.add_many(40, "beta")
    ledger.worker(slots=10)
    assert len(ledger.admit("alpha/m")) == 10
    assert len(ledger.admit("beta/m")) == 8
    assert ledger.why("beta/m") == ("slots", 1000)


def test_a_worker_without_slots_still_runs_eight_calls_a_lane(ledger: LedgerDriver) -> None:
    ledger.add_many(40)
    ledger.worker(slots=0)
    assert len(ledger.admit()) == 8


def test_lanes_that_lack_a_slot_take_turns_at_the_slots_that_become_free(ledger: LedgerDriver) -> None:
    ledger.worker(slots=30)
    for lane in ("alpha", "beta", "gamma"):
        ledger.add_many(60, lane)
    held = ledger.start("alpha/m")
    for lane in ("beta/m", "gamma/m"):
        ledger.start(lane)
        ledger.pass_s(1)
    freed = [ledger.settle(job).admitted for job in held[:25]]
    # 30 + 8 + 8 calls on 30 slots: the first 16 that end free none.
    assert [len(admitted) for admitted in freed] == [0] * 16 + [1] * 9
    turns = [admitted[0].connection for admitted in freed[16:]]
    assert [sorted(turns[i : i + 3]) for i in (0, 3, 6)] == [["alpha", "beta", "gamma"]] * 3


def test_a_cooling_lane_loses_its_turn_at_slots(ledger: LedgerDriver) -> None:
    ledger.worker(slots=8)
    ledger.add_many(20, "alpha")
    ledger.add_many(20, "beta")
    alpha = ledger.start("alpha/m")
    beta = ledger.start("beta/m")
    assert ledger.why("alpha/m")[0] == "slots"
    ledger.settle(alpha[0], "queued", cool_s=60)
    freed = [admitted for job in beta for admitted in ledger.settle(job).admitted]
    assert set(lanes_of(freed)) == {"beta"}
    assert "alpha/m" not in ledger.everything().get("hungry", {})


def test_a_lane_never_exceeds_its_concurrency(ledger: LedgerDriver) -> None:
    publish(ledger, concurrency__alpha=3)
    ledger.add_many(10)
    ledger.worker()
    held = ledger.start()
    assert len(held) == 3
    assert ledger.why() == ("concurrency", 1000)
    assert len(ledger.settle(held[0]).admitted) == 1
    assert ledger.why()[0] == "concurrency"


def test_connections_of_one_account_and_model_share_its_concurrency(ledger: LedgerDriver) -> None:
    publish(ledger, account__alpha="acme", account__beta="acme", concurrency__acme=4)
    ledger.add_many(10, "alpha")
    ledger.add_many(10, "beta")
    ledger.worker()
    admitted = ledger.admit("acme/m")
    assert sorted(lanes_of(admitted)) == ["alpha", "alpha", "beta", "beta"]
    assert ledger.why("acme/m")[0] == "concurrency"


def test_another_model_of_the_account_is_another_lane(ledger: LedgerDriver) -> None:
    publish(ledger, account__alpha="acme", concurrency__acme=1)
    ledger.add_many(3, model="m")
    ledger.add_many(3, model="n")
    ledger.worker()
    assert (len(ledger.admit("acme/m")), len(ledger.admit("acme/n"))) == (1, 1)


def test_a_scope_joins_all_models_of_its_connections(ledger: LedgerDriver) -> None:
    publish(ledger, account__alpha="@pool", account__beta="@pool", **{"concurrency__@pool": 3})
    ledger.add_many(3, "alpha", model="m")
    ledger.add_many(3, "beta", model="n")
    ledger.worker()
    assert len(ledger.admit("@pool")) == 3
    assert ledger.why("@pool")[0] == "concurrency"


def test_new_rules_move_waiting_jobs_to_their_new_lane(ledger: LedgerDriver) -> None:
    jobs = ledger.add_many(3)
    ledger.worker()
    publish(ledger, account__alpha="acme")
    assert ledger.why("alpha/m")[0] == "empty"
    assert [job.job_id for job in ledger.admit("acme/m")] == jobs


def test_calls_in_flight_stay_with_the_lane_they_left_from(ledger: LedgerDriver) -> None:
    ledger.add_many(3)
    ledger.worker()
    [held] = ledger.start(most=1)
    publish(ledger, account__alpha="acme")
    ledger.start("acme/m")
    assert _inflight(ledger) == {"alpha/m": "1", "acme/m": "2"}
    ledger.settle(held)
    assert _inflight(ledger) == {"acme/m": "2"}


def _inflight(ledger: LedgerDriver) -> dict[str, str]:
    return {
        name.removeprefix("lane:"): value["inflight"]
        for name, value in ledger.everything().items()
        if name.startswith("lane:")
    }


def test_a_worker_has_at_most_500_messages_under_way(ledger: LedgerDriver) -> None:
    ledger.add_many(600)
    ledger.worker(slots=1000)
    admitted = ledger.admit(most=600)
    assert len(admitted) == 500
    assert ledger.why() == ("claims", 5)
    assert ledger.begin(admitted[0])
    assert len(ledger.admit()) == 1


def test_a_worker_that_begins_nothing_does_not_hold_up_the_others(ledger: LedgerDriver) -> None:
    ledger.add_many(600)
    ledger.worker("stalled", slots=2000)
    ledger.worker("sound", slots=60)
    workers = [job.worker for job in ledger.admit(most=600)]
    assert (workers.count("stalled"), workers.count("sound")) == (500, 60)


def test_a_draining_worker_gets_nothing_more(ledger: LedgerDriver) -> None:
    ledger.add_many(10)
    ledger.worker("leaving", slots=100)
    ledger.worker("staying", slots=5)
    ledger.run(ledger.ledger.drain("leaving", leave=False))
    assert {job.worker for job in ledger.admit()} == {"staying"}
    assert ledger.renew("leaving")[0] == "renewed"
    assert "leaving" not in ledger.everything()["room"]


def test_a_lane_that_cools_is_not_called(ledger: LedgerDriver) -> None:
    ledger.add_many(5)
    ledger.worker()
    [held] = ledger.start(most=1)
    assert ledger.settle(held, "queued", cool_s=20).admitted == []
    assert ledger.why() == ("cooling", 20_000)
    ledger.pass_s(20)
    # Nobody told its limit: calls set in one by one, at a rate that doubles every second from one a second on.
    admitted = [len(ledger.admit())]
    for _ in range(5):
        ledger.pass_s(0.5)
        admitted.append(len(ledger.admit()))
    assert admitted == [1, 0, 0, 1, 1, 2]


def test_a_shorter_cool_down_does_not_end_a_longer_one(ledger: LedgerDriver) -> None:
    ledger.add_many(5)
    ledger.worker()
    one, other = ledger.start(most=2)
    ledger.settle(one, "queued", cool_s=60)
    ledger.settle(other, "queued", cool_s=1)
    assert ledger.why() == ("cooling", 60_000)


def test_a_lane_that_cools_remembers_it_while_it_is_empty(ledger: LedgerDriver) -> None:
    ledger.add()
    ledger.worker()
    [held] = ledger.start()
    ledger.settle(held, "failed", cool_s=3600)
    ledger.pass_s(1800)
    ledger.add()
    assert ledger.why() == ("cooling", 1_800_000)


def test_calls_in_flight_are_still_counted_after_a_cool_down(ledger: LedgerDriver) -> None:
    publish(ledger, concurrency__alpha=3)
    ledger.add_many(3)
    ledger.worker()
    held = ledger.start()
    ledger.settle(held[0], "queued", cool_s=5)
    ledger.pass_s(10)
    ledger.add_many(3)
    assert len(ledger.admit()) == 1


def test_an_idle_lane_leaves_nothing_behind(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    [held] = ledger.start(most=1)
    ledger.run(ledger.ledger.drain("w1", leave=False))
    ledger.settle(held)
    ledger.run(ledger.ledger.cancel("j2"))
    assert not [key for key in ledger.everything() if "alpha/m" in key]


def test_the_clock_is_told_when_a_cool_down_ends(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.worker()
    [held] = ledger.start(most=1)
    ledger.settle(held, "queued", cool_s=0.3)
    ledger.tick()
    assert ledger.why()[0] == "cooling"
    assert ledger.tick().wait_ms == 300
    ledger.pass_s(0.3)
    assert ledger.tick().due_lanes == ["alpha/m"]
