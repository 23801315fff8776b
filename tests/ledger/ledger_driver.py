"""Drives a ledger in a test: makes its calls at moments that the test chooses, and reads all that is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import fakeredis
import orjson
import redis
from redis.exceptions import NoScriptError

from chatq.contract.job import Job
from chatq.contract.record import JobRecord
from chatq.contract.states import State
from chatq.ledger.call import Call
from chatq.ledger.call_facts import Outcome
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Admitted, Begun, Enqueued, Settled, Ticked
from chatq.ledger.script_text import source

T = TypeVar("T")

NOON = 1_800_000_000_000
"""Where the clock of a test starts, ms: 2027-01-15T08:00:00Z."""
LEASE_S = 30.0
LEADER_S = 3.0
PLENTY = 1 << 40
ANSWER = (
    b'"warnings":[],"result":{"text":"hi","finish_reason":"stop","model":"m","usage":{"prompt_tokens":1,'
    b'"completion_tokens":1,"total_tokens":2},"latency_s":0.1,"response":{}}'
)
"""The ending of a job that succeeded, as `settle` takes it."""
FAILURE = b'"warnings":[],"error":{"code":"bad","message":"No.","retryable":false,"remedy":"Ask again."}'
"""The ending of a job that failed."""


def attempt(*, code: str = "null", status: str = "200") -> bytes:
    """What a worker says of a call, as `settle` takes it."""
    return f'"http_status":{status},"error_code":{code},"maybe_charged":false'.encode()


@dataclass(slots=True)
class EntryOfJob(Entry):
    """An entry and the job of which it was made."""

    job: Job = field(init=False)


@dataclass
class LedgerDriver:
    """A ledger on one server, with a clock that stands still until `pass_s` moves it."""

    client: redis.Redis
    ledger: Ledger = field(default_factory=lambda: Ledger("t"))
    now: int = NOON
    made: int = 0

    def __post_init__(self) -> None:
        self.client.flushall()
        self.pass_s(0)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * 1000)
        self.client.set(self.ledger.keys.clock_offset, f"={self.now}")

    def run(self, call: Call[T]) -> T:
        try:
            return call.decode(self.client.execute_command(*call.command()))
        except NoScriptError:
            self.client.script_load(source(call.script))
            return call.decode(self.client.execute_command(*call.command()))

    def run_gathered(self, calls: Sequence[Call[T]]) -> list[T]:
        """Calls of one script that takes many, made as one."""
        parts = self.run(calls[0].gathered(calls[1:]))
        return [call.decode(part) for call, part in zip(calls, parts, strict=True)]

    # The calls as tests mostly make them

    def entry(self, connection: str = "alpha", **fields: Any) -> EntryOfJob:
        """A job made ready; its id is the next of j1, j2, ... unless given."""
        model = fields.pop("default_model", "m")
        if "messages" not in fields:
            fields.setdefault("prompt", "Say hi")
        job = Job(connection=connection, **fields)
        if job.id is None:
            self.made += 1
        made = EntryOfJob.of(
            job, job.id or f"j{self.made}", job.request(max_bytes=PLENTY), job.model or model
        )
        made.job = job
        return made

    def enqueue(self, *entries: Entry, batch: str = "", jobs: int = PLENTY, bytes_: int = PLENTY) -> Enqueued:
        return self.run(self.ledger.enqueue(entries, backlog_jobs=jobs, backlog_bytes=bytes_, batch_id=batch))

    def add(self, connection: str = "alpha", *, batch: str = "", **fields: Any) -> str:
        """Enqueue one new job; returns its id."""
        done = self.enqueue(self.entry(connection, **fields), batch=batch)
        assert [status for status, _ in done.jobs] == ["new"], done
        return done.jobs[0][1]

    def add_many(self, count: int, connection: str = "alpha", *, batch: str = "", **fields: Any) -> list[str]:
        """Enqueue many new jobs; returns their ids."""
        like = self.entry(connection, **fields)
        ids = [f"j{number}" for number in range(self.made, self.made + count)]
        self.made += count - 1
        call = self.ledger.enqueue([like], backlog_jobs=PLENTY, backlog_bytes=PLENTY, batch_id=batch)
        *about_all, one = call.arguments
        assert isinstance(one, bytes)
        about_one = one[one.index(b"\x1e") :]
        for start in range(0, count, 1000):
            each = [id_.encode() + about_one for id_ in ids[start : start + 1000]]
            self.run(replace(call, arguments=(*about_all, *each)))
        return ids

    def worker(self, name: str = "w1", slots: int = 100) -> str:
        """Register a worker."""
        call = self.ledger.renew(name, lease_s=LEASE_S, slots=slots, facts={}, registered=False)
        assert self.run(call).status == "registered"
        return name

    def renew(self, name: str = "w1") -> tuple[str, list[str]]:
        """(status, jobs to stop)."""
        reply = self.run(self.ledger.renew(name, lease_s=LEASE_S, slots=1, facts={}, registered=True))
        return reply.status, sorted(reply.stop)

    def told_stalled(self, name: str) -> bool:
        """Whether a worker that renews its lease hears that it comes to none of its messages."""
        call = self.ledger.renew(name, lease_s=LEASE_S, slots=1, facts={}, registered=True)
        return self.run(call).stalled

    def admit(self, lane: str = "alpha/m", most: int = 100) -> list[Admitted]:
        return list(self.run(self.ledger.admit(lane, most)).admitted)

    def why(self, lane: str = "alpha/m", most: int = 100) -> tuple[str, int]:
        """Why no more of the lane may go now, and the ms until a try is worth it."""
        admission = self.run(self.ledger.admit(lane, most))
        return admission.reason, admission.wait_ms

    def begin(self, job: Admitted) -> bool:
        return self.run(self.ledger.begin(job.job_id, job.token, job.worker)) is not None

    def start(self, lane: str = "alpha/m", most: int = 100) -> list[Admitted]:
        """Admit and begin."""
        admitted = self.admit(lane, most)
        assert all(self.begin(job) for job in admitted)
        return admitted

    def settle(self, job: Admitted, state: str = "succeeded", **details: Any) -> Settled:
        details.setdefault("attempt", attempt())
        details.setdefault("counted", state in {"succeeded", "failed"})
        details.setdefault(
            "outcome", "ok" if state == "succeeded" else "limited" if "cool_s" in details else ""
        )
        if state not in {"queued", "retrying"}:
            details.setdefault("ending", ANSWER if state == "succeeded" else FAILURE)
        return self.run(self.ledger.settle(job.job_id, job.token, State(state), **details))

    def fail(self, job: Admitted, *, wait_s: float = 2) -> Settled:
        """The provider failed."""
        ended = attempt(code='"server_error"', status="500")
        return self.settle(job, "retrying", outcome="transient", counted=True, wait_s=wait_s, attempt=ended)

    def limit(self, job: Admitted, cool_s: float) -> Settled:
        """The provider refused for a limit, and named the moment to come back."""
        ended = attempt(code='"rate_limited"', status="429")
        return self.settle(job, "retrying", cool_s=cool_s, counted=True, wait_s=0.5, attempt=ended)

    def refuse(self, job: Admitted, *, outcome: Outcome = "account", code: str = "unauthorized") -> Settled:
        """The provider refused the account, or (`missing`) knows no such thing."""
        ended = attempt(code=f'"{code}"', status="401")
        reason = f'"code":"{code}","message":"No.","remedy":"Mend it."'.encode()
        return self.settle(job, "failed", outcome=outcome, attempt=ended, pause=reason)

    def pause(self, connection: str = "alpha") -> None:
        self.run(self.ledger.pause(connection, message="Later."))

    def resume(self, connection: str = "alpha", *, proof: bool = False) -> bool:
        return self.run(self.ledger.resume(connection, proof=proof))

    def paused(self) -> dict[str, str]:
        """The paused connections, each with the code of its reason."""
        return {name: reason["code"] for name, reason in self.run(self.ledger.paused()).items()}

    def publish(self, rules: Mapping[str, str | int]) -> None:
        self.run(self.ledger.publish(str(rules), b"{}", rules))

    def begun(self, job: Admitted) -> Begun:
        """Begin a job; what its worker is told."""
        begun = self.run(self.ledger.begin(job.job_id, job.token, job.worker))
        assert begun is not None
        return begun

    def counted(self, job_id: str) -> int:
        """How many attempts of a job counted."""
        return sum(item.counted for item in self.record(job_id).attempts)

    def tick(self, worker: str = "w1", run_id: str = "run-1", most: int = 500) -> Ticked:
        return self.run(self.ledger.tick(worker, run_id, leader_s=LEADER_S, lease_s=LEASE_S, most=most))

    def record(self, job_id: str) -> JobRecord:
        raw = self.run(self.ledger.read([job_id]))[0]
        assert raw is not None, f"no record of {job_id}"
        return JobRecord.model_validate_json(raw)

    def state(self, job_id: str) -> str:
        return str(self.record(job_id).state)

    def everything(self) -> dict[str, Any]:
        """All that is stored: strings, lists, sets, and dictionaries for hashes and sorted sets; without the prefix."""
        read = self._read_key_by_key if isinstance(self.client, fakeredis.FakeRedis) else self._read_at_once
        length = len(self.ledger.keys.prefix) + 1
        return {key[length:]: value for key, value in read().items()}

    def _read_at_once(self) -> dict[str, Any]:
        found = orjson.loads(self.client.eval(_READ_ALL, 0) or b"{}")
        return {key: _shaped(kind, value) for key, (kind, value) in found.items()}

    def _read_key_by_key(self) -> dict[str, Any]:
        """fakeredis has no cjson."""
        found: dict[str, Any] = {}
        for key in self.client.keys("*"):
            match self.client.type(key):
                case b"string":
                    found[key.decode()] = self.client.get(key).decode()
                case b"list":
                    found[key.decode()] = [item.decode() for item in self.client.lrange(key, 0, -1)]
                case b"set":
                    found[key.decode()] = {item.decode() for item in self.client.smembers(key)}
                case b"hash":
                    found[key.decode()] = {
                        k.decode(): v.decode() for k, v in self.client.hgetall(key).items()
                    }
                case b"zset":
                    members = self.client.zrange(key, 0, -1, withscores=True)
                    found[key.decode()] = {member.decode(): score for member, score in members}
        return found


_READERS = {
    "string": "'GET', KEYS[1]",
    "list": "'LRANGE', KEYS[1], 0, -1",
    "set": "'SMEMBERS', KEYS[1]",
    "hash": "'HGETALL', KEYS[1]",
    "zset": "'ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'",
}
_READ_ALL = (
    "local found = {} for _, key in ipairs(redis.call('KEYS', '*')) do local kind = redis.call('TYPE', key).ok\n"
    + "\n".join(
        f"if kind == '{kind}' then found[key] = {{kind, redis.call({reader.replace('KEYS[1]', 'key')})}} end"
        for kind, reader in _READERS.items()
    )
    + "\nend return cjson.encode(found)"
)


def _shaped(kind: str, value: Any) -> Any:
    if kind == "set":
        return set(value)
    if kind == "hash":
        return dict(zip(value[::2], value[1::2], strict=True))
    if kind == "zset":
        return dict(zip(value[::2], map(float, value[1::2]), strict=True))
    return value
