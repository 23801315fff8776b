"""Of the workers: whether any lives, hears, has what it needs, and goes by these settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import orjson
from redis.exceptions import RedisError

from chatq.cli.doctor.finding import Finding
from chatq.contract.settings import Settings
from chatq.ledger.ledger import Ledger
from chatq.ledger.overview import Overview
from chatq.ledger.readiness import hindrances
from chatq.ledger.server import Server


def look(settings: Settings, server: Server) -> Iterator[Finding]:
    """All of it. Raises `ServerError`."""
    ledger = Ledger(settings.redis.key_prefix)
    overview = server.run(ledger.overview(list(settings.connections)))
    if not overview.workers:
        waiting = sum(facts.queued for facts in overview.connections.values())
        yield Finding(
            "wrong" if waiting else "note",
            f"workers: none is alive; {waiting:,} jobs wait",
            "Start one: chatq worker (or chatq up).",
        )
        yield from _elsewhere(settings, server)
        return
    slots = sum(worker.slots for worker in overview.workers)
    yield Finding("ok", f"workers: {len(overview.workers)} alive, {slots:,} slots")
    for hindrance in hindrances(overview):
        yield Finding("wrong", f"workers: {hindrance.message}", hindrance.remedy)
    yield from _versions(overview)
    yield from _their_settings(overview)
    published = orjson.loads(server.run(ledger.published()) or b"{}")
    yield from _ours_and_theirs(settings, published)
    yield from _keys(settings, overview, published.get("keys", {}))
    yield from _slots(settings, slots)


def _elsewhere(settings: Settings, server: Server) -> Iterator[Finding]:
    """Workers hear of new jobs by a channel of their prefix, in whichever db they are."""
    own = Ledger(settings.redis.key_prefix).keys.kick
    try:
        channels: Any = server.client().pubsub_channels("*:kick")
    except RedisError:
        return  # the user may not ask
    names = sorted(channel.decode() for channel in channels)
    others = ", ".join(name.removesuffix(":kick") for name in names if name != own)
    if own in names:
        yield Finding(
            "wrong",
            "workers: some listen under this key_prefix, on another db of this server",
            "Give all the same redis.url, the db at its end included: redis://HOST:PORT/DB.",
        )
    elif others:
        yield Finding(
            "wrong",
            f"workers: some listen on this server under another key_prefix: {others}; here it is "
            f"{settings.redis.key_prefix}",
            "Give callers and workers the same redis.key_prefix (CHATQ_REDIS__KEY_PREFIX).",
        )


def _versions(overview: Overview) -> Iterator[Finding]:
    own, theirs = version("chatq"), {str(worker.facts.get("version")) for worker in overview.workers}
    if len(theirs) > 1:
        yield Finding(
            "note", f"workers: of different versions: {', '.join(sorted(theirs))}", "Finish the upgrade."
        )
    elif theirs != {own}:
        yield Finding(
            "note",
            f"workers: of version {theirs.pop()}, and this is {own}",
            "Upgrade the workers first, then who enqueues: a field that workers do not know makes its job wait.",
        )


def _their_settings(overview: Overview) -> Iterator[Finding]:
    if len({worker.facts.get("settings") for worker in overview.workers}) > 1:
        yield Finding(
            "wrong",
            "workers: they run with different settings",
            "Give all the same config.yaml; they take it up within seconds.",
        )
    for problem in overview.told("config_problems"):
        yield Finding(
            "wrong",
            f"workers: they go on with older settings, because the file cannot be used: {problem}",
            "Correct it; it is taken up within seconds.",
        )
    waits = overview.told("needs_restart")
    if waits:
        yield Finding(
            "note", f"workers: changed, and not taken up: {', '.join(waits)}", "Restart the workers."
        )


def _ours_and_theirs(settings: Settings, published: Mapping[str, Any]) -> Iterator[Finding]:
    """What the leading worker publishes, beside the file here."""
    theirs = published.get("connections")
    if theirs is None:
        return  # no worker leads yet
    unknown = [name for name in settings.connections if name not in theirs]
    if unknown:
        yield Finding(
            "wrong",
            f"workers: their config.yaml has no connection {', '.join(unknown)}; jobs of it wait",
            f"Give the workers this file ({settings.source_path}; --config or CHATQ_CONFIG), or name theirs here.",
        )
    ours = settings.public()["connections"]
    different = [name for name, one in ours.items() if name in theirs and _known(theirs[name], one) != one]
    if different:
        yield Finding(
            "note",
            f"workers: their config.yaml says something else of {', '.join(different)}, and that holds",
            f"Give the workers this file ({settings.source_path}; --config or CHATQ_CONFIG), or name theirs here.",
        )


def _keys(settings: Settings, overview: Overview, told: Mapping[str, str]) -> Iterator[Finding]:
    """The workers that cannot read a key. `told`: what the leading one tells of the keys, all that older ones do."""
    for name, connection in settings.connections.items():
        reference, without = connection.api_key, overview.without_key(name)
        of_leader = told.get(name) == "missing" and not any(
            "without_key" in one.facts for one in overview.workers
        )
        if reference is None or not (without or of_leader):
            continue
        some = 0 < len(without) < len(overview.workers)
        who = f"not all can (not {', '.join(without)}; the others have its jobs)" if some else "they cannot"
        yield Finding(
            "wrong",
            f"workers: {who} read the key of connection {name} ({reference})",
            f"Set {reference.name} where {'those' if some else 'the'} workers run, and restart them."
            if reference.kind == "env"
            else f"Put the key into {reference.name} where the workers run, readable by their user only (chmod 600).",
        )


def _known(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a newer worker says beyond what is known here is no difference."""
    return {key: value for key, value in theirs.items() if key in ours}


def _slots(settings: Settings, slots: int) -> Iterator[Finding]:
    for name, connection in settings.connections.items():
        most = connection.limits.concurrency
        if most is not None and most > slots:
            yield Finding(
                "note",
                f"connection {name}: its limits.concurrency is {most:,}, and all workers have {slots:,} slots",
                "Start more workers, or raise worker.slots, if it is to be used.",
            )
