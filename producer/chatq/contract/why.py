"""Why a job does not run: the answer to `ChatQueue.why` and `chatq why`, and its words.

What stands in a job's way is found by the ledger (`ledger/scripts/why.lua`) with the very conditions by which it lets
jobs go; here it is put into words, with what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field

from chatq.contract.budget_words import amount, raise_it
from chatq.contract.record import JobRecord, Moment, rfc3339
from chatq.contract.states import State

LEFT_BEHIND_REMEDY: Final = (
    "Put the connection back, move its batches (chatq batch move), or cancel its jobs; "
    "chatq why JOB names it."
)


def left_behind(jobs: int) -> str:
    """So many jobs wait for connections that are in no settings any more."""
    one = jobs == 1
    return f"{jobs:,} job{'' if one else 's'} wait{'s' if one else ''} for connections that are not in config.yaml."


class ConnectionPause(BaseModel):
    """Why a connection is paused: `code` is `operator`, or that of the failure; and since when."""

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str
    message: str
    remedy: str = ""
    since: Moment


class Ahead(BaseModel):
    """What goes before a job in its lane. Tokens, and what is of other flows, are estimates."""

    model_config = ConfigDict(frozen=True)

    jobs: int
    """Of its own flow: the same connection, model, priority, and batch or tenant."""
    tokens: int
    other_jobs: int
    """Of other flows, that have their turns before its own comes."""
    other_tokens: int


class Why(BaseModel):
    """Why a job does not run now. As JSON it has every key, null where there is nothing."""

    model_config = ConfigDict(frozen=True)

    job: str
    connection: str
    model: str
    """The one it asks for; of a final job the one that answered, empty when none did."""
    state: State
    reason: str
    """One of

    - `final`, `running`, `starting` (a worker has it, and begins in a moment), `stalled` (it was given to a worker that
      comes to none of its messages), `cancelled` (with its batch);
    - `paused`, `batch_paused`, `batch_moving` (to another connection), `removed` (its connection, from the workers'
      settings), `budget` (of its connection or batch: it is used up, or calls in flight have reserved the rest),
      `price` (its budget needs it, and it is just being looked up);
    - `not_before`, `retry` (it waits until a moment: its own, or that of its next try);
    - `cooling` (the provider said when to come back), `breaker` (it failed too often in a row), `ramp` (after a breaker
      or a pause, calls set in one by one);
    - `requests`, `tokens`, `input_tokens`, `output_tokens`, `requests_day`, `concurrency`: a limit;
    - `slots` (all are taken), `claims` (workers have not begun what they were given), `no_worker`;
    - `suspects` (its workers died, and it may be what killed them: few such jobs run on a worker at a time);
    - `version` (it has a field that no worker alive knows);
    - `line` (its turn comes after others), `due` (nothing: it goes at the next admission).

    From `cooling` on it is what stands in the way of the next job of its lane, which may be another: see `ahead`.
    """
    message: str
    """The whole answer, in sentences, one a line."""
    remedy: str | None = None
    """What to do; None when there is nothing to do but wait."""
    until: Moment | None = None
    """When what the reason says will be over, where it is known."""
    worker: str | None = None
    """The worker that has it."""
    since: Moment | None = None
    """When its call began."""
    attempts: int = 0
    """Calls that were or may have been sent so far."""
    limit: float | None = None
    """The number of the limit that is the reason; a minute's, but for `requests_day` and `concurrency`."""
    limit_from: str | None = None
    """`set` (by config.yaml), `learned` (from answers), or `found` (by trying)."""
    budget: str | None = None
    """The budget that is the reason, with `limit` in dollars or tokens: `per_day_usd` (of its connection), `max_cost`
    or `max_tokens` (of its batch)."""
    in_flight: int | None = None
    """Calls of its lane in flight."""
    ahead: Ahead | None = None
    """None when it is not in line."""
    served_by: str | None = None
    """The fallback that stands in for its connection."""
    paused: ConnectionPause | None = None
    """Why its own connection is paused, also where a fallback stands in."""
    batch: str | None = None
    expires_at: Moment | None = None
    workers: int | None = None
    """Workers alive; None of a final job."""
    expected_at: Moment | None = None
    """When it will start, by what goes before it, limits, and how long calls take; None when that cannot be said."""
    call_s: float | None = None
    """What calls of its lane take, where the estimate goes by that; None where limits alone decide."""
    no_estimate: str | None = Field(default=None)
    """Why it cannot be said; None when `expected_at` says it, or it has started."""


FROM: Final = {"set": "set in config.yaml", "learned": "learned from answers", "found": "found by trying"}
KINDS: Final = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "input_tokens": "input tokens a minute",
    "output_tokens": "output tokens a minute",
    "requests_day": "requests a day",
}
START_A_WORKER: Final = "Start a worker: chatq worker (or chatq up)."
_NO_ESTIMATE: Final = {
    "paused": "nobody knows when the connection is resumed",
    "batch_paused": "nobody knows when the batch is resumed",
    "batch_moving": "its batch is being moved to another connection",
    "budget": "it depends on what calls cost",
    "price": "it depends on when the price is known",
    "removed": "nobody knows whether the connection comes back",
    "breaker": "nobody knows when the provider is back",
    "ramp": "it depends on how long the calls in flight take",
    "calls": "it depends on how long the calls before it take, and none has ended yet",
    "no_worker": "nobody knows when a worker starts",
    "suspects": "it depends on how long the calls in flight take",
    "version": "nobody knows when a newer worker starts",
}


def explained(job_id: str, facts: Mapping[str, Any]) -> Why:
    """What the ledger found, in words. `facts`: names and values as `why.lua` lists them; numbers may be text."""
    if "record" in facts:
        return _final(JobRecord.model_validate_json(facts["record"]))

    def moment(name: str) -> datetime | None:
        value = facts.get(name)
        return None if value is None else datetime.fromtimestamp(float(value) / 1000, UTC)

    def number(name: str) -> int:
        return int(facts.get(name, 0))

    budget = facts.get("budget")

    def in_units(amount: float) -> float:
        return amount / 1e9 if budget in {"per_day_usd", "max_cost"} else amount

    ahead = None
    if "own_jobs" in facts:
        names = ("own_jobs", "own_tokens", "other_jobs", "other_tokens")
        ahead = Ahead(**dict(zip(Ahead.model_fields, map(number, names), strict=True)))
    why = Why(
        job=job_id,
        connection=facts["connection"],
        model=facts["model"],
        state=State(facts["state"]),
        reason=facts["reason"],
        message="",
        until=moment("until"),
        worker=facts.get("worker"),
        since=moment("since"),
        attempts=number("made"),
        limit=None if "limit" not in facts else in_units(float(facts["limit"])),
        limit_from=facts.get("limit_from"),
        budget=budget,
        in_flight=None if "inflight" not in facts else number("inflight"),
        ahead=ahead,
        served_by=facts.get("server"),
        paused=None if "pause" not in facts else ConnectionPause(**orjson.loads(facts["pause"])),
        batch=facts.get("batch"),
        expires_at=moment("expires"),
        workers=number("workers"),
        expected_at=moment("starts"),
        call_s=None if "took" not in facts else number("took") / 1000,
        no_estimate=_NO_ESTIMATE.get(facts.get("no_estimate", "")),
    )
    said = [_reason(why, stopping="stopping" in facts), *_around(why)]
    remedy = _remedy(why)
    if budget is not None and "needs" in facts:
        remedy = raise_it(str(why.batch), budget, in_units(float(facts["needs"])))
    return why.model_copy(update={"message": "\n".join(said), "remedy": remedy})


def _how_it_ended(record: JobRecord) -> str:
    if record.error is None:
        return "It has succeeded."
    # What is said of a job that was cancelled or has expired says that it was.
    return f"It has failed: {record.error.message}" if record.state is State.FAILED else record.error.message


def _final(record: JobRecord) -> Why:
    error = record.error
    return Why(
        job=record.id,
        connection=record.connection,
        model="" if record.result is None else record.result.model,
        state=record.state,
        reason="final",
        message=_how_it_ended(record),
        remedy=None if error is None else error.remedy,
        attempts=len(record.attempts),
        batch=record.batch,
    )


def reads(number: float) -> str:
    """A limit as a person writes it."""
    return f"{round(number, 1):,.1f}".removesuffix(".0")


def _reason(why: Why, *, stopping: bool) -> str:
    until = "" if why.until is None else rfc3339(why.until)
    if why.reason == "paused" and why.paused is not None:
        said = (
            f"Connection {why.connection} is paused since {rfc3339(why.paused.since)}: {why.paused.message}"
        )
        return said if said.endswith((".", "!", "?")) else f"{said}."  # more sentences follow
    if why.reason in KINDS and why.limit is not None:
        source = FROM.get(why.limit_from or "", "")
        return (
            f"The limit of {reads(why.limit)} {KINDS[why.reason]} ({source}) is reached; "
            f"the next may go at {until}."
        )
    if why.budget is not None:
        return _of_budget(why, amount(why.budget, why.limit or 0), until)
    limit = math.ceil(why.limit or 0)
    sentences = {
        "running": f"It runs on worker {why.worker} since {'' if why.since is None else rfc3339(why.since)}, "
        f"attempt {why.attempts + 1}{'; it was asked to stop' if stopping else ''}.",
        "starting": f"Worker {why.worker} has it, and begins in a moment.",
        "stalled": f"Worker {why.worker} was given it, but comes to none of its messages; it is given out again within "
        "seconds.",
        "cancelled": f"Batch {why.batch} was cancelled, and this job will be in a moment.",
        "batch_paused": f"Batch {why.batch} is paused.",
        "batch_moving": f"Batch {why.batch} is being moved to another connection, and this job will be in a moment.",
        "removed": f"The workers' settings have no connection {why.connection} any more.",
        "not_before": f"It may not start before {until}.",
        "retry": f"It is tried again at {until}; calls so far: {why.attempts}.",
        "price": "Its budget needs the price of its model, which is just being looked up.",
        "cooling": f"The provider asked to wait: nothing is called before {until}.",
        "breaker": f"The provider failed too often in a row; the next call that tries it goes at {until}.",
        "ramp": f"Calls set in one by one after a pause or failures: {limit} may be in flight now.",
        "concurrency": f"{limit} calls are in flight, as many as limits.concurrency allows.",
        "slots": "All slots of the workers are taken.",
        "claims": "The workers have not begun yet what they were given.",
        "no_worker": "No worker takes jobs.",
        "suspects": "Workers died with it, and it may be what killed them: few such jobs run on a worker at a time.",
        "version": "It has a field that no worker alive knows: all are of an older version than what enqueued it.",
        "line": "It waits for its turn.",
        "due": "Nothing stands in its way: it goes in a moment.",
    }
    return sentences.get(why.reason, f"It waits: {why.reason}.")


def _of_budget(why: Why, limit: str, until: str) -> str:
    if why.reason == "batch_paused":
        return (
            f"Batch {why.batch} is paused: its {why.budget} of {limit} has not enough left for its next job."
        )
    if until:
        return (
            f"The budget of connection {why.connection}, {limit} a day, is used up; calls go on at {until}."
        )
    whose = f"connection {why.connection}" if why.budget == "per_day_usd" else f"batch {why.batch}"
    return (
        f"The {why.budget} of {whose}, {limit}, has nothing left for it beside what calls in flight may take: it goes "
        "when they end for less."
    )


def _around(why: Why) -> list[str]:
    """What else is to be said."""
    said = []
    if why.served_by is not None:
        out = "is paused" if why.paused is not None else "is out of action"
        said.append(f"{why.served_by} stands in for {why.connection}, which {out}.")
    if why.ahead is not None and why.ahead.jobs + why.ahead.other_jobs:
        ahead = why.ahead
        said.append(
            f"Before it: {ahead.jobs:,} of its own kind (about {ahead.tokens:,} tokens), and about "
            f"{ahead.other_jobs:,} ({ahead.other_tokens:,} tokens) of others."
        )
    if not why.workers and why.reason not in {"running", "no_worker"}:
        said.append("No worker is alive.")
    if why.expected_at is not None:
        decides = "limits alone decide" if why.call_s is None else f"calls go on taking {why.call_s:.3g} s"
        said.append(f"Expected to start at {rfc3339(why.expected_at)}, if {decides}.")
    elif why.no_estimate is not None:
        said.append(f"When it starts cannot be said: {why.no_estimate}.")
    if why.expires_at is not None and why.state is not State.RUNNING:
        said.append(f"It expires at {rfc3339(why.expires_at)}.")
    return said


def _remedy(why: Why) -> str | None:
    if why.reason == "stalled":
        return (
            "The worker connects to the broker anew by itself. Where it stays so (chatq status), see its log."
        )
    if why.reason == "paused" and why.paused is not None:
        return pause_remedy(why.connection, why.paused)
    if why.reason == "batch_paused":
        return f"Resume it: chatq batch resume {why.batch}"
    if why.reason == "removed":
        return "Add the connection to the workers' config.yaml again, or cancel the job and enqueue it on another."
    if why.reason == "version":
        return "Upgrade chatq where a worker runs, and restart that worker; or enqueue the job without the new field."
    if not why.workers and why.reason != "running":
        return START_A_WORKER
    return None


def pause_remedy(connection: str, pause: ConnectionPause) -> str:
    """How a paused connection comes back."""
    resume = f"chatq connections resume {connection}"
    if resume in pause.remedy:
        return pause.remedy
    return f"{pause.remedy} It is resumed when a check proves that, or by: {resume}".lstrip()
