"""What can be asked of the ledger: one method a script, typed. Nothing is sent here; see `server.py`.

Times are milliseconds of Redis's clock where a name says `_ms`, else seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, Literal

import orjson

from chatq.contract.job import JOB_FORMAT, Job
from chatq.contract.keys import Keys
from chatq.contract.states import State
from chatq.contract.token_estimate import longest_answer, prompt_size, weight
from chatq.ledger.backlog_history import BacklogSample, read_backlogs
from chatq.ledger.call import Call
from chatq.ledger.measured import Measured, read_measured

FLOW_SEPARATOR = "\x1f"
_FIELD_SEPARATOR: Final = "\x1e"
AT_ONCE: Final = 100
"""Jobs that one call changes where there may be a million: each takes the server some 50 to 100 us, which holds up
everybody."""

EnqueueStatus = Literal["new", "same", "conflict"]


@dataclass(slots=True)  # not frozen, as `CheckedJob` is not
class Entry:
    """A job made ready for the ledger."""

    job: Job
    id: str
    request: bytes
    model: str
    """The model it will ask for: its own, else its connection's, else empty."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Its connection's parameters, as far as they say how long an answer may be; the job's own win."""
    traceparent: str = ""
    """Where its trace goes on: W3C Trace Context; empty when it is not traced."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of an enqueue call. `jobs`: (status, id) for each entry, in order; empty when refused.

    `refused`: None, or 'full' (backlog; `backlog_jobs` and `backlog_bytes` are there now, and `retry_after_ms` is
    until a try is worth it), or 'no_batch'.
    """

    jobs: Sequence[tuple[EnqueueStatus, str]] = ()
    refused: Literal["full", "no_batch"] | None = None
    now_ms: int = 0
    backlog_jobs: int = 0
    backlog_bytes: int = 0
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a call to retry failed jobs. `jobs`: ids of the new ones; `cursor`: for the next call, None when
    there are no more. `refused` as in `Enqueued`."""

    jobs: Sequence[str] = ()
    cursor: int | None = None
    refused: Literal["full", "no_batch"] | None = None
    backlog_jobs: int = 0
    backlog_bytes: int = 0
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job that may go now: to this worker, under this token.

    `connection` makes the call, with `model`. `attempt`: counts from 1.
    """

    job_id: str
    connection: str
    token: str
    worker: str
    model: str = ""
    batch: str = ""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Admission:
    """The jobs that may go now, why no more may, and the milliseconds until a try is worth it."""

    admitted: Sequence[Admitted]
    reason: str
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Walk:
    """How a job that is traced came to begin. `traceparent`: as it was enqueued. Moments of Redis's clock."""

    traceparent: str
    waiting_since_ms: int
    """From when on it might go, had there been room."""
    admitted_ms: int
    begun_ms: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that this worker now holds. `request` is the JSON that `Job.request` made."""

    request: bytes
    connection: str
    model: str
    counted: int
    """Attempts that counted so far."""
    since_first_call_ms: int
    """Without the time in which its lane cooled down or its connection was paused."""
    wait_ms: int
    """To let pass before the call, so that calls keep the pace of their lane."""
    stands_in: bool
    """Whether `connection` is a fallback of the job's own."""
    batch: str
    """Empty: it is in none."""
    attempt: int
    """Counts from 1, those that did not count included."""
    walk: Walk | None
    """None: it is not traced."""


Outcome = Literal["", "ok", "limited", "transient", "account", "missing", "request", "astray"]
"""What a call tells of its lane and connection; empty: nothing; `astray`: its worker cannot run it, another may."""


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Tokens of a call that ended: `input` and `output` as its source counts them against its limits, `prompt` and
    `answer` as the answer tells them."""

    input: int
    output: int
    prompt: int
    answer: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a success used, in tokens, and cost, in US dollars; None: nobody knows."""

    prompt: int
    answer: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "-" if self.cost_usd is None else billionths(self.cost_usd)
        return f"{self.prompt}:{self.answer}:{cost}"


@dataclass(frozen=True, slots=True)
class CallTook:
    """Seconds: of a call, and those that it had to wait before it to keep its lane's pace."""

    call_s: float
    paced_s: float


@dataclass(frozen=True, slots=True)
class CallPrice:
    """US dollars: for each call, and for a million tokens of prompts and of answers. Budgets reserve by it."""

    call: float
    input_per_million: float
    output_per_million: float

    def __str__(self) -> str:
        # In billionths of a dollar, for a call and for a token.
        parts = (self.call * 1e9, self.input_per_million * 1e3, self.output_per_million * 1e3)
        return ":".join(f"{part:.6f}" for part in parts)


UNKNOWN_PRICE: Final = "-"
"""What `Ledger.price` gives when nobody knows it."""
MAYBE_CHARGED: Final = "?"
"""In place of `Spent`: the call may have been charged, and nobody knows how much."""
NOT_CALLED: Final = "-"
"""In place of `TokensUsed`: no call was made, so what was reserved is given back."""


@dataclass(frozen=True, slots=True)
class LimitTold:
    """What an answer tells of one allowance: `limit` in `window_s`, `remaining` now, all of it again in `reset_s`."""

    kind: str
    limit: int | None
    remaining: int | None
    window_s: float
    reset_s: float | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did: the job's state now; 'again' and 'stale' changed nothing.

    `paused`: whether the connection that made the call is paused now. `wait_ms`: what a job that went back waits at
    least; None when it is final.
    """

    state: str
    paused: bool
    wait_ms: int | None
    admitted: Sequence[Admitted]


@dataclass(frozen=True, slots=True)
class Renewed:
    """`status`: 'registered', 'renewed', or 'lost'. `stop`: jobs held here that were asked to stop.

    `stalled`: whether the worker comes to none of its messages although jobs were given to it.
    """

    status: str
    stalled: bool
    stop: Sequence[str]


@dataclass(frozen=True, slots=True)
class Ticked:
    """What is due. `leads`: whether this worker leads the clock."""

    leads: bool
    wait_ms: int
    dead_workers: Sequence[str] = ()
    due_lanes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A live worker as it described itself.

    `stalled_ms`: for how long it has come to none of its messages although jobs were given to it; None when it does.
    """

    id: str
    facts: Mapping[str, Any]
    slots: int
    held: int
    lease_left_ms: int
    stalled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What goes on at a connection. `pause`: why it is paused, JSON. `served_by`: itself, or the fallback that stands
    in; None when it is paused and none does. Moments in ms. `spending`: names and values, see `spending_of` in
    `budgets.lua`."""

    queued: int
    running: int
    pause: bytes | None
    cooling_until_ms: int | None
    breaker: str
    next_probe_ms: int | None
    served_by: str | None
    spending: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overview:
    """Live workers, and the connections that were asked for.

    `overdue_ms`: for how long something has been due that the clock of the workers does: it lets jobs go.
    """

    workers: Sequence[WorkerFacts]
    connections: Mapping[str, ConnectionFacts]
    overdue_ms: int = 0
    jobs: int = 0
    """Jobs that wait or run, those of other connections too."""

    @property
    def elsewhere(self) -> int:
        """Those of other connections."""
        return self.jobs - sum(facts.queued + facts.running for facts in self.connections.values())

    def without_key(self, connection: str) -> list[str]:
        """The workers that cannot read the key of a connection."""
        return sorted(
            worker.id for worker in self.workers if connection in worker.facts.get("without_key", ())
        )

    def told(self, fact: str) -> list[str]:
        """What workers list as this fact about themselves, each item once."""
        return list(dict.fromkeys(item for worker in self.workers for item in worker.facts.get(fact, ())))


def flow_of(job: Job, model: str, batch_id: str) -> str:
    """The flow that a job is served in: see `prelude.lua`."""
    return _flow(job.priority, job.connection, model, batch_id, job.tenant, job.format)


@lru_cache(maxsize=1024)
def _flow(
    priority: int, connection: str, model: str, batch_id: str, tenant: str | None, job_format: int
) -> str:
    group = f"batch:{batch_id}" if batch_id else f"tenant:{tenant}" if tenant else "single"
    parts = [str(priority), connection, model, group]
    if job_format > 1:
        parts.append(f"format:{job_format}")
    return FLOW_SEPARATOR.join(parts)


def _text(value: bytes | str | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _named(flat: Sequence[bytes | str | int]) -> dict[str, str]:
    """Names and values that stand one after the other."""
    texts = [_text(part) for part in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _admitted(parts: Sequence[bytes]) -> list[Admitted]:
    texts = [_text(part) for part in parts]
    admitted = []
    for i in range(0, len(texts), 7):
        job_id, connection, token, worker, flow, made, model = texts[i : i + 7]
        own_model, batch = _served(flow)
        admitted.append(Admitted(job_id, connection, token, worker, model or own_model, batch, int(made) + 1))
    return admitted


@lru_cache(1000)
def _served(flow: str) -> tuple[str, str]:
    """The model and the batch that a flow serves; see `flow_of`."""
    _, _, model, group, *_ = flow.split(FLOW_SEPARATOR)
    kind, _, name = group.partition(":")
    return model, name if kind == "batch" else ""


def _settled(reply: Any) -> Settled:
    wait = reply[2] if len(reply) > 2 else b""
    return Settled(_text(reply[0]), reply[1:2] == [b"1"], int(wait) if wait else None, _admitted(reply[3:]))


class Ledger:
    """The ledger under one key prefix."""

    def __init__(self, prefix: str) -> None:
        self.keys = Keys(prefix)

    def _call(self, script: str, *arguments: str | bytes | int, decode: Any) -> Call[Any]:
        return Call(script, self.keys.prefix, arguments, decode)

    def _one_of_many(self, script: str, *arguments: str | bytes | int, decode: Any) -> Call[Any]:
        return Call(
            script, self.keys.prefix, arguments, lambda replies: decode(_alone(replies)), gathers=True
        )

    # The caller's side

    def enqueue(
        self, entries: Iterable[Entry], *, backlog_jobs: int, backlog_bytes: int, batch_id: str = ""
    ) -> Call[Enqueued]:
        """Write jobs and give each its place; an id or idempotency key known already gives the old job."""
        arguments: list[str | bytes | int] = [batch_id, backlog_jobs, backlog_bytes]
        ids = []
        for entry in entries:
            job = entry.job
            idempotency = ""
            if job.idempotency_key:
                idempotency = f"tenant:{job.tenant or ''}{FLOW_SEPARATOR}{job.idempotency_key}"
            params = {**entry.params, **job.params} if entry.params else job.params
            size, cap = prompt_size(job), longest_answer(params)
            fields = (
                entry.id,
                flow_of(job, entry.model, batch_id),
                job.due(),
                "" if job.expires_in is None else str(int(job.expires_in * 1000)),
                idempotency,
                orjson.dumps(job.custom_id).decode() if job.custom_id else "",
                job.digest(),
                str(len(entry.request)),
                str(weight(size, cap)),
                str(size),
                str(cap) if cap else "",
                job.metadata_json().decode() if job.metadata else "",
                entry.traceparent,
                "",
            )
            arguments.append(_FIELD_SEPARATOR.join(fields).encode() + entry.request)
            ids.append(entry.id)
        return self._call("enqueue", *arguments, decode=partial(_enqueued, ids))

    def read(self, job_ids: Sequence[str]) -> Call[list[bytes | None]]:
        """The records of jobs as JSON; None where there is none."""
        return self._call("read", *job_ids, decode=lambda reply: [item or None for item in reply])

    def why(self, job_id: str) -> Call[dict[str, str] | None]:
        """Why a job does not run: names and values, see `why.lua`. None when there is no such job."""
        return self._call("why", job_id, decode=lambda reply: _named(reply) if reply else None)

    def cancel(self, job_id: str) -> Call[str]:
        """'unknown', 'cancelled', 'stopping', or the final state that the job already has."""
        return self._call("cancel", job_id, decode=_text)

    def deltas(
        self, job_id: str, position: int, *, most_bytes: int = 1 << 20
    ) -> Call[tuple[int, bool, list[bytes]] | None]:
        """(next position, whether no more will come, deltas as JSON) of a job's answer; None: there is no such job."""
        return self._call("deltas", job_id, position, most_bytes, decode=_page)

    def refuse(self, job_id: str, connection: str, ending: bytes) -> Call[bool]:
        """Write the failed record of a job that was refused; False when there is a job of this id already."""
        return self._call("refuse", job_id, connection, ending, decode=bool)

    def delete(self, job_id: str) -> Call[str]:
        """'unknown', 'deleted', or the state of a job that is not final."""
        return self._call("delete", job_id, decode=_text)

    def open_batch(
        self,
        batch_id: str,
        metadata: Mapping[str, str],
        keep_s: float,
        *,
        retry_of: str = "",
        max_cost_usd: float | None = None,
        max_tokens: int | None = None,
    ) -> Call[bool]:
        """Make an empty batch. False when there is such a batch already.

        `retry_of`: the batch whose failed jobs it is to try again. `max_cost_usd`, `max_tokens`: its budgets.
        """
        return self._call(
            "open_batch",
            batch_id,
            orjson.dumps(metadata),
            int(keep_s * 1000),
            retry_of,
            *_budgets(max_cost_usd, max_tokens),
            decode=bool,
        )

    def drop_batch(self, batch_id: str) -> Call[bool]:
        """Delete an open batch that nothing came into. False: it has jobs, is sealed, or there is none."""
        return self._call("drop_batch", batch_id, decode=bool)

    def seal(self, batch_id: str) -> Call[bool]:
        """Say that no more jobs come into the batch. False when there is none."""
        return self._call("seal", batch_id, decode=bool)

    def let_go(self, batch_id: str, job_ids: Sequence[str]) -> Call[int]:
        """Delete final jobs of a batch, but not those that failed. Returns how many were there."""
        return self._call("let_go", batch_id, *job_ids, decode=int)

    def cancel_batch(self, batch_id: str, most: int = AT_ONCE) -> Call[str]:
        """'unknown', 'ended', 'more' (call again, or leave the rest to the workers' clock) or 'done'."""
        return self._call("cancel_batch", batch_id, most, decode=_text)

    def pause_batch(self, batch_id: str) -> Call[str]:
        """'unknown', 'ended', 'cancelled' (nothing was done), or 'paused'."""
        return self._call("pause_batch", batch_id, decode=_text)

    def resume_batch(
        self, batch_id: str, *, max_cost_usd: float | None = None, max_tokens: int | None = None
    ) -> Call[str]:
        """'unknown', 'ended', 'cancelled', 'used_up' (a budget is; nothing was done), or 'resumed'.

        `max_cost_usd`, `max_tokens`: other budgets for it.
        """
        return self._call("resume_batch", batch_id, *_budgets(max_cost_usd, max_tokens), decode=_text)

    def price(self, connection: str, model: str) -> Call[str | None]:
        """What calls cost, as `tell_prices` takes it; empty: not told yet; None: no worker is alive that could."""
        return self._call(
            "price", connection, model, decode=lambda reply: None if reply is None else _text(reply)
        )

    def move_batch(self, batch_id: str, connection: str, model: str, most: int = AT_ONCE) -> Call[str]:
        """'unknown', 'ended', 'cancelled' (nothing was done), 'more' (call again, or leave the rest to the workers'
        clock) or 'done'."""
        return self._call("move_batch", batch_id, connection, model, most, decode=_text)

    def retry_failed(
        self,
        batch_id: str,
        new_batch_id: str,
        cursor: int,
        *,
        backlog_jobs: int,
        backlog_bytes: int,
        code: str = "",
        connection: str = "",
        most: int = AT_ONCE,
    ) -> Call[Retried]:
        """Try failed jobs again as new jobs in a new, open batch; both ids empty: those that are in no batch.

        `code`, `connection`: only those that failed with this code, only those of this connection.
        """
        return self._call(
            "retry_failed",
            batch_id,
            new_batch_id,
            cursor,
            most,
            code,
            connection,
            backlog_jobs,
            backlog_bytes,
            secrets.token_hex(12),
            decode=_retried,
        )

    def list_batches(self, most: int) -> Call[list[bytes]]:
        """The batches that were made last, the newest first, as JSON."""
        return self._call("list_batches", most, decode=list)

    def read_batch(self, batch_id: str) -> Call[bytes | None]:
        """A batch with its counts as JSON, None when there is none."""
        return self._call("read_batch", batch_id, decode=lambda reply: reply or None)

    def results(
        self,
        batch_id: str,
        cursor: int,
        *,
        in_order: bool = False,
        most: int = 500,
        most_bytes: int = 4 << 20,
    ) -> Call[tuple[int, bool, list[bytes]] | None]:
        """(next cursor, whether no more will come, records as JSON); None when there is no such batch.

        `in_order`: in the order of enqueueing, up to the first that is not final; else as they became final.
        """
        return self._call(
            "results",
            batch_id,
            cursor,
            most,
            most_bytes,
            "1" if in_order else "0",
            decode=_page,
        )

    def published(self) -> Call[bytes | None]:
        """The settings that the leading worker published last, JSON without secrets; None when none ever did."""
        return self._call("published", decode=lambda reply: reply or None)

    def overview(self, connections: Sequence[str]) -> Call[Overview]:
        """Live workers, and what waits and runs on these connections."""
        return self._call("overview", *connections, decode=lambda reply: _overview(reply, connections))

    def metrics(self, connections: Sequence[str]) -> Call[Measured]:
        """What is counted, of the whole and of these connections."""
        return self._call("metrics", *connections, decode=partial(read_measured, connections=connections))

    def backlogs(self, connections: Sequence[str]) -> Call[Mapping[str, Sequence[BacklogSample]]]:
        """What waited and ran at these connections in the last hour."""
        return self._call("backlogs", *connections, decode=partial(read_backlogs, connections=connections))

    def limits(self, connection: str) -> Call[tuple[bytes, dict[str, str], list[dict[str, str]]]]:
        """Why the connection is paused (JSON, or empty), what it has spent, and what limits each of its lanes: see
        `limits.lua`."""
        return self._call(
            "limits",
            connection,
            decode=lambda reply: (reply[0], _named(reply[1]), [_named(facts) for facts in reply[2:]]),
        )

    # Questions to the workers

    def ask(self, question: bytes) -> Call[bool]:
        """Ask the workers something. False when none is alive."""
        return self._call("ask", question, decode=lambda reply: reply == b"asked")

    def asked(self, most: int = 50) -> Call[list[tuple[bytes, str]]]:
        """The questions that were asked, each with the worker that is to answer it. Each is taken once."""
        return self._call(
            "asked",
            most,
            decode=lambda reply: [(reply[i], _text(reply[i + 1])) for i in range(0, len(reply), 2)],
        )

    def answer(
        self, question_id: str, answer: bytes, *, status_of: str = "", keep_s: float = 120
    ) -> Call[int]:
        """Answer a question. `status_of`: the connection whose status outcome the answer is."""
        return self._call("answer", question_id, answer, status_of, int(keep_s * 1000), decode=int)

    def answered(self, question_id: str) -> Call[bytes | None]:
        """The answer to a question, None when there is none yet. It can be read once."""
        return self._call("answered", question_id, decode=lambda reply: reply or None)

    def statuses(self, connections: Sequence[str]) -> Call[list[bytes | None]]:
        """The last status outcomes as JSON, None for a connection that was never checked."""
        return self._call("statuses", *connections, decode=lambda reply: [item or None for item in reply])

    # The worker's side

    def admit(self, lane: str, most: int) -> Call[Admission]:
        """Let jobs of a lane go, as far as limits, slots and fairness allow now."""
        return self._call("admit", lane, most, secrets.token_hex(6), decode=_admission)

    def begin(self, job_id: str, token: str, worker: str) -> Call[Begun | None]:
        """Take hold of an admitted job. None: it is someone else's by now; drop the message."""
        return self._one_of_many("begin", job_id, token, worker, decode=_begun)

    def tell(self, job_id: str, token: str, told_before: int, deltas: Sequence[bytes]) -> Call[bool]:
        """Tell the caller more of the answer: JSON lists of chunk choices. False: the job is someone else's by now."""
        return self._call("tell", job_id, token, told_before, *deltas, decode=lambda reply: reply == b"told")

    def settle(
        self,
        job_id: str,
        token: str,
        state: State,
        *,
        attempt: bytes = b"",
        counted: bool = False,
        ending: bytes = b"",
        outcome: Outcome = "",
        wait_s: float | None = None,
        cool_s: float | None = None,
        used: TokensUsed | str = "",
        told: Iterable[LimitTold] = (),
        pause: bytes = b"",
        spent: Spent | str = "",
        took: CallTook | None = None,
    ) -> Call[Settled]:
        """End the hold on a job.

        `attempt`: what is known of the call, JSON without braces; empty when none can have been sent.
        `state` and `counted` hold when the attempt is the job's own; by `outcome` the ledger may find that it was the
        lane's or the account's, and put the job back. `ending`: of a final state, JSON without braces; also of another,
        if anything was told of the answer: the job is failed then rather than put back. `wait_s`:
        seconds before a job that goes back may go again, else at once. `cool_s`: seconds in which nothing of the lane
        is called. `used`: empty when not known. `pause`: why the connection pauses, where `outcome` has it pause: JSON
        members `code`, `message` and `remedy`. `spent`: what the call cost; empty: nothing. `took`: of a call that
        ended by itself.
        """
        return self._one_of_many(
            "settle",
            job_id,
            token,
            state.value,
            attempt,
            "1" if counted else "0",
            ending,
            outcome,
            _ms(wait_s),
            _ms(cool_s),
            used if isinstance(used, str) else f"{used.input}:{used.output}:{used.prompt}:{used.answer}",
            "".join(map(_told, told)),
            pause,
            secrets.token_hex(6),
            str(spent),
            "" if took is None else f"{_ms(took.call_s)}:{_ms(took.paced_s)}",
            decode=_settled,
        )

    def pause(self, connection: str, *, message: str) -> Call[int]:
        """An operator pauses a connection: nothing of it is admitted until it is resumed."""
        remedy = f"Resume it: chatq connections resume {connection}"
        reason = orjson.dumps({"code": "operator", "message": message, "remedy": remedy})[1:-1]
        return self._call("pause", connection, reason, decode=int)

    def resume(self, connection: str, *, proof: bool = False) -> Call[bool]:
        """End a pause; with `proof` (a check showed that its cause is gone) no operator's. False: none was ended."""
        return self._call("resume", connection, "1" if proof else "0", decode=bool)

    def paused(self) -> Call[dict[str, dict[str, Any]]]:
        """The connections that are paused, each with why: `code`, `message`, `remedy`, `since` (RFC 3339)."""
        return self._call(
            "paused",
            decode=lambda reply: {
                _text(reply[i]): orjson.loads(reply[i + 1]) for i in range(0, len(reply), 2)
            },
        )

    def renew(
        self,
        worker: str,
        *,
        lease_s: float,
        slots: int,
        facts: Mapping[str, Any],
        registered: bool,
        job_format: int = JOB_FORMAT,
    ) -> Call[Renewed]:
        """Say that a worker lives: register it, or extend the lease of all that it holds."""
        return self._call(
            "renew",
            worker,
            int(lease_s * 1000),
            slots,
            orjson.dumps(facts),
            "1" if registered else "0",
            job_format,
            decode=lambda reply: Renewed(
                _text(reply[0]), reply[1] != b"", [_text(item) for item in reply[2:]]
            ),
        )

    def hear(self, worker: str) -> Call[int]:
        """Say that a worker has come to a message that it sent itself."""
        return self._call("hear", worker, decode=int)

    def drain(self, worker: str, *, leave: bool, most: int = 500) -> Call[int]:
        """Take no more jobs; with `leave`, go. Returns jobs put back; call again while it equals `most`."""
        return self._call("drain", worker, "1" if leave else "0", most, decode=int)

    def tick(
        self, worker: str, run_id: str, *, leader_s: float, lease_s: float, most: int = 500
    ) -> Call[Ticked]:
        """Do what time asks for, if this worker leads the clock."""
        return self._call(
            "tick", worker, int(leader_s * 1000), most, run_id, int(lease_s * 1000), decode=_ticked
        )

    def publish(self, digest: str, settings: bytes, rules: Mapping[str, str | int]) -> Call[bool]:
        """Publish the settings that scripts and callers read. False when the same were published already."""
        flat: list[str | int] = []
        for name, value in rules.items():
            flat += (name, value)
        return self._call("publish", digest, settings, *flat, decode=bool)

    def wanted_prices(self, most: int = 100) -> Call[list[tuple[str, str]]]:
        """The connections and models whose price is to be told. Each is named once; what is not told is asked again."""
        return self._call(
            "wanted_prices",
            most,
            decode=lambda reply: [(_text(reply[i]), _text(reply[i + 1])) for i in range(0, len(reply), 2)],
        )

    def tell_prices(self, prices: Mapping[tuple[str, str], CallPrice | None]) -> Call[int]:
        """Tell what calls cost, by connection and model; None: nobody knows."""
        flat: list[str] = []
        for (connection, model), price in prices.items():
            flat += (connection, model, UNKNOWN_PRICE if price is None else str(price))
        return self._call("tell_prices", *flat, decode=int)


def billionths(usd: float) -> int:
    """Dollars as the ledger counts them."""
    return round(usd * 1e9)


def _budgets(max_cost_usd: float | None, max_tokens: int | None) -> tuple[str | int, str | int]:
    return "" if max_cost_usd is None else billionths(max_cost_usd), "" if max_tokens is None else max_tokens


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else str(max(0, int(seconds * 1000)))


def _told(limit: LimitTold) -> str:
    """As `settle_limits` reads it."""
    parts = (limit.limit, limit.remaining, int(limit.window_s * 1000), _ms(limit.reset_s) or None)
    return " ".join([limit.kind, *("-" if part is None else str(part) for part in parts)]) + ";"


def _page(reply: Any) -> tuple[int, bool, list[bytes]] | None:
    return (int(reply[0]), reply[1] == b"1", reply[2:]) if reply else None


def _enqueued(ids: Sequence[str], reply: Any) -> Enqueued:
    status = _text(reply[0])
    if status == "full":
        return Enqueued((), "full", 0, *map(int, reply[1:]))
    if status == "no_batch":
        return Enqueued(refused="no_batch")
    jobs: list[tuple[EnqueueStatus, str]] = [("new", job_id) for job_id in ids]
    for place, known, job_id in zip(reply[2::3], reply[3::3], reply[4::3], strict=True):
        jobs[int(place) - 1] = ("same" if known == b"same" else "conflict", _text(job_id))
    return Enqueued(now_ms=int(reply[1]), jobs=jobs)


def _retried(reply: Any) -> Retried:
    if reply[0] == b"full":
        return Retried((), None, "full", *map(int, reply[1:]))
    if reply[0] == b"no_batch":
        return Retried(refused="no_batch")
    cursor = None if reply[1] == b"1" else int(reply[0])
    return Retried(jobs=[_text(item) for item in reply[2:]], cursor=cursor)


def _alone(replies: Sequence[Any]) -> Any:
    (reply,) = replies
    if isinstance(reply, Exception):
        raise reply
    return reply


def _admission(reply: Any) -> Admission:
    return Admission(_admitted(reply[2:]), _text(reply[0]), int(reply[1]))


def _begun(reply: Any) -> Begun | None:
    if not reply:
        return None
    return Begun(
        reply[0],
        _text(reply[1]),
        _text(reply[2]),
        int(reply[3]),
        int(reply[4]),
        int(reply[5]),
        reply[6] == b"1",
        _text(reply[7]),
        int(reply[8]) + 1,
        Walk(_text(reply[9]), *map(int, reply[10:13])) if len(reply) > 9 else None,
    )


def _ticked(reply: Any) -> Ticked:
    if reply[0] != b"1":
        return Ticked(leads=False, wait_ms=int(reply[1]))
    dead = int(reply[2])
    names = [_text(item) for item in reply[3:]]
    return Ticked(leads=True, wait_ms=int(reply[1]), dead_workers=names[:dead], due_lanes=names[dead:])


def _overview(reply: Any, connections: Sequence[str]) -> Overview:
    head, count = 4, int(reply[3])
    workers = [
        WorkerFacts(
            id=_text(reply[i]),
            facts=orjson.loads(reply[i + 1]),
            slots=int(reply[i + 2]),
            held=int(reply[i + 3]),
            lease_left_ms=int(reply[i + 4]),
            stalled_ms=int(reply[i + 5]) if reply[i + 5] else None,
        )
        for i in range(head, head + 6 * count, 6)
    ]
    rest = iter(reply[head + 6 * count :])
    facts = {
        name: ConnectionFacts(
            queued=int(next(rest)),
            running=int(next(rest)),
            pause=next(rest) or None,
            cooling_until_ms=int(next(rest) or 0) or None,
            breaker=_text(next(rest)),
            next_probe_ms=int(next(rest) or 0) or None,
            served_by=_text(next(rest)) or None,
            spending=_named(next(rest)),
        )
        for name in connections
    }
    return Overview(workers, facts, overdue_ms=int(reply[1]), jobs=int(reply[2]))
