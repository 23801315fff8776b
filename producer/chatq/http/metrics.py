"""`/metrics`: the ledger's counts and states, for Prometheus.

Nothing is counted here: any number of fronts tell the same, and a restart of one is no reset. Names and units as
Prometheus, "Metric and label naming", asks. Labels are connections and words of ours, so there are only so many series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Backlog
from chatq.contract.spending import ConnectionSpending, read_spending
from chatq.contract.status import StatusState
from chatq.http.errors import BadRequest
from chatq.http.front import Front, TheCaller, TheFront
from chatq.http.prometheus_text import CONTENT_TYPE, Family, Kind, Sample, label, number, written
from chatq.ledger.measured import ConnectionCounts, Measured, Times
from chatq.ledger.overview import ConnectionFacts, Overview
from chatq.ledger.readiness import is_ready
from chatq.ledger.server import ServerLoad

router = APIRouter(tags=["status"])

_PATIENCE_S: Final = 2.0
"""For a server that does not answer. Prometheus waits for ten seconds as a rule."""


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(front: TheFront, caller: TheCaller) -> Response:
    """Counts and states for Prometheus, in its text format. Tokens of tenants, and of some connections, are refused."""
    if not caller.sees_all:
        raise BadRequest(
            "The metrics are of all connections and tenants, and this token is not.",
            remedy="Use a token without tenant and connections.",
            status=403,
        )
    try:
        families = await _families(front)
    except ChatQueueError:
        # An answer, so that what fires says that jobs do not go, rather than that there is no front.
        families = [_ready(False)]
    return Response(written(families), headers={"content-type": CONTENT_TYPE})


async def _families(front: Front) -> list[Family]:
    names = list(front.settings.connections)
    ledger, run = front.core.ledger, front.server.run
    overview, measured, checks = await asyncio.gather(
        run(ledger.overview(names), patience_s=_PATIENCE_S),
        run(ledger.metrics(names), patience_s=_PATIENCE_S),
        run(ledger.statuses(names), patience_s=_PATIENCE_S),
    )
    outcomes = {name: orjson.loads(check) for name, check in zip(names, checks, strict=True) if check}
    return [
        *_of_the_whole(overview, measured.totals, front.settings.bounds.backlog),
        *_of_the_server(await front.server.load()),
        *_of_connections(overview, measured, outcomes),
    ]


def _ready(ready: bool) -> Family:
    return Family("chatq_ready", "gauge", "1 when jobs that may go do go.", [Sample("", "", ready)])


def _of_the_whole(overview: Overview, totals: Mapping[str, int], backlog: Backlog) -> Iterator[Family]:
    def gauge(name: str, value: float, about: str) -> Family:
        return Family(name, "gauge", about, [Sample("", "", value)])

    def counter(name: str, value: float, about: str) -> Family:
        return Family(name, "counter", about, [Sample("", "", value)])

    workers = overview.workers
    stalled = sum(worker.stalled_ms is not None for worker in workers)
    yield _ready(is_ready(overview))
    yield gauge(
        "chatq_overdue_seconds",
        overview.overdue_ms / 1000,
        "For how long something has been due that a worker does.",
    )
    yield gauge("chatq_workers", len(workers), "Live workers.")
    yield gauge("chatq_workers_stalled", stalled, "Live workers that begin nothing of what they are given.")
    yield gauge("chatq_slots", sum(worker.slots for worker in workers), "Calls that live workers may have.")
    yield gauge("chatq_slots_used", sum(worker.held for worker in workers), "Jobs that live workers run now.")
    yield gauge("chatq_backlog_jobs", totals["jobs"], "Jobs that wait or run.")
    yield gauge("chatq_backlog_max_jobs", backlog.jobs, "As many may (bounds.backlog.jobs).")
    yield gauge("chatq_backlog_bytes", totals["bytes"], "Bytes of the requests of jobs that wait or run.")
    yield gauge("chatq_backlog_max_bytes", int(backlog.bytes), "As many may be (bounds.backlog.bytes).")
    yield counter("chatq_jobs_enqueued_total", totals["came"], "Jobs enqueued.")
    yield counter(
        "chatq_leases_lost_total",
        totals["lost_leases"],
        "Jobs that were taken from a worker that died or fell silent while it ran them.",
    )
    yield counter(
        "chatq_claims_lost_total",
        totals["lost_claims"],
        "Jobs that were taken from a worker that did not begin them in time.",
    )
    yield counter(
        "chatq_stale_settlements_total",
        totals["stale"],
        "Outcomes that were not written, because the job was another's by then.",
    )


def _of_the_server(load: ServerLoad) -> Iterator[Family]:
    yield Family(
        "chatq_redis_script_seconds",
        "summary",
        "Time in which the Redis server ran scripts, whosever they were, since it was started.",
        [Sample("_sum", "", load.scripts_s), Sample("_count", "", load.scripts)],
    )
    yield Family(
        "chatq_redis_memory_bytes",
        "gauge",
        "Memory that the Redis server uses, for whomever.",
        [Sample("", "", load.memory_bytes)],
    )
    yield Family(
        "chatq_redis_max_memory_bytes",
        "gauge",
        "As much may be (maxmemory); none where it may be all there is.",
        [*_one(load.most_memory_bytes)],
    )


class _View(NamedTuple):
    """A connection as it is now."""

    facts: ConnectionFacts
    counts: ConnectionCounts
    spending: ConnectionSpending
    check: str | None
    """The state that its last check found; None: it was never checked."""


def _of_connections(
    overview: Overview, measured: Measured, outcomes: Mapping[str, Mapping[str, Any]]
) -> Iterator[Family]:
    views = {
        label("connection", name): _View(
            facts,
            measured.connections[name],
            read_spending(facts.spending),
            outcomes[name]["state"] if name in outcomes else None,
        )
        for name, facts in overview.connections.items()
    }
    for name, kind, about, samples_of in _CONNECTION_METRICS:
        yield Family(
            name,
            kind,
            about,
            [
                Sample(suffix, f"{connection},{labels}" if labels else connection, value)
                for connection, view in views.items()
                for suffix, labels, value in samples_of(view)
            ],
        )


def _one(value: float | None) -> Iterable[Sample]:
    """One sample; none where nobody knows, or there is none."""
    return [] if value is None else [Sample("", "", value)]


def _each(name: str, values: Mapping[str, float]) -> Iterable[Sample]:
    """A sample for each value of the label `name`."""
    return [Sample("", label(name, word), value) for word, value in values.items()]


def _histogram(times: Times) -> Iterator[Sample]:
    for bound, count in times.within:
        yield Sample("_bucket", label("le", number(bound)), count)
    yield Sample("_sum", "", times.sum_s)
    yield Sample("_count", "", times.within[-1][1])


def _paused(view: _View) -> Iterable[Sample]:
    by = None
    if view.facts.pause is not None:
        by = "operator" if orjson.loads(view.facts.pause)["code"] == "operator" else "failure"
    return _each("by", {who: who == by for who in ("operator", "failure")})


_CONNECTION_METRICS: Final[Sequence[tuple[str, Kind, str, Callable[[_View], Iterable[Sample]]]]] = (
    (
        "chatq_jobs",
        "gauge",
        "Jobs that wait (queued) or run now.",
        lambda view: _each("state", {"queued": view.facts.queued, "running": view.facts.running}),
    ),
    (
        "chatq_jobs_ended_total",
        "counter",
        "Jobs that became final, by their state.",
        lambda view: _each("state", view.counts.ended),
    ),
    (
        "chatq_jobs_failed_total",
        "counter",
        "Jobs that failed, by the code of their error.",
        lambda view: _each("code", view.counts.jobs_failed),
    ),
    (
        "chatq_calls_failed_total",
        "counter",
        "Calls that failed or were broken off, those of jobs that were tried again too; by the code of their error.",
        lambda view: _each("code", view.counts.calls_failed),
    ),
    (
        "chatq_job_line_seconds",
        "histogram",
        "From the moment from which a job might go until a worker began it for the first time.",
        lambda view: _histogram(view.counts.times["line"]),
    ),
    (
        "chatq_call_seconds",
        "histogram",
        "What calls of the provider took, those that failed too.",
        lambda view: _histogram(view.counts.times["call"]),
    ),
    (
        "chatq_call_added_seconds",
        "histogram",
        "What chatq added around calls, between beginning and settling them.",
        lambda view: _histogram(view.counts.times["added"]),
    ),
    (
        "chatq_tokens_total",
        "counter",
        "Tokens of answers, by kind: of their prompts, or of themselves.",
        lambda view: _each(
            "kind",
            {"prompt": view.spending.usage.prompt_tokens, "answer": view.spending.usage.completion_tokens},
        ),
    ),
    (
        "chatq_cost_usd_total",
        "counter",
        "US dollars, of the answers whose cost is known.",
        lambda view: _one(view.spending.cost_usd or 0),
    ),
    (
        "chatq_answers_uncosted_total",
        "counter",
        "Answers whose cost nobody knows.",
        lambda view: _one(view.spending.uncosted),
    ),
    (
        "chatq_maybe_charged_usd_total",
        "counter",
        "US dollars reserved by calls under a budget that may have been charged, and nobody knows how much.",
        lambda view: _one(view.spending.maybe_charged_usd),
    ),
    (
        "chatq_budget_usd",
        "gauge",
        "US dollars that the connection may spend in a UTC day.",
        lambda view: _one(view.spending.per_day_usd),
    ),
    (
        "chatq_budget_spent_usd",
        "gauge",
        "US dollars spent since midnight UTC, with what may have been charged.",
        lambda view: _one(view.spending.today_usd or 0),
    ),
    (
        "chatq_budget_reserved_usd",
        "gauge",
        "US dollars that calls under way have reserved of budgets.",
        lambda view: _one(view.spending.reserved_usd),
    ),
    (
        "chatq_budget_used_up",
        "gauge",
        "1 when the budget of the day is used up, and jobs wait for the next.",
        lambda view: _one(view.spending.goes_on_at is not None),
    ),
    (
        "chatq_limit",
        "gauge",
        "What is allowed a minute, a day (requests_day), at once (concurrency): of the model that uses most of it.",
        lambda view: _each("kind", {kind: use.limit for kind, use in view.counts.limits.items()}),
    ),
    (
        "chatq_limit_used",
        "gauge",
        "How much of it is used now.",
        lambda view: _each("kind", {kind: use.used for kind, use in view.counts.limits.items()}),
    ),
    (
        "chatq_breaker",
        "gauge",
        "1 for the state that the breaker of the connection is in.",
        lambda view: _each(
            "state", {state: state == view.facts.breaker for state in ("closed", "open", "half_open")}
        ),
    ),
    (
        "chatq_connection_cooling",
        "gauge",
        "1 while its provider has asked to wait.",
        lambda view: _one(view.facts.cooling_until_ms is not None),
    ),
    (
        "chatq_connection_check_ok",
        "gauge",
        "Whether its last status check found nothing to mend; none for one that was never checked.",
        lambda view: _one(None if view.check is None else StatusState(view.check).is_fine),
    ),
    (
        "chatq_connection_paused",
        "gauge",
        "1 while it is paused: by an operator, or because its provider refused the account.",
        _paused,
    ),
    (
        "chatq_connection_paused_seconds_total",
        "counter",
        "For how long it has been paused in all.",
        lambda view: _one(view.counts.paused_s),
    ),
)
