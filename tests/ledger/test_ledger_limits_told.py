"""What is told of limits, pauses, cool-downs and breakers: of one connection in detail, of all at a glance."""

from __future__ import annotations

import pytest
from ledger_driver import LedgerDriver

from chatq.contract.connection_limits import Allowance, ConnectionLimits, read_limits
from chatq.contract.record import rfc3339
from chatq.ledger.call_facts import LimitTold, TokensUsed
from chatq.ledger.overview import ConnectionFacts


def limits(ledger: LedgerDriver, connection: str = "alpha") -> ConnectionLimits:
    """What limits a connection; asking changes nothing."""
    before = ledger.everything()
    found = read_limits(connection, *ledger.run(ledger.ledger.limits(connection)))
    assert ledger.everything() == before
    return found


def allowance(ledger: LedgerDriver, kind: str) -> Allowance:
    [found] = [item for item in limits(ledger).lanes[0].allowances if item.kind == kind]
    return found


def publish(ledger: LedgerDriver, **rules: str | int) -> None:
    named = {name.replace("__", ":"): value for name, value in rules.items()}
    ledger.run(ledger.ledger.publish(repr(named), b"{}", {"model:alpha": "m", **named}))


def facts(ledger: LedgerDriver, connection: str = "alpha") -> ConnectionFacts:
    return ledger.run(ledger.ledger.overview([connection])).connections[connection]


def fail(ledger: LedgerDriver, times: int, **fields: str) -> None:
    """The provider fails so many jobs of a lane, one after the other."""
    for _ in range(times):
        ledger.add(**fields)
        [job] = ledger.start(f"alpha/{fields.get('model', 'm')}", most=1)
        ledger.settle(job, "failed", outcome="transient")


# -- One connection


def test_a_connection_without_limits_has_its_default_lane_and_no_allowance(ledger: LedgerDriver) -> None:
    publish(ledger)
    found = limits(ledger)
    assert found.paused is None
    [lane] = found.lanes
    assert (lane.lane, lane.model, lane.allowances, lane.concurrency) == ("alpha/m", "m", [], None)
    assert (lane.in_flight, lane.breaker, lane.bytes_per_token) == (0, "closed", None)


def test_a_connection_without_a_model_of_its_own_has_limits_too(ledger: LedgerDriver) -> None:
    ledger.run(ledger.ledger.publish("d", b"{}", {"account:alpha": "alpha", "concurrency:alpha": 4}))
    [lane] = limits(ledger).lanes
    assert (lane.lane, lane.model, lane.concurrency) == ("alpha/", "", 4)


def test_what_is_set_is_told_with_what_is_used_and_when_the_next_may_go(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_minute__alpha=60, concurrency__alpha=4)
    ledger.worker()
    ledger.add_many(3)
    ledger.start()
    found = allowance(ledger, "requests")
    assert (found.set, found.learned, found.found, found.holds) == (60, None, None, 60)
    assert (found.used, found.at_once) == (1, 1)
    assert found.next_at is not None
    assert rfc3339(found.next_at) == "2027-01-15T08:00:01.024Z"
    [lane] = limits(ledger).lanes
    assert (lane.concurrency, lane.in_flight) == (4, 1)
    ledger.pass_s(0.5)
    assert allowance(ledger, "requests").used == pytest.approx(0.504, abs=0.001)


def test_what_answers_told_is_beside_what_is_set_and_a_lower_one_is_noticed(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_minute__alpha=500)
    ledger.worker()
    ledger.add()
    [job] = ledger.start()
    told = [LimitTold("requests", 300, 299, 60.0, 0.2), LimitTold("tokens", 9000, 8990, 60.0, 0.1)]
    ledger.settle(job, used=TokensUsed(10, 5, 10, 5), told=told)
    requests, tokens = allowance(ledger, "requests"), allowance(ledger, "tokens")
    assert (requests.set, requests.learned, requests.holds, requests.told_lower) == (500, 300, 500, True)
    assert (tokens.set, tokens.learned, tokens.holds, tokens.told_lower) == (None, 9000, 9000, False)


def test_what_was_found_by_trying_is_told_as_such(ledger: LedgerDriver) -> None:
    publish(ledger)
    ledger.worker()
    ledger.add()
    [job] = ledger.start()
    ledger.settle(job, "queued", cool_s=1)
    found = allowance(ledger, "requests")
    assert (found.set, found.learned, found.found, found.holds) == (None, None, 60, 60)


def test_a_day_tells_what_went_and_when_it_turns(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_day__alpha=2)
    ledger.worker()
    ledger.add_many(3)
    ledger.start()
    found = allowance(ledger, "requests_day")
    assert (found.set, found.used) == (2, 2)
    assert found.next_at == found.free_at
    assert found.free_at is not None
    assert rfc3339(found.free_at) == "2027-01-16T00:00:00.000Z"


def test_what_was_learned_of_tokens_is_told(ledger: LedgerDriver) -> None:
    publish(ledger, tokens_per_minute__alpha=60_000)
    ledger.worker()
    ledger.add(prompt="x" * 384)  # with 16 bytes for the message
    [job] = ledger.start()
    ledger.settle(job, used=TokensUsed(100, 30, 100, 30))
    [lane] = limits(ledger).lanes
    assert (lane.bytes_per_token, lane.mean_prompt_tokens, lane.mean_answer_tokens) == (4, 100, 30)


def test_lanes_of_other_models_are_told_after_the_default_ones(ledger: LedgerDriver) -> None:
    publish(ledger, requests_per_minute__alpha=600)
    ledger.worker()
    for model in ("m", "n", "o"):
        ledger.add(model=model)
        [job] = ledger.start(f"alpha/{model}")
        ledger.settle(job, used=TokensUsed(10, 5, 10, 5))
        ledger.pass_s(1)
    assert [lane.model for lane in limits(ledger).lanes] == ["m", "o", "n"]


def test_a_lane_in_which_jobs_wait_is_told_whatever_is_known_of_it(ledger: LedgerDriver) -> None:
    publish(ledger)
    ledger.add(model="n")
    assert [lane.model for lane in limits(ledger).lanes] == ["m", "n"]


def test_a_scope_is_one_lane_of_all_models(ledger: LedgerDriver) -> None:
    publish(ledger, account__alpha="@team", requests_per_minute__team=60)
    ledger.worker()
    ledger.add(model="n")
    [job] = ledger.start("@team")
    ledger.settle(job, used=TokensUsed(10, 5, 10, 5))
    assert [(lane.lane, lane.model) for lane in limits(ledger).lanes] == [("@team", "")]


@pytest.mark.thorough
def test_many_models_are_not_kept_for_ever(real_ledger: LedgerDriver) -> None:
    publish(real_ledger, requests_per_minute__alpha=600)
    real_ledger.worker()
    for number in range(120):
        real_ledger.add(model=f"n{number}")
        [job] = real_ledger.start(f"alpha/n{number}")
        real_ledger.settle(job, used=TokensUsed(10, 5, 10, 5))
        real_ledger.pass_s(0.001)
    models = [lane.model for lane in limits(real_ledger).lanes]
    assert models == ["m", *(f"n{number}" for number in range(119, 19, -1))]


def test_a_lane_of_which_nothing_was_learned_is_forgotten_when_it_owes_nothing(ledger: LedgerDriver) -> None:
    """Callers may name any model, also ever new ones that do not exist."""
    ledger.publish({"requests_per_minute:alpha": 1})
    ledger.add(model="never-heard-of")
    ledger.worker()
    [job] = ledger.start("alpha/never-heard-of")
    assert 60_000 <= ledger.client.pttl("t:limits:alpha/never-heard-of") <= 61_000
    ledger.settle(job, used=TokensUsed(10, 5, 10, 5))
    assert ledger.client.pttl("t:limits:alpha/never-heard-of") > 6 * 86_400_000


def test_the_list_of_lanes_lives_as_long_as_what_is_known_of_them(real_ledger: LedgerDriver) -> None:
    publish(real_ledger, requests_per_minute__alpha=600)
    real_ledger.worker()
    real_ledger.add(model="n")
    [job] = real_ledger.start("alpha/n")
    real_ledger.settle(job, used=TokensUsed(10, 5, 10, 5))
    week_ms = 7 * 86_400_000
    lives = [real_ledger.client.pttl(key) for key in ("t:limits:alpha/n", "t:known:alpha")]
    assert all(week_ms - 60_000 < left <= week_ms for left in lives)


def test_a_paused_cooling_or_broken_connection_says_so(ledger: LedgerDriver) -> None:
    publish(ledger)
    ledger.worker()
    fail(ledger, 5)
    ledger.run(ledger.ledger.pause("alpha", message="Lunch."))
    found = limits(ledger)
    assert found.paused is not None
    assert (found.paused.code, found.paused.message) == ("operator", "Lunch.")
    [lane] = found.lanes
    assert (lane.breaker, lane.ramp, lane.cooling_until) == ("open", 1, None)
    assert lane.next_probe_at is not None
    assert rfc3339(lane.next_probe_at) == "2027-01-15T08:00:01.000Z"


# -- All at a glance


def test_a_connection_that_works_is_served_by_itself(ledger: LedgerDriver) -> None:
    publish(ledger)
    assert facts(ledger) == ConnectionFacts(0, 0, None, None, "closed", None, "alpha")


def test_a_pause_and_who_stands_in_are_told(ledger: LedgerDriver) -> None:
    publish(ledger, fallback__alpha="beta")
    ledger.run(ledger.ledger.pause("alpha", message="Lunch."))
    told = facts(ledger)
    assert told.pause is not None
    assert b'"code":"operator","message":"Lunch."' in told.pause
    assert told.served_by == "beta"
    ledger.run(ledger.ledger.pause("beta", message="Lunch."))
    assert facts(ledger).served_by is None


def test_a_cool_down_of_any_lane_is_told(ledger: LedgerDriver) -> None:
    publish(ledger)
    ledger.worker()
    ledger.add(model="n")
    [job] = ledger.start("alpha/n")
    ledger.settle(job, "queued", cool_s=40)
    told = facts(ledger)
    assert (told.cooling_until_ms, told.breaker, told.next_probe_ms) == (ledger.now + 40_000, "closed", None)
    ledger.pass_s(40)
    assert facts(ledger).cooling_until_ms is None


def test_the_worst_breaker_of_a_connections_lanes_is_told(ledger: LedgerDriver) -> None:
    publish(ledger)
    ledger.worker()
    fail(ledger, 5, model="n")
    fail(ledger, 1)
    told = facts(ledger)
    assert (told.breaker, told.next_probe_ms, told.cooling_until_ms) == ("open", ledger.now + 1000, None)
    ledger.pass_s(1)
    told = facts(ledger)
    assert (told.breaker, told.next_probe_ms) == ("half_open", None)
    ledger.add(model="n")
    [probe] = ledger.start("alpha/n")
    ledger.settle(probe)
    assert facts(ledger).breaker == "closed"
