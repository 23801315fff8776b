"""What can be asked of the ledger: one method a script, typed. Nothing is sent here; see `server.py`.

Times are milliseconds of Redis's clock where a name says `_ms`, else seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson

from chatq.contract.job import JOB_FORMAT
from chatq.contract.keys import Keys
from chatq.contract.states import State
from chatq.ledger.backlog_history import BacklogSample, read_backlogs
from chatq.ledger.call import Call
from chatq.ledger.call_facts import (
    UNKNOWN_PRICE,
    CallPrice,
    CallTook,
    LimitTold,
    Outcome,
    Spent,
    TokensUsed,
    billionths,
    milliseconds,
)
from chatq.ledger.entry import Entry
from chatq.ledger.measured import Measured, read_measured
from chatq.ledger.overview import Overview, read_overview
from chatq.ledger.replies import (
    Admission,
    Begun,
    Enqueued,
    Renewed,
    Retried,
    Settled,
    Ticked,
    named,
    read_admission,
    read_begun,
    read_enqueued,
    read_page,
    read_renewed,
    read_retried,
    read_settled,
    read_ticked,
    text,
    the_one,
)

AT_ONCE: Final = 100
"""Jobs that one call changes where there may be a million: each takes the server some 50 to 100 us, which holds up
everybody."""


class Ledger:
    """The ledger under one key prefix."""

    def __init__(self, prefix: str) -> None:
        self.keys = Keys(prefix)

    def _call(self, script: str, *arguments: str | bytes | int, decode: Any) -> Call[Any]:
        return Call(script, self.keys.prefix, arguments, decode)

    def _one_of_many(self, script: str, *arguments: str | bytes | int, decode: Any) -> Call[Any]:
        return Call(
            script, self.keys.prefix, arguments, lambda replies: decode(the_one(replies)), gathers=True
        )

    # The caller's side

    def enqueue(
        self, entries: Iterable[Entry], *, backlog_jobs: int, backlog_bytes: int, batch_id: str = ""
    ) -> Call[Enqueued]:
        """Write jobs and give each its place; an id or idempotency key known already gives the old job."""
        arguments: list[str | bytes | int] = [batch_id, backlog_jobs, backlog_bytes]
        ids = []
        for entry in entries:
            arguments.append(entry.argument(batch_id))
            ids.append(entry.id)
        return self._call("enqueue", *arguments, decode=partial(read_enqueued, ids))

    def read(self, job_ids: Sequence[str]) -> Call[list[bytes | None]]:
        """The records of jobs as JSON; None where there is none."""
        return self._call("read", *job_ids, decode=lambda reply: [item or None for item in reply])

    def why(self, job_id: str) -> Call[dict[str, str] | None]:
        """Why a job does not run: names and values, see `why.lua`. None when there is no such job."""
        return self._call("why", job_id, decode=lambda reply: named(reply) if reply else None)

    def cancel(self, job_id: str) -> Call[str]:
        """'unknown', 'cancelled', 'stopping', or the final state that the job already has."""
        return self._call("cancel", job_id, decode=text)

    def deltas(
        self, job_id: str, position: int, *, most_bytes: int = 1 << 20
    ) -> Call[tuple[int, bool, list[bytes]] | None]:
        """(next position, whether no more will come, deltas as JSON) of a job's answer; None: there is no such job."""
        return self._call("deltas", job_id, position, most_bytes, decode=read_page)

    def refuse(self, job_id: str, connection: str, ending: bytes) -> Call[bool]:
        """Write the failed record of a job that was refused; False when there is a job of this id already."""
        return self._call("refuse", job_id, connection, ending, decode=bool)

    def delete(self, job_id: str) -> Call[str]:
        """'unknown', 'deleted', or the state of a job that is not final."""
        return self._call("delete", job_id, decode=text)

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
        return self._call("cancel_batch", batch_id, most, decode=text)

    def pause_batch(self, batch_id: str) -> Call[str]:
        """'unknown', 'ended', 'cancelled' (nothing was done), or 'paused'."""
        return self._call("pause_batch", batch_id, decode=text)

    def resume_batch(
        self, batch_id: str, *, max_cost_usd: float | None = None, max_tokens: int | None = None
    ) -> Call[str]:
        """'unknown', 'ended', 'cancelled', 'used_up' (a budget is; nothing was done), or 'resumed'.

        `max_cost_usd`, `max_tokens`: other budgets for it.
        """
        return self._call("resume_batch", batch_id, *_budgets(max_cost_usd, max_tokens), decode=text)

    def price(self, connection: str, model: str) -> Call[str | None]:
        """What calls cost, as `tell_prices` takes it; empty: not told yet; None: no worker is alive that could."""
        return self._call(
            "price", connection, model, decode=lambda reply: None if reply is None else text(reply)
        )

    def move_batch(self, batch_id: str, connection: str, model: str, most: int = AT_ONCE) -> Call[str]:
        """'unknown', 'ended', 'cancelled' (nothing was done), 'more' (call again, or leave the rest to the workers'
        clock) or 'done'."""
        return self._call("move_batch", batch_id, connection, model, most, decode=text)

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
            decode=read_retried,
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
            decode=read_page,
        )

    def published(self) -> Call[bytes | None]:
        """The settings that the leading worker published last, JSON without secrets; None when none ever did."""
        return self._call("published", decode=lambda reply: reply or None)

    def overview(self, connections: Sequence[str]) -> Call[Overview]:
        """Live workers, and what waits and runs on these connections."""
        return self._call("overview", *connections, decode=lambda reply: read_overview(reply, connections))

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
            decode=lambda reply: (reply[0], named(reply[1]), [named(facts) for facts in reply[2:]]),
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
            decode=lambda reply: [(reply[i], text(reply[i + 1])) for i in range(0, len(reply), 2)],
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
        return self._call("admit", lane, most, secrets.token_hex(6), decode=read_admission)

    def begin(self, job_id: str, token: str, worker: str) -> Call[Begun | None]:
        """Take hold of an admitted job. None: it is someone else's by now; drop the message."""
        return self._one_of_many("begin", job_id, token, worker, decode=read_begun)

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
            milliseconds(wait_s),
            milliseconds(cool_s),
            str(used),
            "".join(f"{limit};" for limit in told),
            pause,
            secrets.token_hex(6),
            str(spent),
            "" if took is None else str(took),
            decode=read_settled,
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
                text(reply[i]): orjson.loads(reply[i + 1]) for i in range(0, len(reply), 2)
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
            decode=read_renewed,
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
            "tick", worker, int(leader_s * 1000), most, run_id, int(lease_s * 1000), decode=read_ticked
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
            decode=lambda reply: [(text(reply[i]), text(reply[i + 1])) for i in range(0, len(reply), 2)],
        )

    def tell_prices(self, prices: Mapping[tuple[str, str], CallPrice | None]) -> Call[int]:
        """Tell what calls cost, by connection and model; None: nobody knows."""
        flat: list[str] = []
        for (connection, model), price in prices.items():
            flat += (connection, model, UNKNOWN_PRICE if price is None else str(price))
        return self._call("tell_prices", *flat, decode=int)


def _budgets(max_cost_usd: float | None, max_tokens: int | None) -> tuple[str | int, str | int]:
    return "" if max_cost_usd is None else billionths(max_cost_usd), "" if max_tokens is None else max_tokens
