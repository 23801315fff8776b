"""Connections as the page shows them: how each is and why, its limits, its backlog. Asked of the ledger in a few
calls, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import orjson

from chatq.contract.dollars import UNKNOWN, dollars
from chatq.contract.settings import Settings
from chatq.contract.spending import ConnectionSpending, read_spending, told_today
from chatq.contract.status import StatusOutcome, StatusState
from chatq.contract.why import KINDS, ConnectionPause, pause_remedy
from chatq.http.access import Caller
from chatq.http.front import Front
from chatq.http.page.charts import BacklogChart, LimitChart, backlog_chart, limit_chart
from chatq.ledger.measured import LimitUse
from chatq.ledger.overview import ConnectionFacts, WorkerFacts
from chatq.ledger.readiness import Hindrance, hindrances, is_ready

Tone = Literal["good", "warn", "bad", "off"]
"""How a thing is at a glance. Never told by colour alone."""

CHECKED: Final = {
    StatusState.OK: "answers",
    StatusState.NO_MODEL_LIST: "answers, and lists no models",
    StatusState.UNAUTHORIZED: "refuses the key",
    StatusState.QUOTA_EXHAUSTED: "has no money or quota left",
    StatusState.NOT_FOUND: "wrong URL or model",
    StatusState.UNREACHABLE: "cannot be reached",
    StatusState.TIMEOUT: "did not answer in time",
    StatusState.BAD_ANSWER: "answered something else",
    StatusState.BYPASSED: "not asked (bypass_status_check)",
    StatusState.UNKNOWN: "never checked",
}
_PATIENCE_S: Final = 3.0
"""For a server that does not answer. The page asks again by itself."""
LIMIT_WORDS: Final = {**KINDS, "concurrency": "calls in flight"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a connection does not serve as it might, and what to do. `next_at`: the moment of `next`."""

    state: str
    """In a word or two."""
    tone: Tone
    what: str
    message: str
    remedy: str = ""
    since: datetime | None = None
    next: str = ""
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LimitView:
    """How much of one limit is used now."""

    kind: str
    words: str
    limit: float
    used: float
    chart: LimitChart


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One connection."""

    id: str
    source: str
    model: str
    troubles: Sequence[Trouble]
    """The worst first; nothing when all is well."""
    is_paused: bool
    served_by: str | None
    """The fallback that stands in for it."""
    waiting: int
    running: int
    check: StatusOutcome | None
    limits: Sequence[LimitView]
    backlog: BacklogChart
    spending: ConnectionSpending

    @property
    def state(self) -> str:
        """In a word or two."""
        return self.troubles[0].state if self.troubles else "ready"

    @property
    def tone(self) -> Tone:
        return self.troubles[0].tone if self.troubles else "good"

    @property
    def check_words(self) -> str:
        """What the last check found."""
        return CHECKED[StatusState.UNKNOWN] if self.check is None else CHECKED[self.check.state]


@dataclass(frozen=True, slots=True)
class Whole:
    """What a caller may see of the whole, at one moment."""

    now: datetime
    ready: bool
    hindrances: Sequence[Hindrance]
    config_problems: Sequence[str]
    workers: Sequence[WorkerFacts]
    connections: Sequence[ConnectionView]

    @property
    def slots(self) -> int:
        return sum(worker.slots for worker in self.workers)

    @property
    def held(self) -> int:
        return sum(worker.held for worker in self.workers)

    @property
    def waiting(self) -> int:
        return sum(connection.waiting for connection in self.connections)

    @property
    def running(self) -> int:
        return sum(connection.running for connection in self.connections)

    @property
    def today(self) -> str:
        """Cost today of all."""
        known = [
            connection.spending.today_usd for connection in self.connections if connection.spending.today_usd
        ]
        told = {told_today(connection.spending) for connection in self.connections}
        if UNKNOWN not in told:
            return dollars(sum(known))
        return f"{dollars(sum(known))} + {UNKNOWN}" if known else UNKNOWN


async def look(front: Front, caller: Caller, only: str | None = None) -> Whole:
    """How everything is that is the caller's; `only`: of connections this one, which has to be theirs.

    Raises `UnknownConnection`, `ServerError`.
    """
    settings = caller.settings(front.settings)
    if only is not None:
        caller.must_know(only, front.settings)
    names = list(settings.connections) if only is None else [only]
    ledger, run = front.core.ledger, front.server.run
    overview, statuses, measured, backlogs = await asyncio.gather(
        run(ledger.overview(names), patience_s=_PATIENCE_S),
        run(ledger.statuses(names), patience_s=_PATIENCE_S),
        run(ledger.metrics(names), patience_s=_PATIENCE_S),
        run(ledger.backlogs(names), patience_s=_PATIENCE_S),
    )
    return Whole(
        now=datetime.now(UTC),
        ready=is_ready(overview),
        hindrances=hindrances(overview),
        config_problems=overview.told("config_problems"),
        workers=overview.workers,
        connections=[
            _view(
                name,
                settings,
                facts,
                None if status is None else StatusOutcome.model_validate_json(status),
                [_limit(kind, use) for kind, use in measured.connections[name].limits.items()],
                backlog_chart(backlogs[name], facts.queued, facts.running),
            )
            for (name, facts), status in zip(overview.connections.items(), statuses, strict=True)
        ],
    )


def _view(
    name: str,
    settings: Settings,
    facts: ConnectionFacts,
    check: StatusOutcome | None,
    limits: Sequence[LimitView],
    backlog: BacklogChart,
) -> ConnectionView:
    spending = read_spending(facts.spending)
    return ConnectionView(
        id=name,
        source=settings.connections[name].source,
        model=settings.connections[name].model or "",
        troubles=list(_troubles(name, facts, spending, check)),
        is_paused=facts.pause is not None,
        served_by=None if facts.served_by == name else facts.served_by,
        waiting=facts.queued,
        running=facts.running,
        check=check,
        limits=limits,
        backlog=backlog,
        spending=spending,
    )


def _troubles(
    name: str, facts: ConnectionFacts, spending: ConnectionSpending, check: StatusOutcome | None
) -> Iterator[Trouble]:
    """The worst first."""
    if facts.pause is not None:
        pause = ConnectionPause(**orjson.loads(facts.pause))
        yield Trouble(
            state="paused",
            tone="off" if pause.code == "operator" else "bad",
            what="Paused",
            message=pause.message,
            remedy=pause_remedy(name, pause),
            since=pause.since,
        )
    if facts.breaker != "closed":
        yield Trouble(
            state="being tried" if facts.breaker == "half_open" else "failing",
            tone="bad",
            what="Failing",
            message="The provider failed too often in a row. Single jobs try it, the others wait.",
            next="Next try",
            next_at=_moment(facts.next_probe_ms),
        )
    if facts.cooling_until_ms is not None:
        yield Trouble(
            state="cooling",
            tone="warn",
            what="Cooling",
            message="The provider asked to wait.",
            next="Calls go on",
            next_at=_moment(facts.cooling_until_ms),
        )
    if spending.goes_on_at is not None:
        yield Trouble(
            state="budget used up",
            tone="warn",
            what="Budget used up",
            message=f"What it may spend in a day, {dollars(spending.per_day_usd)}, is spent.",
            remedy="Wait for midnight UTC; or raise budget.per_day_usd in config.yaml.",
            next="Calls go on",
            next_at=spending.goes_on_at,
        )
    if check is not None and check.state.is_failure and facts.pause is None:
        # Of a paused one the reason of its pause tells the same.
        yield Trouble(
            state="check failed",
            tone="warn",
            what=f"Last check: {CHECKED[check.state]}",
            message=check.message,
            remedy=check.remedy or "",
            since=check.checked_at,
        )


def _limit(kind: str, use: LimitUse) -> LimitView:
    return LimitView(kind, LIMIT_WORDS[kind], use.limit, use.used, limit_chart(use.limit, use.used))


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
