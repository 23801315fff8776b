"""Of the connections: whether they can work, and what they are held by; and of the backlog of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from chatq.cli.doctor.finding import Finding
from chatq.contract.addresses import is_public
from chatq.contract.connection import Connection, Limits
from chatq.contract.connection_limits import Allowance, LaneLimits, read_limits
from chatq.contract.settings import Settings
from chatq.contract.status import StatusOutcome, StatusState
from chatq.contract.why import KINDS, LEFT_BEHIND_REMEDY, left_behind, pause_remedy, reads
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import Server

_NEARLY_FULL: Final = 0.9


def look(settings: Settings, server: Server) -> Iterator[Finding]:
    """All of it. Raises `ServerError`."""
    ledger = Ledger(settings.redis.key_prefix)
    outcomes = server.run(ledger.statuses(list(settings.connections)))
    for (name, connection), outcome in zip(settings.connections.items(), outcomes, strict=True):
        yield from _address(name, connection)
        yield from _no_key(name, connection)
        limits = read_limits(name, *server.run(ledger.limits(name)))
        if limits.paused is not None:
            remedy = pause_remedy(name, limits.paused)
            yield Finding("wrong", f"connection {name}: it is paused: {limits.paused.message}", remedy)
        elif outcome is not None:
            yield from _last_check(StatusOutcome.model_validate_json(outcome))
        for lane in limits.lanes:
            yield from (_told_lower(name, lane.model, item) for item in lane.allowances if item.told_lower)
        yield from _set_lower_elsewhere(name, connection.limits, limits.lanes[0])
    elsewhere = server.run(ledger.overview(list(settings.connections))).elsewhere
    if elsewhere:
        yield Finding("wrong", f"backlog: {left_behind(elsewhere)}", LEFT_BEHIND_REMEDY)
    yield from _backlog(settings, server)


def _address(name: str, connection: Connection) -> Iterator[Finding]:
    parts = urlsplit(connection.url or "")
    if parts.scheme == "http" and connection.api_key is not None and is_public(parts.hostname or ""):
        yield Finding(
            "wrong",
            f"connection {name}: its key and prompts go to {parts.hostname} unencrypted, for all on the way to read",
            f"Write https:// in connections.{name}.url.",
        )


def _no_key(name: str, connection: Connection) -> Iterator[Finding]:
    if connection.url is None and connection.api_key is None:
        yield Finding(
            "wrong",
            f"connection {name}: it names no key, and {connection.source} answers nobody without one",
            f"Write connections.{name}.api_key: env:NAME, with NAME in the environment of the workers.",
        )


def _last_check(outcome: StatusOutcome) -> Iterator[Finding]:
    again = f"Then: chatq connections check {outcome.connection}"
    if not outcome.state.is_fine and outcome.state is not StatusState.UNKNOWN:
        yield Finding(
            "wrong",
            f"connection {outcome.connection}: its last check found {outcome.state}: {outcome.message}",
            f"{outcome.remedy or 'See the workers log.'} {again}",
        )
    elif outcome.remedy is not None:
        yield Finding(
            "note", f"connection {outcome.connection}: {outcome.message}", f"{outcome.remedy} {again}"
        )


def _backlog(settings: Settings, server: Server) -> Iterator[Finding]:
    """How much of what may wait does."""
    totals = server.run(Ledger(settings.redis.key_prefix).metrics(())).totals
    for bound, most in (("jobs", settings.bounds.backlog.jobs), ("bytes", settings.bounds.backlog.bytes)):
        if totals[bound] > _NEARLY_FULL * most:
            yield Finding(
                "wrong",
                f"backlog: {totals[bound]:,} of {most:,} {bound} wait; beyond that enqueue is refused",
                f"Let workers do it, raise bounds.backlog.{bound}, or cancel a batch (chatq batch list).",
            )


def _key_of(kind: str) -> str:
    """The key of an allowance in the section `limits` of config.yaml."""
    return "requests_per_day" if kind == "requests_day" else f"{kind}_per_minute"


def _set_lower_elsewhere(name: str, stated: Limits, lane: LaneLimits) -> Iterator[Finding]:
    """Where connections of one account state different limits, the lowest holds."""
    holds = {_key_of(item.kind): item.set for item in lane.allowances} | {"concurrency": lane.concurrency}
    for key, lowest in holds.items():
        own = getattr(stated, key, None)
        if own is not None and lowest is not None and lowest < own:
            yield Finding(
                "note",
                f"connection {name}: its limits.{key} is {own:,}, that of another connection of the same account "
                f"is {reads(lowest)}, and the lowest holds",
                "State the same for both; or give each a limits.scope of its own, if the provider counts them apart.",
            )


def _told_lower(name: str, model: str, allowance: Allowance) -> Finding:
    key = _key_of(allowance.kind)
    return Finding(
        "note",
        f"connection {name}: the provider tells {reads(allowance.learned or 0)} {KINDS[allowance.kind]}"
        f"{f' for {model}' if model else ''}; config.yaml says {reads(allowance.set or 0)}, and that is kept to",
        f"Lower limits.{key} to what the provider tells, or take it out: then it is learned.",
    )
