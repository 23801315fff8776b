"""The ledger against its model: whatever is asked of it, in whatever order, on either kind of server.

`CHATQ_TEST_EXAMPLES=2000` runs longer, with new examples every time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_checks import check_against, check_consistent, family, leftovers
from ledger_driver import ANSWER, FAILURE, NOON, PLENTY, LedgerDriver, attempt
from ledger_model import Model, Settlement

from chatq.contract.record import JobRecord
from chatq.contract.states import CHANGES, FINAL, State
from chatq.ledger.call import Call
from chatq.ledger.call_facts import MAYBE_CHARGED, NOT_CALLED, CallPrice, LimitTold, Spent, TokensUsed
from chatq.ledger.replies import Admitted, Begun, Settled
from servers import RealServer

EXAMPLES = int(os.environ.get("CHATQ_TEST_EXAMPLES", "0"))
WORKERS = st.sampled_from(["w1", "w2", "w3"])
CONNECTIONS = st.sampled_from(["alpha", "beta", "gamma"])
LANES = st.sampled_from(
    ["alpha/m", "alpha/m", "beta/m", "alpha/n", "shared/m", "shared/n", "@pool", "gamma/m"]
)
BATCHES = st.sampled_from(["b1", "b2"])
PICK = st.integers(0, 999)
CHUNKS = st.sampled_from([1, 2, 500, 500])
MOST_JOBS = st.sampled_from([8, PLENTY, PLENTY])
USED = st.sampled_from(["", "", NOT_CALLED, TokensUsed(40, 9, 40, 9), TokensUsed(3, 700, 3, 700)])
TOLD = st.sampled_from(
    [
        (),
        (),
        (),
        (LimitTold("requests", 60, 59, 60, 1),),
        (LimitTold("requests", 60, 59, 60, 55), LimitTold("tokens", 6000, 100, 60, 59)),
        (LimitTold("output_tokens", 900, 880, 60, 1.4),),
    ]
)
SPENT = st.sampled_from([Spent(40, 9, 0.0009), Spent(7, 900, 0.002), Spent(7, 3, None), Spent(0, 0, None)])
LOST = st.sampled_from(["", MAYBE_CHARGED])
BUDGETS = st.sampled_from(
    [
        {},
        {"max_tokens": 600},
        {"max_tokens": 1300},
        {"max_cost_usd": 0.0012},
        {"max_cost_usd": 0.0025, "max_tokens": 9000},
    ]
)
PRICED = st.sampled_from([*[CallPrice(0, 1, 2)] * 4, CallPrice(0.0005, 0.25, 1.5), None])
PRICES = st.dictionaries(st.tuples(CONNECTIONS, st.sampled_from(["m", "n"])), PRICED, min_size=1)
SETTLEMENTS = st.one_of(
    st.builds(Settlement, st.sampled_from(["cancelled", "queued"]), spent=LOST),
    st.builds(
        Settlement, st.just("queued"), st.just("handed_back"), wait_ms=st.sampled_from([0, 2000]), spent=LOST
    ),
    st.builds(
        Settlement, st.just("succeeded"), st.just("ok"), st.just(True), st.just("ok"), used=USED, told=TOLD, spent=SPENT
    ),
    st.builds(Settlement, st.just("failed"), st.just("invalid"), st.just(True), st.just("request"), used=USED),
    st.builds(
        Settlement, st.sampled_from(["retrying", "retrying", "failed"]), st.just("rate_limited"), st.just(True),
        st.just("limited"), wait_ms=st.sampled_from([2000, 100_000]), cool_ms=st.sampled_from([0, 4000, 400_000]),
        used=USED, told=TOLD,
    ),
    st.builds(
        Settlement, st.sampled_from(["retrying", "retrying", "failed"]), st.just("server_error"), st.just(True),
        st.just("transient"), wait_ms=st.sampled_from([0, 2000, 100_000]), used=USED, spent=LOST,
    ),
    st.builds(
        Settlement, st.just("failed"), st.just("refused"), st.just(True), st.sampled_from(["account", "missing"]),
    ),
)  # fmt: skip
RULES: list[dict[str, Any]] = [
    {"account:alpha": "alpha", "account:beta": "beta", "account:gamma": "gamma"},
    {
        "account:alpha": "alpha",
        "account:beta": "beta",
        "concurrency:alpha": 2,
        "concurrency:beta": 1,
        "requests_per_minute:alpha": 120,
        "tokens_per_minute:beta": 6000,
        "door:beta": 1,
        "budget:alpha": 2_300_000,
        "keep_ms": 3_600_000,
        "connections": 2,
    },
    {
        "account:alpha": "shared",
        "account:beta": "shared",
        "account:gamma": "gamma",
        "concurrency:shared": 3,
        "requests_per_day:shared": 4,
        "tokens_per_minute:gamma": 90_000,
        "on_worker_lost:alpha": "fail",
        "budget:alpha": 2_500_000,
        "budget:gamma": 1_000_000,
    },
    {
        "account:alpha": "@pool",
        "account:gamma": "@pool",
        "account:beta": "beta",
        "model:beta": "m",
        "fallback:alpha": "gamma beta",
        "fallback:gamma": "beta",
        "tells_limits:beta": 1,
        "concurrency:@pool": 2,
        "on_worker_lost:beta": "fail",
    },
    {
        "account:alpha": "shared",
        "account:beta": "shared",
        "account:gamma": "gamma",
        "model:beta": "m",
        "model:gamma": "m",
        "fallback:alpha": "beta gamma",
        "fallback:beta": "gamma",
        "budget:beta": 3_000_000,
    },
]
JOBS = st.fixed_dictionaries(
    {"connection": CONNECTIONS},
    optional={
        "id": st.sampled_from(["own-1", "own-2", "own-3"]),
        "idempotency_key": st.sampled_from(["k1", "k2"]),
        "custom_id": st.sampled_from(["c1", "c2", 'ü"\n']),
        "tenant": st.sampled_from(["t1", "t2"]),
        "priority": st.sampled_from([0, 5, 9]),
        "model": st.just("n"),
        "prompt": st.sampled_from([1, 2000]).map("hi ".__mul__),
        "params": st.just({"max_tokens": 300}),
        "not_before": st.sampled_from([0.0, 2.0, 3600.0]),
        "expires_in": st.sampled_from([1.0, 5.0, 90.0]),
        "metadata": st.just({"a": '"\\\n'}),
    },
)


class LedgerMachine(RuleBasedStateMachine):
    """Asks the ledger and the model the same, and compares the answers and all that is stored."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.driver = LedgerDriver(self.client)
        self.ledger = self.driver.ledger
        self.model = Model(NOON)
        self.tokens: list[Admitted] = []
        self.records: dict[str, str] = {}
        self.states: dict[int, State] = {}
        self.hurried = False
        self.compare()

    @initialize(
        slots=st.integers(1, 3),
        rules=st.sampled_from(RULES),
        jobs=st.lists(JOBS, min_size=3, max_size=6),
        more=st.lists(JOBS, min_size=1, max_size=4),
        crowded=st.lists(st.tuples(CONNECTIONS, st.sampled_from(["", "b1", "b1"])), max_size=2),
        budgets=BUDGETS,
        prices=st.fixed_dictionaries(
            {(name, model): PRICED for name in ("alpha", "beta", "gamma") for model in "mn"}
        ),
    )
    def begin_in_the_middle(
        self,
        slots: int,
        rules: dict[str, Any],
        jobs: list[dict[str, Any]],
        more: list[dict[str, Any]],
        crowded: list[tuple[str, str]],
        budgets: dict[str, Any],
        prices: dict[tuple[str, str], CallPrice | None],
    ) -> None:
        """Workers, jobs and a batch, some of it under way."""
        self.publish(rules)
        self.tell_prices(prices)
        self.renew("w1", slots)
        self.renew("w2", 1)
        self.open_batch("b1", 60, **budgets)
        self.enqueue(jobs, "", PLENTY)
        self.enqueue(more, "b1", PLENTY)
        for connection, batch in crowded:
            self.enqueue([{"connection": connection}] * 10, batch, PLENTY)
            self.start(self.model.lane_of(connection, "m"), 4)
        self.start(self.model.lane_of(jobs[0]["connection"], jobs[0].get("model", "m")), 2)

    # Callers

    @rule(
        jobs=st.lists(JOBS, min_size=1, max_size=5),
        batch=st.sampled_from(["", "", "b1", "b2"]),
        most=MOST_JOBS,
    )
    def enqueue(self, jobs: list[dict[str, Any]], batch: str, most: int) -> None:
        entries = [self.driver.entry(**job) for job in jobs]
        expected = self.model.enqueue(entries, batch, most)
        done = self.driver.enqueue(*entries, batch=batch, jobs=most)
        assert (done.refused or done.jobs) == expected
        self.compare()

    @precondition(lambda self: self.model.jobs)
    @rule(pick=PICK, what=st.sampled_from(["cancel", "cancel", "delete", "delete and enqueue", "enqueue"]))
    def ask_about_a_job(self, pick: int, what: str) -> None:
        jobs = list(self.model.jobs.values())
        job = jobs[pick % len(jobs)]
        if what == "cancel":
            assert self.driver.run(self.ledger.cancel(job.id)) == self.model.cancel(job)
        if what.startswith("delete"):
            assert self.driver.run(self.ledger.delete(job.id)) == self.model.delete(job)
        if what.endswith("enqueue"):
            # Its reply was lost; or, after a deletion, its id belongs to a new job outside the batch.
            batch = job.batch if what == "enqueue" else ""
            expected = self.model.enqueue([job.entry], batch, PLENTY)
            done = self.driver.enqueue(job.entry, batch=batch)
            assert (done.refused or done.jobs) == expected
        self.compare()

    @rule(batch=BATCHES, what=st.sampled_from(["pause", "resume", "resume"]), budgets=BUDGETS)
    def pause_or_resume_a_batch(self, batch: str, what: str, budgets: dict[str, Any]) -> None:
        if what == "pause":
            assert self.driver.run(self.ledger.pause_batch(batch)) == self.model.pause_batch(batch)
        else:
            expected = self.model.resume_batch(batch, **in_billionths(budgets))
            assert self.driver.run(self.ledger.resume_batch(batch, **budgets)) == expected
        self.compare()

    @rule(batch=BATCHES, connection=CONNECTIONS, model=st.sampled_from(["m", "n"]), most=CHUNKS)
    def move_a_batch(self, batch: str, connection: str, model: str, most: int) -> None:
        expected = self.model.move_batch(batch, connection, model, most)
        assert self.driver.run(self.ledger.move_batch(batch, connection, model, most)) == expected
        self.compare()

    @rule(
        batch=BATCHES,
        what=st.sampled_from(["open", "seal", "cancel", "cancel"]),
        most=CHUNKS,
        budgets=BUDGETS,
    )
    def ask_about_a_batch(self, batch: str, what: str, most: int, budgets: dict[str, Any]) -> None:
        if what == "open":
            self.open_batch(batch, 60 if most == 1 else 90_000, **budgets)
        elif what == "seal":
            assert self.driver.run(self.ledger.seal(batch)) == self.model.seal(batch)
        else:
            self.cancel_batch(batch, most)
        self.compare()

    def open_batch(self, batch: str, keep: int, **budgets: Any) -> None:
        opened = self.driver.run(self.ledger.open_batch(batch, {}, keep, **budgets))
        assert opened == self.model.open_batch(batch, keep * 1000, **in_billionths(budgets))

    def cancel_batch(self, batch: str, most: int) -> None:
        known = self.model.batches.get(batch)
        swept_before = known is not None and known.cancelled and not known.sweeping
        expected = self.model.cancel_batch(batch, most)
        # Where a finished sweep stopped is nobody's business: asking again may or may not look at the last jobs again.
        possible = {"more", "done"} if swept_before and expected != "ended" else {expected}
        assert self.driver.run(self.ledger.cancel_batch(batch, most)) in possible
        if known is not None and swept_before:
            known.sweeping = False

    # Workers

    @rule(worker=WORKERS, what=st.sampled_from(["renew", "renew", "register", "drain", "leave"]), most=CHUNKS)
    def ask_as_a_worker(self, worker: str, what: str, most: int) -> None:
        if what in {"renew", "register"}:
            self.renew(worker, most % 4, registered=what == "renew")
        else:
            self.drain(worker, leave=what == "leave", most=most)

    @rule(worker=WORKERS)
    def hear(self, worker: str) -> None:
        """A worker comes to a message that it sent itself."""
        self.driver.run(self.ledger.hear(worker))
        self.model.note_message(worker, "0")
        self.compare()

    @rule(lane=LANES, most=st.integers(1, 5), times=st.integers(1, 4))
    def lose_workers(self, lane: str, most: int, times: int) -> None:
        """Workers die one after the other with what they were given."""
        for _ in range(times):
            self.renew("w3", 5)
            self.start(lane, most)
            self.drain("w3", leave=True)

    def renew(self, worker: str, slots: int, *, registered: bool = False) -> None:
        expected = self.model.renew(worker, 30_000, slots, registered=registered)
        call = self.ledger.renew(worker, lease_s=30, slots=slots, facts={}, registered=registered)
        reply = self.driver.run(call)
        assert reply.status == expected
        assert reply.stalled == (worker in self.model.stalled)
        assert set(reply.stop) == {
            job.id for job in self.model.at("held") if job.worker == worker and job.cancel
        }
        self.compare()

    def drain(self, worker: str, *, leave: bool, most: int = 500) -> None:
        expected = self.model.drain(worker, leave=leave)
        total = part = self.driver.run(self.ledger.drain(worker, leave=leave, most=most))
        while part == most:
            check_consistent(self.driver.everything())
            part = self.driver.run(self.ledger.drain(worker, leave=leave, most=most))
            total += part
        assert total == expected
        self.compare()

    @rule(lane=LANES, most=st.integers(1, 12))
    def admit(self, lane: str, most: int) -> None:
        before = self.model.lane(lane)
        waits = self.model.line(min(before.tags))[0] if before.tags and not before.out else None
        told = self.driver.run(self.ledger.why(waits.id)) if waits else None
        asked = self.model.asks(lane, waits) if waits else None
        if asked is not None and told is not None:
            # Other flows may go where its own has to wait for a budget; what is refused, or paused, is due until it is.
            assert asked.waits in {"", told["reason"]} or told["reason"] not in {"due", "line"}
            told = None
        reason, wait_ms, expected = self.model.admit(lane, most)
        # More: as many as may were refused before one could go.
        goes = bool(expected) or reason == "more"
        # A worker whose lease is over counts for admission until the clock comes by, and for nobody who asks.
        alive = any(end > self.model.now for end in self.model.leases.values())
        would = {"due", "line"} if alive else {"no_worker"}
        assert told is None or told["reason"] in (would if goes else {reason, *(would - {"due", "line"})})
        admission = self.driver.run(self.ledger.admit(lane, most))
        assert (admission.reason, admission.wait_ms) == (reason, wait_ms)
        self.note(admission.admitted, expected)
        self.compare()

    @rule(lane=LANES, most=st.integers(1, 12))
    def start(self, lane: str, most: int) -> None:
        """Admit and begin: what mostly happens."""
        known = len(self.tokens)
        self.admit(lane, most)
        self.begin(*self.tokens[known:])

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, wrong=st.sampled_from(["", "", "", "worker", "token"]))
    def begin_some(self, pick: int, wrong: str) -> None:
        self.begin(self.token(pick), wrong=wrong)

    @precondition(lambda self: self.tokens)
    @rule(picks=st.lists(PICK, min_size=2, max_size=4), wrong=st.sampled_from(["", "", "worker", "token"]))
    def begin_together(self, picks: list[int], wrong: str) -> None:
        self.begin(*map(self.token, picks), wrong=wrong)

    def begin(self, *items: Admitted, wrong: str = "") -> None:
        """In one call, if there are any. `wrong`: what is of the last."""
        if not items:
            return
        *well, last = items
        token = "0-0" if wrong == "token" else last.token
        worker = "w9" if wrong == "worker" else last.worker
        asked = [*((item.job_id, item.token, item.worker) for item in well), (last.job_id, token, worker)]
        replies = self.driver.run_gathered([self.ledger.begin(*one) for one in asked])
        for _, token, worker in asked:
            self.model.note_message(worker, token)
        for item, begun in zip(well, replies[:-1], strict=True):
            self.check_begun(item, begun)
        self.check_begun(last, replies[-1], wrong)
        self.compare()

    def check_begun(self, item: Admitted, begun: Begun | None, wrong: str = "") -> None:
        job = self.model.jobs.get(item.job_id)
        mine = job is not None and job.token == item.token and job.place in {"claim", "held"} and not wrong
        wait_ms = self.model.begin(job) if mine and job is not None and job.place == "claim" else 0
        assert (begun is not None) == (mine and wait_ms is not None)
        if job is not None and begun is not None:
            assert begun.request == job.entry.request
            model = self.model.rules.get(f"model:{job.via}", job.model) if job.via else job.model
            assert (begun.connection, begun.model, begun.counted) == (job.server, model, job.counted)
            assert begun.stands_in == bool(job.via)
            assert begun.wait_ms == wait_ms

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, count=st.integers(1, 3), again=st.booleans())
    def tell(self, pick: int, count: int, again: bool) -> None:
        """A worker tells its job's caller more of the answer; the reply may be lost, and it is told again."""
        item = self.token(pick)
        job = self.model.jobs.get(item.job_id)
        mine = job is not None and job.place == "held" and job.token == item.token
        told_before = job.told if job is not None else 0
        call = self.ledger.tell(item.job_id, item.token, told_before, [b"[]"] * count)
        assert [self.driver.run(call) for _ in range(1 + again)] == [mine] * (1 + again)
        if job is not None and mine:
            job.told += count
        self.compare()

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, settlement=SETTLEMENTS)
    def settle_some(self, pick: int, settlement: Settlement) -> None:
        self.settle((self.token(pick), settlement))

    @rule(settlement=SETTLEMENTS, most=CHUNKS)
    def settle_what_is_held(self, settlement: Settlement, most: int) -> None:
        for item in [item for item in self.tokens if self.is_held(item)][:most]:
            self.settle((item, settlement))

    @precondition(lambda self: self.tokens)
    @rule(settlements=st.lists(st.tuples(PICK, SETTLEMENTS), min_size=2, max_size=4))
    def settle_together(self, settlements: list[tuple[int, Settlement]]) -> None:
        self.settle(*((self.token(pick), settlement) for pick, settlement in settlements))

    @rule(settlement=SETTLEMENTS)
    def settle_all_that_is_held(self, settlement: Settlement) -> None:
        self.settle(*((item, settlement) for item in self.tokens if self.is_held(item)))

    def settle(self, *settlements: tuple[Admitted, Settlement]) -> None:
        """In one call, if there are any."""
        if not settlements:
            return
        replies = self.driver.run_gathered([self.call_to_settle(*one) for one in settlements])
        ended, first = [], None
        for (item, settlement), settled in zip(settlements, replies, strict=True):
            job = self.model.jobs.get(item.job_id)
            if job is None or job.token != item.token:
                assert settled.state == "stale"
            elif job.place == "end":
                assert settled.state == "again"
            else:
                if job.place == "claim" and (
                    settlement.attempt or settlement.state not in {"queued", "retrying"}
                ):
                    self.states[job.number] = State.RUNNING  # it was; the server forgot
                server = job.server
                ended.append(self.model.settle(job, settlement))
                first = first or settled
                assert settled.state == job.state
                assert settled.paused == bool(self.model.connection(server).paused)
        expected = self.model.go_on(ended)
        for settled in replies:
            self.note(settled.admitted, expected if settled is first else [])
        self.compare()

    def call_to_settle(self, item: Admitted, settlement: Settlement) -> Call[Settled]:
        ended = settlement.attempt
        return self.ledger.settle(
            item.job_id,
            item.token,
            State(settlement.state),
            attempt=attempt(code="null" if ended == "ok" else f'"{ended}"') if ended else b"",
            counted=settlement.counted,
            ending=ANSWER if settlement.state == "succeeded" else FAILURE,
            outcome=settlement.outcome,  # type: ignore[arg-type]
            wait_s=settlement.wait_ms / 1000 or None,
            cool_s=settlement.cool_ms / 1000,
            used=settlement.used,
            told=settlement.told,
            spent=settlement.spent,
            pause=b'"code":"refused","message":"No."',
        )

    @rule(prices=PRICES)
    def tell_prices(self, prices: dict[tuple[str, str], CallPrice | None]) -> None:
        self.driver.run(self.ledger.tell_prices(prices))
        self.model.tell_prices(prices)
        self.compare()

    # Operators

    @rule(connection=CONNECTIONS, what=st.sampled_from(["pause", "resume", "resume", "prove"]))
    def ask_as_an_operator(self, connection: str, what: str) -> None:
        if what == "pause":
            self.driver.run(self.ledger.pause(connection, message="Later."))
            self.model.pause(connection)
        else:
            self.resume(connection, proof=what == "prove")
        self.compare()

    def resume(self, connection: str, *, proof: bool = False) -> None:
        call = self.ledger.resume(connection, proof=proof)
        assert self.driver.run(call) == self.model.resume(connection, proof=proof)

    # Time

    @rule(seconds=st.sampled_from([0, 0.5, 1, 2.5, 3, 3, 5, 20, 31, 31, 100, 90_000, 700_000]), most=CHUNKS)
    def let_time_pass(self, seconds: float, most: int) -> None:
        self.pass_time(seconds)
        if most != 1:
            self.tick("w1", most=most)

    @rule(worker=WORKERS, restarted=st.booleans(), most=CHUNKS)
    def tick_some(self, worker: str, restarted: bool, most: int) -> None:
        self.tick(worker, restarted=restarted, most=most)

    def pass_time(self, seconds: float) -> None:
        self.driver.pass_s(seconds)
        self.model.now = self.driver.now

    def tick(self, worker: str, *, restarted: bool = False, most: int = 500) -> None:
        run_id = f"{self.model.run_id}'" if restarted else (self.model.run_id or "run")
        leads, dead = self.model.tick(worker, run_id, 3000, 30_000)
        ticked = self.driver.tick(worker, run_id, most=most)
        assert ticked.leads == leads
        found = set(ticked.dead_workers)
        while ticked.leads and ticked.wait_ms == 0:
            check_consistent(self.driver.everything())
            ticked = self.driver.tick(worker, run_id, most=most)
            found |= set(ticked.dead_workers)
        if leads:
            assert found == dead
            assert set(ticked.due_lanes) == {
                lane for lane, at in self.model.asked.items() if at <= self.driver.now
            }
            following = min(self.model.deadlines(), default=self.driver.now + 1000)
            assert ticked.wait_ms <= max(0, following - self.driver.now), "the clock would come too late"
        self.compare()

    @rule(rules=st.sampled_from(RULES))
    def publish(self, rules: dict[str, Any]) -> None:
        call = self.ledger.publish(str(RULES.index(rules)), b"{}", rules)
        first = self.client.hget("t:settings", "digest") is None
        assert self.driver.run(call) == (self.model.publish(rules) or first)
        self.compare()

    # What is compared

    def token(self, pick: int) -> Admitted:
        """Mostly one of the last."""
        return (
            self.tokens[-1 - pick % min(len(self.tokens), 8)]
            if pick % 5
            else self.tokens[pick % len(self.tokens)]
        )

    def note(self, admitted: Any, expected: list[tuple[str, str]]) -> None:
        assert [(item.job_id, item.worker) for item in admitted] == expected
        self.model.note_tokens(admitted)
        self.tokens += admitted

    def compare(self) -> None:
        self.check_changes()
        if not self.hurried:
            stored = self.driver.everything()
            check_consistent(stored)
            check_against(self.model, stored)
            self.check_records(family(stored, "result"))

    def check_changes(self) -> None:
        for job in self.model.jobs.values():
            before, after = self.states.get(job.number, State.QUEUED), State(job.state)
            # A job that comes back from its worker too late for its expiry is queued and expired in one script.
            passing = {State.EXPIRED} if before == State.RUNNING else set()
            assert after == before or after in CHANGES[before] | passing, f"{job.id}: {before} -> {after}"
            self.states[job.number] = after

    def check_records(self, results: dict[str, str]) -> None:
        """Final records are there, are right, and never change."""
        assert set(results) == {job.id for job in self.model.at("end")}
        self.records = {id_: raw for id_, raw in self.records.items() if id_ in results}
        for id_, raw in results.items():
            job = self.model.jobs[id_]
            if id_ in self.records:
                assert raw == self.records[id_], f"the final record of {id_} changed"
                continue
            record = JobRecord.model_validate_json(raw)
            self.records[id_] = raw
            assert record.state == job.state in FINAL
            assert record.final
            assert record.custom_id == job.entry.job.custom_id
            assert record.metadata == job.entry.job.metadata
            assert [item.error_code or "ok" for item in record.attempts] == job.attempts
            assert [item.number for item in record.attempts] == list(range(1, len(job.attempts) + 1))
            assert (record.started_at is not None) == job.started
            assert (record.result is None) == (job.state != "succeeded")
            assert (record.error is None) == (job.state == "succeeded")

    def teardown(self) -> None:
        """Everything comes to its end by workers and time alone, and leaves nothing behind."""
        if sys.exception() is not None:
            return
        with self.hurry():
            for worker in ("w1", "w2", "w3"):
                self.drain(worker, leave=True)
        self.publish(RULES[0])
        with self.hurry():
            for connection in ("alpha", "beta", "gamma"):
                self.resume(connection)
            for batch in ("b1", "b2"):
                self.pause_or_resume_a_batch(batch, "resume", {"max_cost_usd": 9.0, "max_tokens": 1_000_000})
            self.tell_prices(
                {(name, model): CallPrice(0, 1, 2) for name in ("alpha", "beta", "gamma") for model in "mn"}
            )
        self.renew("w1", 1000)
        for _ in range(50):
            if not self.model.at("line", "later", "claim", "held"):
                break
            self.tick("w1")
            with self.hurry():
                for lane in sorted(self.model.asked):
                    self.start(lane, 100)
                self.settle_all_that_is_held(Settlement("succeeded", "ok", True, "ok"))
            self.pass_time(4000)
            self.renew("w1", 1000, registered=True)
        else:
            raise AssertionError("jobs that nobody will pick up")
        for _ in range(3):
            self.pass_time(700_000)
            self.renew("w1", 1000)
            self.tick("w1")
            with self.hurry():
                for lane in sorted(self.model.asked):
                    self.admit(lane, 1)
        self.drain("w1", leave=True)
        stored = self.driver.everything()
        assert leftovers(stored) == set()

    @contextlib.contextmanager
    def hurry(self) -> Iterator[None]:
        """Compare only after it."""
        self.hurried = True
        yield
        self.hurried = False
        self.compare()

    def is_held(self, item: Admitted) -> bool:
        job = self.model.jobs.get(item.job_id)
        return job is not None and job.place == "held" and job.token == item.token


def in_billionths(budgets: dict[str, Any]) -> dict[str, int]:
    """The budgets of a batch as the model takes them."""
    names = {"max_cost_usd": ("max_cost", 1e9), "max_tokens": ("max_tokens", 1)}
    return {names[name][0]: round(most * names[name][1]) for name, most in budgets.items()}


def profile(examples: int) -> settings:
    """The session's profile for a machine of many steps."""
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=60 if EXAMPLES else 30,
        report_multiple_bugs=False,
        # Shrinking takes minutes.
        phases=list(Phase) if os.environ.get("CHATQ_TEST_SHRINK") else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.timeout(0 if EXAMPLES else 180)
@pytest.mark.parametrize("examples", [6, pytest.param(40, marks=pytest.mark.thorough)])
def test_a_real_server_agrees_with_the_model(valkey: RealServer, examples: int) -> None:
    with contextlib.closing(valkey.client()) as client:
        machine = type("RealLedgerMachine", (LedgerMachine,), {"client": client})
        run_state_machine_as_test(machine, settings=profile(examples))


@pytest.mark.thorough
@pytest.mark.timeout(0 if EXAMPLES else 180)
def test_fakeredis_agrees_with_the_model() -> None:
    with contextlib.closing(fakeredis.FakeRedis(server=fakeredis.FakeServer())) as client:
        machine = type("FakeLedgerMachine", (LedgerMachine,), {"client": client})
        run_state_machine_as_test(machine, settings=profile(8))
