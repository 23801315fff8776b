"""What the ledger should do, in plain Python: the reference that the property test compares a server with.

It keeps the same facts as the scripts, in objects instead of keys (`ledger_places.py`), and has the same answer to
every call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ledger_budgets import Asked, Charge
from ledger_driver import EntryOfJob
from ledger_limits import Amounts, Bucket, amounts
from ledger_places import (
    BEGIN_RECHECK_MS,
    BEYOND_SLOTS,
    CLAIM_MS,
    CLAIMS_PER_WORKER,
    CLOSED_MS,
    DAY_MS,
    FIRST_CLAIMS,
    RECHECK_MS,
    SUSPECTS_PER_WORKER,
    ModelBatch,
    ModelJob,
    ModelLane,
    Places,
    account_of,
    suspicion,
)

from chatq.ledger.call_facts import CallPrice, LimitTold, Spent, TokensUsed
from chatq.ledger.replies import Admitted


@dataclass(frozen=True)
class Settlement:
    """What a worker settles. `attempt`: what it ended with, empty when no call can have been sent."""

    state: str
    attempt: str = ""
    counted: bool = False
    outcome: str = ""
    wait_ms: int = 0
    cool_ms: int = 0
    used: TokensUsed | str = ""
    told: Sequence[LimitTold] = ()
    spent: Spent | str = ""


class Model(Places):
    """Every call of the ledger."""

    # Enqueueing

    def enqueue(
        self, entries: list[EntryOfJob], batch_id: str, most_jobs: int
    ) -> list[tuple[str, str]] | str:
        batch = self.batches.get(batch_id)
        if batch_id and (batch is None or batch.sealed):
            return "no_batch"
        known = {scope: job.id for job in self.jobs.values() for scope in self._scopes(job.entry, job.batch)}
        fresh: list[EntryOfJob] = []
        reply: list[tuple[str, str]] = []
        first: dict[str, EntryOfJob] = {job.id: job.entry for job in self.jobs.values()}
        for entry in entries:
            scopes = self._scopes(entry, batch_id)
            old = next((known[scope] for scope in scopes if scope in known), None)
            if old is None:
                fresh.append(entry)
                known |= dict.fromkeys(scopes, entry.id)
                first[entry.id] = entry
                reply.append(("new", entry.id))
            else:
                reply.append(("same" if _alike(first[old], entry) else "conflict", old))
        backlog = len(self.at("line", "later", "claim", "held"))
        if fresh and backlog + len(fresh) > most_jobs:
            return "full"
        for entry in fresh:
            self._write(entry, batch_id)
        return reply

    @staticmethod
    def _scopes(entry: EntryOfJob, batch_id: str) -> list[tuple[str, ...]]:
        """The idempotency key of a job, and its id."""
        job = entry.job
        if job.idempotency_key:
            return [("tenant", job.tenant or "", job.idempotency_key), ("id", entry.id)]
        if batch_id and job.custom_id:
            return [("batch", batch_id, job.custom_id), ("id", entry.id)]
        return [("id", entry.id)]

    def _write(self, entry: EntryOfJob, batch_id: str) -> None:
        wanted = entry.job
        job = ModelJob(
            entry, entry.flow(batch_id), next(self.numbers), batch_id,
            None if wanted.expires_in is None else self.now + int(wanted.expires_in * 1000),
        )  # fmt: skip
        self.jobs[job.id] = job
        self.counts[job.connection, "queued"] += 1
        if batch_id:
            batch = self.batches[batch_id]
            batch.jobs.append(job.id)
            batch.flows.add(job.flow)
            job.moved = batch.moves
            batch.counts["queued"] += 1
            self._touch(batch)
        delay = 0 if wanted.not_before is None else int(float(wanted.not_before) * 1000)  # type: ignore[arg-type]
        if delay:
            self._place_later(job, self.now + delay)
        else:
            self._place_in_line(job)

    # Jobs under way

    def admit(self, name: str, most: int) -> tuple[str, int, list[tuple[str, str]]]:
        """Why no more may go, the ms to wait, and (job, worker) of those that go."""
        lane = self.lane(name)
        if lane.cool > self.now:
            if name in self.asked:
                self.asked[name] = lane.cool
            self.hungry.pop(name, None)
            return "breaker" if lane.why == "breaker" else "cooling", lane.cool - self.now, []
        if lane.out:
            self._review(name)
            lane = self.lane(name)
        gone: list[tuple[str, str]] = []
        reason, wait, to_empty = "", RECHECK_MS, None
        passed_over: list[bool] = []
        refused, reserves = 0, False
        limits, buckets, account = self.lane_limits(name), self.buckets(name), account_of(name)
        concurrency, day_limit = (
            self.rules.get(f"concurrency:{account}"),
            limits.stated_day(self.rules, account),
        )
        while not reason:
            choice = self.slots.keys() - self.stalled or self.slots.keys()
            workers = sorted(choice, key=lambda worker: (self.room(worker), worker), reverse=True)
            job, worker, to_empty, aside = self._next(name, lane, workers, to_empty)
            asked = None if job is None else self.asks(name, job)
            if job is None:
                reason = "empty" if not lane.tags else aside if workers else "no_worker"
            elif concurrency is not None and lane.inflight >= concurrency:
                reason = "concurrency"
            elif lane.window is not None and lane.probes >= lane.window:
                reason = "ramp"
            elif len(gone) + refused >= most and (refused or (gone and self.room(gone[-1][1]) > 0)):
                reason, wait = "more", 0
            elif full := self._full(lane, workers, passed_over, to_empty, is_suspect=worker is not None):
                reason, wait = full, BEGIN_RECHECK_MS if full == "claims" else RECHECK_MS
            elif asked is not None and (asked.refused or asked.over):
                if len(gone) + refused >= most:
                    reason, wait = "more", 0
                    continue
                refused += 1
                if asked.refused:
                    self._unplace(job)
                    self._finish(job, "failed")
                else:
                    self._use_up(job, asked)
                lane = self.lane(name)
            else:
                worker = worker or workers[len(passed_over)]
                need = self._need(job, name)
                wait, kind = self._wait_for(buckets, need, day_limit, name)
                if wait > 0:
                    reason = kind
                elif len(gone) + refused >= most:
                    reason = "more"
                else:
                    wait = RECHECK_MS
                    if buckets or day_limit is not None or asked is not None:
                        reserves = True
                        limits.take(buckets, need, self.now)
                        job.reserved = need
                    self._let_go(job, lane, name, worker)
                    if asked is not None:
                        job.charge = asked.charge
                        for account in self.accounts_of(job):
                            account.hold(asked.charge, 1)
                    gone.append((job.id, worker))
        if gone and reserves:
            limits.keep(buckets, self.now)
        if gone and lane.window is not None:
            self._review(name)
        if to_empty is not None:
            self.closed[to_empty] = self.now + CLOSED_MS
        if reason == "empty":
            self._tidy(name)
            return reason, RECHECK_MS, gone
        if name in self.asked:
            self.asked[name] = self.now + wait
        if reason == "slots" and name not in self.hungry:
            self.hungry[name] = next(self.numbers)
        elif reason != "slots":
            self.hungry.pop(name, None)
        return reason, wait, gone

    def _next(
        self, name: str, lane: ModelLane, workers: list[str], to_empty: str | None
    ) -> tuple[ModelJob | None, str | None, str | None, str]:
        """The job that goes next, its worker, one that is to be emptied, and why the first that stands aside does.
        Workers come with most room first."""
        why = ""
        for flow in sorted(lane.tags, key=lambda flow: (lane.tags[flow], flow.encode())):
            job = self.line(flow)[0]
            fits, worker, to_empty = self._worker_for(job, lane, workers, to_empty)
            aside = "" if fits else "suspects"
            if fits and (asked := self.asks(name, job)) is not None:
                aside = asked.waits
            if not aside:
                return job, worker, to_empty, why
            why = why or aside
        return None, None, to_empty, why

    def _worker_for(
        self, job: ModelJob, lane: ModelLane, workers: list[str], to_empty: str | None
    ) -> tuple[bool, str | None, str | None]:
        """Whether a worker may take the job, which if not any will do, and one that is to be emptied."""
        weight = suspicion(job.losses)
        if not weight:
            return True, None, to_empty
        if weight > SUSPECTS_PER_WORKER:
            busy = {other.worker for other in self.at("claim", "held")}
            worker = next((name for name in workers if name not in busy), None)
            if worker is None:
                closed = next(filter(self.is_closed, workers), None)
                to_empty = to_empty or closed or next(iter(workers), None)
            return worker is not None, worker, to_empty
        for worker in workers:
            has_slot = self.room(worker) > 0 or lane.inflight < BEYOND_SLOTS
            fits = self.suspects(worker) + weight <= SUSPECTS_PER_WORKER
            if has_slot and fits and worker != to_empty and not self.is_closed(worker):
                return True, worker, to_empty
        return False, None, to_empty

    def asks(self, name: str, job: ModelJob) -> Asked | None:
        """What a job in line asks of its budgets; None when it has none."""
        server = self.diverted.get(job.flow, job.connection)
        model = job.model if server == job.connection else self.rules.get(f"model:{server}", job.model)
        own = self.account("connection", server)
        budgets: list[tuple[str, str, int, int, int]] = []
        a_day = self.rules.get(f"budget:{server}")
        if a_day is not None:
            today = own.days.get(self.now // DAY_MS, 0)
            budgets.append(("day", "cost", a_day, today, own.held_cost))
        if job.batch:
            batch, its = self.batches[job.batch], self.account("batch", job.batch)
            if batch.max_cost is not None:
                budgets.append(("cost", "cost", batch.max_cost, its.cost + its.lost_cost, its.held_cost))
            if batch.max_tokens is not None:
                taken = its.prompt_tokens + its.answer_tokens + its.lost_tokens
                budgets.append(("tokens", "tokens", batch.max_tokens, taken, its.held_tokens))
        if not budgets:
            return None
        need = self.lane_limits(name).need(job.size, job.cap, door=True)
        cost = 0
        if any(kind == "cost" for _, kind, *_ in budgets):
            if (server, model) not in self.prices:
                return Asked(waits="price")
            price = self.prices[server, model]
            if price is None:
                return Asked(refused=True)
            each = (price.input_per_million * 1000, price.output_per_million * 1000)
            cost = math.ceil(
                price.call * 1e9 + need["input_tokens"] * each[0] + need["output_tokens"] * each[1]
            )
        charge = Charge(int(need["tokens"]), cost)
        waits = ""
        for which, kind, limit, spent, held in budgets:
            share = charge.cost if kind == "cost" else charge.tokens
            if spent + share > limit:
                refused = which == "day" and share > limit
                return Asked(refused=refused, over=which, needs=spent + share)
            waits = "budget" if spent + held + share > limit else waits
        return Asked(charge, waits)

    def _use_up(self, job: ModelJob, asked: Asked) -> None:
        if asked.over == "day":
            server = self.diverted.get(job.flow, job.connection)
            self.spent[server] = (self.now // DAY_MS + 1) * DAY_MS
            self._move_flows(self.all_flows())
            return
        batch = self.batches[job.batch]
        batch.used_up = (asked.over, asked.needs)
        batch.paused = self.now
        self._move_flows(list(batch.flows))

    def tell_prices(self, prices: dict[tuple[str, str], CallPrice | None]) -> None:
        self.prices |= prices
        for connection, model in prices:
            lane = self.lane_of(connection, model)
            if lane in self.asked:
                self.asked[lane] = self.now

    def _full(
        self,
        lane: ModelLane,
        workers: list[str],
        passed_over: list[bool],
        to_empty: str | None,
        *,
        is_suspect: bool,
    ) -> str:
        """Why no worker has room. `passed_over`: those that have most but are closed (true) or have not begun enough of
        what they were given; more are added."""
        while len(passed_over) < len(workers):
            top = workers[len(passed_over)]
            closed = not is_suspect and (top == to_empty or self.is_closed(top))
            claims = sum(job.worker == top for job in self.at("claim"))
            if not closed and claims < self.window.get(top, CLAIMS_PER_WORKER):
                has_slot = self.room(top) > 0 or lane.inflight < BEYOND_SLOTS
                return "" if has_slot else "slots" if all(passed_over) else "claims"
            passed_over.append(closed)
        return "claims" if not all(passed_over) else "slots" if workers else "no_worker"

    def _need(self, job: ModelJob, name: str) -> Amounts:
        server = self.diverted.get(job.flow, job.connection)
        need = self.lane_limits(name).need(job.size, job.cap, door=f"door:{server}" in self.rules)
        for bucket in self.buckets(name):
            if bucket.kind != "requests":  # no test asks for more than a lane may ever have
                need[bucket.kind] = min(need[bucket.kind], max(1, math.floor(bucket.limit)))
        return need

    def _wait_for(
        self, buckets: list[Bucket], need: Amounts, day_limit: int | None, name: str
    ) -> tuple[int, str]:
        if day_limit is not None and self.lane_limits(name).day_used >= day_limit:
            return DAY_MS - self.now % DAY_MS, "requests_day"
        waits = [(bucket.wait(bucket.full, need[bucket.kind], self.now), bucket.kind) for bucket in buckets]
        longest = max((wait for wait, _ in waits), default=0)
        return math.ceil(longest), next((kind for wait, kind in waits if wait == longest), "")

    def _let_go(self, job: ModelJob, lane: ModelLane, name: str, worker: str) -> None:
        """Start-time fair queueing: the flow with the lowest tag, charged by cost and priority."""
        flow = job.flow
        lane.clock = max(lane.clock, lane.tags[flow])
        job.place, job.worker, job.lane, job.due = "claim", worker, name, self.now + CLAIM_MS
        job.via = self.diverted.get(flow, "")
        if lane.window is not None:
            job.probe = lane.ramp
            lane.probes += 1
        if self.line(flow):
            lane.tags[flow] = int(f"{lane.clock + max(1, job.cost / 1.3 ** (int(flow[0]) - 5)):.0f}")
        else:
            del lane.tags[flow]
            self.diverted.pop(flow, None)
        lane.inflight += 1

    def note_tokens(self, admitted: list[Admitted]) -> None:
        for item in admitted:
            self.jobs[item.job_id].token = item.token

    def note_message(self, worker: str, token: str) -> None:
        """A worker has come to a message, its own or a stale one."""
        if worker in self.leases:
            _, furthest = self.messages.get(worker, (0, 0))
            self.messages[worker] = (self.now, max(furthest, _fence(token)))
            self.stalled.discard(worker)
            if worker in self.window:
                self.window[worker] += 1
                if self.window[worker] >= CLAIMS_PER_WORKER:
                    del self.window[worker]

    def _behind_until(self, job: ModelJob) -> int | None:
        """Messages come in the order of their tokens: this one's turn has not come, and the worker goes on."""
        heard, furthest = self.messages.get(job.worker, (0, 0))
        if _fence(job.token) <= furthest:
            return None
        if heard + CLAIM_MS > self.now:
            return heard + CLAIM_MS
        if job.worker in self.slots.keys() - self.stalled:
            self.stalled.add(job.worker)
            self.window[job.worker] = FIRST_CLAIMS
        return None

    def begin(self, job: ModelJob) -> int | None:
        """Gives the ms to let pass before the call; None when it goes back because of what was learned meanwhile."""
        if self.lane(job.lane).cool > self.now or self.connection(job.server).paused:
            return self._give_back(job)
        self._hold(job)
        if job.reserved is None:
            return 0
        return self.lane_limits(job.lane).pace(self.buckets(job.lane), job.reserved, self.now)

    def _hold(self, job: ModelJob) -> None:
        job.place, job.started, job.begun = "held", True, self.now
        self._count(job, "running")

    def settle(self, job: ModelJob, settlement: Settlement) -> str:
        """Gives the lane whose call ended."""
        state, counted, lane = settlement.state, settlement.counted, job.lane
        back, wait_ms = state in {"queued", "retrying"}, settlement.wait_ms
        if job.place == "claim" and back and not settlement.attempt:
            state = job.state
        else:
            if job.place == "claim":
                self._hold(job)
            self._settle_limits(job, settlement)
            own, behind = self._note(job, settlement)
            if not own:
                state, counted, back = "queued", False, True
                if behind:
                    job.number = next(self.numbers)
                if settlement.outcome != "transient" or self.lane(lane).cool > self.now:
                    wait_ms = 0
            if settlement.attempt:
                job.attempts.append(settlement.attempt)
                job.counted += counted
        self._spend(job, settlement.spent)
        self._release(job)
        if back:
            self._wait_again(job, state, wait_ms)
        else:
            self._finish(job, state)
        return lane

    def go_on(self, ended: Sequence[str]) -> list[tuple[str, str]]:
        """Calls of these lanes ended together. Gives who goes next."""
        gone: list[tuple[str, str]] = []
        hungry = sorted(self.hungry, key=lambda name: self.hungry[name])[: len(ended)]
        turns = {lane: len(ended) // len(hungry) for lane in hungry}
        more = hungry[: len(ended) % len(hungry)] if hungry else []
        for lane in more:
            turns[lane] += 1
        for lane in [*hungry[len(more) :], *more]:
            gone += self.admit(lane, turns[lane])[2]
            if lane in self.hungry:
                self.hungry[lane] = next(self.numbers)
        for lane in dict.fromkeys(ended):
            left = min(len(ended) - len(gone), ended.count(lane))
            if left > 0 and lane not in hungry:
                gone += self.admit(lane, left)[2]
        return gone

    def _settle_limits(self, job: ModelJob, settlement: Settlement) -> None:
        if settlement.used == "-":
            self._refund(job, was_sent=True)
        limits, buckets = self.lane_limits(job.lane), self.buckets(job.lane)
        unheard, changed = limits.is_unheard(self.rules, account_of(job.lane)), bool(settlement.told)
        if isinstance(settlement.used, TokensUsed) and job.reserved is not None:
            used, taken = settlement.used, job.reserved
            really = amounts(used.input, used.output)
            need = limits.need(job.size, job.cap, door=f"door:{job.server}" in self.rules)
            difference = {kind: really[kind] - taken[kind] for kind in really}
            lost = {kind: max(0, taken[kind] - need[kind]) for kind in taken}
            limits.correct(buckets, difference, self.now, was_sent=True, lost=lost)
            limits.learn_tokens(job.size, used.prompt, used.answer)
            changed = True
        for told in settlement.told:
            assert told.limit is not None
            assert told.remaining is not None
            reset_ms = int((told.reset_s or 0) * 1000)
            cost = (job.reserved or amounts(0, 0))[told.kind]
            others = self.lane(job.lane).inflight - 1
            limits.learn(
                buckets, told.kind, told.limit, told.remaining, reset_ms, job.begun, self.now, cost, others
            )
        heard = limits.heard
        if settlement.told:
            heard = True
        elif unheard and settlement.outcome not in {"", "transient", "limited"}:
            heard = False
        if heard != limits.heard:
            limits.heard, changed = heard, True
            if not limits.cut:
                limits.rate, limits.fresh = None, False
        if changed:
            limits.keep(buckets, self.now)

    def _note(self, job: ModelJob, settlement: Settlement) -> tuple[bool, bool]:
        """What a call tells of its lane and connection; whether the attempt is the job's own, and if not, whether it
        goes behind."""
        outcome = settlement.outcome
        lane, server = self.lane(job.lane), self.connection(job.server)
        if outcome == "":
            return True, False
        if outcome == "transient":
            return self._note_failure(job, lane), True
        lane.oks += outcome == "ok"
        lane.fails = lane.failed = lane.kept = lane.tries = 0
        lane.opened = None
        if outcome in {"ok", "request"} and lane.window is not None:
            lane.window = lane.window * 2 if lane.window <= 512 else None
            lane.probes = lane.probes if lane.window else 0
            self._review(job.lane)
        if outcome == "ok" and not server.works:
            server.works, server.misses = True, 0
        if outcome == "limited":
            return self._note_limited(job, lane, settlement.cool_ms)
        if outcome == "account":
            return self._note_refused(job), False
        return outcome != "missing" or self._note_missing(job), False

    def _note_refused(self, job: ModelJob) -> bool:
        server = self.connection(job.server)
        if server.proven is not None and job.refused is not None and server.proven > job.refused:
            return True
        job.refused = self.now
        if job.begun >= server.resumed:
            self._pause(job.server, by_operator=False)
        return False

    def _note_missing(self, job: ModelJob) -> bool:
        server = self.connection(job.server)
        if server.works:
            return True
        if job.begun < server.resumed:
            return False
        server.misses += 1
        if server.misses < 5:
            return True
        self._pause(job.server, by_operator=False)
        return False

    def _note_failure(self, job: ModelJob, lane: ModelLane) -> bool:
        """The provider failed; a job loses no second attempt to what fails others too, and none as a probe."""
        lane.fails += 1
        first = job.streak != lane.oks
        others = lane.failed >= 2 or bool(lane.tags) or lane.inflight > 1
        if first:
            lane.failed += 1
            job.streak = lane.oks
        lane.kept = self.now + 120_000
        probe = lane.opened is not None and job.begun >= lane.opened
        if probe:
            lane.tries += 1
            self._break(job.lane, min(30_000, 1000 * 2**lane.tries))
        elif lane.fails >= 5 and lane.opened is None:
            lane.opened, lane.tries = self.now, 0
            self._break(job.lane, 1000)
        return (first and not probe) or not others

    def _break(self, name: str, cool_ms: int) -> None:
        self._cool_down(name, cool_ms, "breaker")
        self._ramp_up(name)

    def _cool_down(self, name: str, cool_ms: int, why: str) -> None:
        lane = self.lane(name)
        if self.now + cool_ms > max(lane.cool, self.now):
            lane.cool, lane.why = self.now + cool_ms, why
            self._tidy(name)

    def _note_limited(self, job: ModelJob, lane: ModelLane, cool_ms: int) -> tuple[bool, bool]:
        before, job.limited = job.limited, lane.oks
        limits, buckets = self.lane_limits(job.lane), self.buckets(job.lane)
        source = limits.requests_limit(self.rules, account_of(job.lane), self.now)[1]
        limits.slow_down(buckets, source, job.begun, self.now + cool_ms, self.now)
        self._cool_down(job.lane, cool_ms, "limited")
        self._review(job.lane)
        return before is not None and lane.oks > before, before == lane.oks

    # Pausing

    def _pause(self, name: str, *, by_operator: bool) -> None:
        connection = self.connection(name)
        if by_operator or not connection.paused:
            connection.paused = "operator" if by_operator else "failure"
            self._move_flows(self.all_flows())

    def pause(self, name: str) -> None:
        self._pause(name, by_operator=True)

    def resume(self, name: str, *, proof: bool) -> bool:
        connection = self.connection(name)
        if not connection.paused or (proof and connection.paused == "operator"):
            return False
        connection.paused, connection.misses, connection.resumed = "", 0, self.now
        if proof:
            connection.proven = self.now
        flows = self.all_flows()
        self._move_flows(flows)
        for flow in flows:
            _, connection, model, *_ = flow.split("\x1f")
            if connection == name and self.lane_now(flow) is not None:
                self._ramp_up(self.lane_of(name, model))
        return True

    # Cancelling

    def cancel(self, job: ModelJob) -> str:
        if job.place == "end":
            return job.state
        if job.place == "held":
            job.cancel = True
            return "stopping"
        if job.place == "claim":
            self._release(job)
        else:
            self._unplace(job)
        self._finish(job, "cancelled")
        return "cancelled"

    def open_batch(
        self, name: str, keep: int, max_cost: int | None = None, max_tokens: int | None = None
    ) -> bool:
        if name in self.batches:
            return False
        self.batches[name] = ModelBatch(keep, 0, max_cost=max_cost, max_tokens=max_tokens)
        self._touch(self.batches[name])
        return True

    def _touch(self, batch: ModelBatch) -> None:
        batch.touched = self.now + max(batch.keep, DAY_MS)

    def seal(self, name: str) -> bool:
        if name not in self.batches:
            return False
        self.batches[name].sealed = True
        self._end_batch_if_over(name)
        return True

    def cancel_batch(self, name: str, most: int) -> str:
        batch = self.batches.get(name)
        if batch is None:
            return "unknown"
        if batch.ended is not None:
            return "ended"
        if not batch.cancelled:
            batch.cancelled = batch.sealed = batch.sweeping = True
            batch.paused, batch.used_up, batch.moving, batch.swept = None, None, False, 0
            for flow in batch.flows:
                self._take_flow(flow)
        return "more" if self._sweep(name, most) else "done"

    def _sweep(self, name: str, most: int) -> bool:
        """Cancels, or moves, the next jobs of a batch; whether there may be more."""
        batch = self.batches[name]
        ids = batch.jobs[batch.swept : batch.swept + most]
        for job_id in ids:
            if job_id in self.jobs and self.jobs[job_id].batch == name:
                self.cancel(self.jobs[job_id]) if batch.cancelled else self._move(self.jobs[job_id])
        batch.sweeping = len(ids) == most
        if batch.sweeping:
            batch.swept += most
        else:
            batch.moving = False
            if not batch.cancelled:
                self._move_flows(list(batch.flows))
            self._end_batch_if_over(name)
        return batch.sweeping

    def _why_over(self, name: str) -> str:
        batch = self.batches.get(name)
        if batch is None:
            return "unknown"
        return "ended" if batch.ended is not None else "cancelled" if batch.cancelled else ""

    def pause_batch(self, name: str) -> str:
        if over := self._why_over(name):
            return over
        batch = self.batches[name]
        if batch.paused is None:
            batch.paused = self.now
            self._move_flows(list(batch.flows))
        return "paused"

    def resume_batch(self, name: str, max_cost: int | None = None, max_tokens: int | None = None) -> str:
        if over := self._why_over(name):
            return over
        batch = self.batches[name]
        allowed = {"cost": max_cost or batch.max_cost, "tokens": max_tokens or batch.max_tokens}
        if batch.used_up is not None and (allowed[batch.used_up[0]] or 0) < batch.used_up[1]:
            return "used_up"
        batch.max_cost, batch.max_tokens, batch.used_up = allowed["cost"], allowed["tokens"], None
        if batch.paused is not None:
            batch.paused = None
            self._move_flows(list(batch.flows))
        return "resumed"

    def move_batch(self, name: str, connection: str, model: str, most: int) -> str:
        if over := self._why_over(name):
            return over
        batch = self.batches[name]
        if not batch.moving or batch.to != (connection, model):
            batch.to, batch.moving, batch.sweeping, batch.swept = (connection, model), True, True, 0
            batch.moves += 1
            self._move_flows(list(batch.flows))
        return "more" if self._sweep(name, most) else "done"

    def delete(self, job: ModelJob) -> str:
        if job.place != "end":
            return job.state
        del self.jobs[job.id]
        self.ended.pop(f"job:{job.id}", None)
        return "deleted"

    # Workers and time

    def renew(self, worker: str, lease_ms: int, slots: int, *, registered: bool) -> str:
        if worker in self.leases:
            self.leases[worker] = self.now + lease_ms
            return "renewed"
        if registered:
            return "lost"
        self.leases[worker] = self.now + lease_ms
        self.slots[worker] = slots
        return "registered"

    def drain(self, worker: str, *, leave: bool) -> int:
        self.slots.pop(worker, None)
        self.stalled.discard(worker)
        claims = [job for job in self.at("claim") if job.worker == worker]
        for job in sorted(claims, key=lambda job: (job.due, job.id)):
            self._give_back(job)
        held = [job for job in self.at("held") if job.worker == worker] if leave else []
        for job in sorted(held, key=lambda job: (job.begun, job.id)):
            self._lose(job, apart=len(held) == 1)
        if leave:
            self.closed.pop(worker, None)
            self.window.pop(worker, None)
            self.leases.pop(worker, None)
            self.messages.pop(worker, None)
            if self.leader is not None and self.leader[0] == worker:
                self.leader = None
        return len(claims) + len(held)

    def tick(self, worker: str, run_id: str, leader_ms: int, grace_ms: int) -> tuple[bool, set[str]]:
        """Whether this worker leads, and the workers that were found dead."""
        leader, until = self.leader or ("", 0)
        if leader != worker and leader in self.leases and until > self.now:
            return False, set()
        self.leader = (worker, self.now + leader_ms)
        restarted = self.run_id not in {None, run_id}
        if restarted or (until and self.now - until > leader_ms):
            spared = self.now + (grace_ms if restarted else leader_ms)
            self.leases = {name: max(end, spared) for name, end in self.leases.items()}
        if restarted:
            for job in self.at("claim"):
                job.due = job.due if job.due > self.now else self.now + CLAIM_MS
        self.run_id = run_id
        dead = {name for name, end in self.leases.items() if end <= self.now}
        for name in sorted(dead):
            self.drain(name, leave=True)
        if worker in dead:
            self.leader = (worker, self.now + leader_ms)
        by_lease = sorted(self.leases, key=lambda name: (self.leases[name], name))
        overdue = [job for job in self.at("claim") if job.due <= self.now]
        for job in sorted(overdue, key=lambda job: (by_lease.index(job.worker), job.due, job.id)):
            patience = self._behind_until(job)
            if patience is None:
                self._give_back(job)
            else:
                job.due = patience
        overdue = [job for job in self.at("later") if job.due <= self.now]
        for job in sorted(overdue, key=lambda job: (job.due, job.id)):
            self._finish(job, "cancelled") if self._is_cancelled(job) else self._place_in_line(job)
        overdue = [
            job for job in self.at("line", "later", "claim") if (job.expires or self.now + 1) <= self.now
        ]
        for job in sorted(overdue, key=lambda job: (job.expires, job.id)):
            self._release(job) if job.place == "claim" else self._unplace(job)
            self._finish(job, "expired")
        self._forget()
        turned = [name for name, until in self.spent.items() if until <= self.now]
        for name in turned:
            del self.spent[name]
        if turned:
            self._move_flows(self.all_flows())
        for name, batch in self.batches.items():
            if not batch.sealed and batch.touched <= self.now:
                self.seal(name)
        for name, batch in self.batches.items():
            while batch.sweeping:
                self._sweep(name, 500)
        return True, dead

    def _forget(self) -> None:
        for entry in [entry for entry, end in self.ended.items() if end <= self.now]:
            del self.ended[entry]
            kind, _, name = entry.partition(":")
            if kind == "job":
                del self.jobs[name]
            else:
                batch = self.batches.pop(name)
                self.accounts.pop(("batch", name), None)
                for job_id in batch.jobs:
                    if job_id in self.jobs and self.jobs[job_id].batch == name:
                        del self.jobs[job_id]

    def publish(self, rules: dict[str, Any]) -> bool:
        if rules == self.rules:
            return False
        self.rules = rules
        for rule in rules:
            if rule.startswith("account:"):
                connection = self.connection(rule.removeprefix("account:"))
                connection.works, connection.misses = False, 0
        self.prices, self.spent = {}, {}
        self._move_flows(self.all_flows())
        for name in list(self.asked):
            if self.lane(name).tags:
                self.asked[name] = self.now
            else:
                self._tidy(name)
        return True


def _alike(one: EntryOfJob, other: EntryOfJob) -> bool:
    """Whether two jobs are the same but for what is not compared."""
    hidden = {"id", "metadata"}
    return one.job.model_dump(exclude=hidden) == other.job.model_dump(exclude=hidden)


def _fence(token: str) -> int:
    return int(token.partition("-")[0])
