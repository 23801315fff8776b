"""What the ledger should do, in plain Python: the reference that the property test compares a server with.

It keeps the same facts as the scripts, in objects instead of keys (`ledger_places.py`), and has the same answer to
every call.
"""

from __future__ import annotations

from typing import Any

from ledger_places import (
    BEYOND_SLOTS,
    CLAIM_MS,
    DAY_MS,
    RECHECK_MS,
    ModelBatch,
    ModelJob,
    ModelLane,
    Places,
)

from chatq.contract.job import estimate_tokens
from chatq.ledger.ledger import Admitted, Entry, flow_of


class Model(Places):
    """Every call of the ledger."""

    # Enqueueing

    def enqueue(self, entries: list[Entry], batch_id: str, most_jobs: int) -> list[tuple[str, str]] | str:
        batch = self.batches.get(batch_id)
        if batch_id and (batch is None or batch.sealed):
            return "no_batch"
        known = {scope: job.id for job in self.jobs.values() for scope in self._scopes(job.entry, job.batch)}
        fresh: list[Entry] = []
        reply: list[tuple[str, str]] = []
        first: dict[str, Entry] = {job.id: job.entry for job in self.jobs.values()}
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
    def _scopes(entry: Entry, batch_id: str) -> list[tuple[str, ...]]:
        """The idempotency key of a job, and its id."""
        job = entry.job
        if job.idempotency_key:
            return [("tenant", job.tenant or "", job.idempotency_key), ("id", entry.id)]
        if batch_id and job.custom_id:
            return [("batch", batch_id, job.custom_id), ("id", entry.id)]
        return [("id", entry.id)]

    def _write(self, entry: Entry, batch_id: str) -> None:
        wanted = entry.job
        job = ModelJob(
            entry, flow_of(wanted, entry.model, batch_id), next(self.numbers), batch_id,
            None if wanted.expires_in is None else self.now + int(wanted.expires_in * 1000),
            estimate_tokens(entry.request, wanted.params),
        )  # fmt: skip
        self.jobs[job.id] = job
        self.counts[job.connection, "queued"] += 1
        if batch_id:
            batch = self.batches[batch_id]
            batch.jobs.append(job.id)
            batch.flows.add(job.flow)
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
            return "cooling", lane.cool - self.now, []
        account = name if name.startswith("@") else name.partition("/")[0]
        concurrency = self.rules.get(f"concurrency:{account}")
        gone: list[tuple[str, str]] = []
        while True:
            worker = max(self.slots, key=lambda worker: (self.room(worker), worker), default=None)
            if not lane.tags:
                reason = "empty"
            elif concurrency is not None and lane.inflight >= concurrency:
                reason = "concurrency"
            elif worker is None:
                reason = "no_worker"
            elif self.room(worker) <= 0 and lane.inflight >= BEYOND_SLOTS:
                reason = "slots"
            elif len(gone) >= most:
                reason = "more"
            else:
                gone.append((self._let_go(lane, name, worker), worker))
                continue
            break
        if reason == "empty":
            self._tidy(name)
            return reason, RECHECK_MS, gone
        wait = 0 if reason == "more" else RECHECK_MS
        if name in self.asked:
            self.asked[name] = self.now + wait
        if reason == "slots" and name not in self.hungry:
            self.hungry[name] = next(self.numbers)
        elif reason != "slots":
            self.hungry.pop(name, None)
        return reason, wait, gone

    def _let_go(self, lane: ModelLane, name: str, worker: str) -> str:
        """Start-time fair queueing: the flow with the lowest tag, charged by cost and priority."""
        flow = min(lane.tags, key=lambda flow: (lane.tags[flow], flow.encode()))
        job = self.line(flow)[0]
        lane.clock = max(lane.clock, lane.tags[flow])
        job.place, job.worker, job.lane, job.due = "claim", worker, name, self.now + CLAIM_MS
        if self.line(flow):
            lane.tags[flow] = int(f"{lane.clock + max(1, job.cost / 1.3 ** (int(flow[0]) - 5)):.0f}")
        else:
            del lane.tags[flow]
        lane.inflight += 1
        return job.id

    def note_tokens(self, admitted: list[Admitted]) -> None:
        for item in admitted:
            self.jobs[item.job_id].token = item.token

    def note_message(self, worker: str, token: str) -> None:
        """A worker has come to a message, its own or a stale one."""
        if worker in self.leases:
            _, furthest = self.messages.get(worker, (0, 0))
            self.messages[worker] = (self.now, max(furthest, _fence(token)))

    def _behind_until(self, job: ModelJob) -> int | None:
        """Messages come in the order of their tokens: this one's turn has not come, and the worker goes on."""
        heard, furthest = self.messages.get(job.worker, (0, 0))
        waiting = heard + CLAIM_MS > self.now and _fence(job.token) > furthest
        return heard + CLAIM_MS if waiting else None

    def begin(self, job: ModelJob) -> None:
        job.place, job.started, job.begun = "held", True, self.now
        self._count(job, "running")

    def settle(
        self, job: ModelJob, state: str, outcome: str, *, counted: bool, wait_ms: int, cool_ms: int
    ) -> list[tuple[str, str]]:
        """`outcome`: what the attempt ended with, empty when no call can have been sent. Gives who goes next."""
        back, lane = state in {"queued", "retrying"}, job.lane
        if job.place == "claim" and back and not outcome:
            state = job.state
        elif job.place == "claim":
            self.begin(job)
        self._release(job)
        if outcome:
            job.attempts.append(outcome)
            job.counted += counted
        if cool_ms:
            self.lane(lane).cool = max(self.lane(lane).cool, self.now + cool_ms)
            self._tidy(lane)
        if back:
            self._wait_again(job, state, wait_ms)
        else:
            self._finish(job, state)
        gone: list[tuple[str, str]] = []
        hungry = min(self.hungry, key=lambda name: self.hungry[name], default=None)
        if hungry is not None:
            gone = self.admit(hungry, 1)[2]
            if hungry in self.hungry:
                self.hungry[hungry] = next(self.numbers)
        if not gone and hungry != lane:
            gone = self.admit(lane, 1)[2]
        return gone

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

    def open_batch(self, name: str, keep: int) -> bool:
        if name in self.batches:
            return False
        self.batches[name] = ModelBatch(keep, 0)
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
            for flow in batch.flows:
                _, connection, model, _ = flow.split("\x1f")
                lane = self.lane_of(connection, model)
                self.lane(lane).tags.pop(flow, None)
                self._tidy(lane)
        return "more" if self._sweep(name, most) else "done"

    def _sweep(self, name: str, most: int) -> bool:
        """Cancels the next jobs of a cancelled batch; whether there may be more."""
        batch = self.batches[name]
        ids = batch.jobs[batch.swept : batch.swept + most]
        for job_id in ids:
            if job_id in self.jobs and self.jobs[job_id].batch == name:
                self.cancel(self.jobs[job_id])
        batch.sweeping = len(ids) == most
        if batch.sweeping:
            batch.swept += most
        else:
            self._end_batch_if_over(name)
        return batch.sweeping

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
        claims = [job for job in self.at("claim") if job.worker == worker]
        for job in sorted(claims, key=lambda job: (job.due, job.id)):
            self._give_back(job)
        held = [job for job in self.at("held") if job.worker == worker] if leave else []
        for job in sorted(held, key=lambda job: (job.begun, job.id)):
            self._lose(job)
        if leave:
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
        if self.run_id not in {None, run_id}:
            self.leases = {name: max(end, self.now + grace_ms) for name, end in self.leases.items()}
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
                for job_id in batch.jobs:
                    if job_id in self.jobs and self.jobs[job_id].batch == name:
                        del self.jobs[job_id]

    def publish(self, rules: dict[str, Any]) -> bool:
        if rules == self.rules:
            return False
        self.rules = rules
        for name in sorted(self.asked, key=lambda name: (self.asked[name], name)):
            for flow in sorted(self.lane(name).tags, key=lambda flow: (self.lane(name).tags[flow], flow)):
                _, connection, model, _ = flow.split("\x1f")
                if self.lane_of(connection, model) != name:
                    del self.lane(name).tags[flow]
                    self._open_flow(flow)
            self._tidy(name)
        return True


def _alike(one: Entry, other: Entry) -> bool:
    """Whether two jobs are the same but for what is not compared."""
    hidden = {"id", "metadata"}
    return one.job.model_dump(exclude=hidden) == other.job.model_dump(exclude=hidden)


def _fence(token: str) -> int:
    return int(token.partition("-")[0])
