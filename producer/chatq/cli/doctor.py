"""`chatq doctor`: what is wrong with this installation, and the remedy."""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import redis
from redis.exceptions import RedisError

from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.connection import Limits
from chatq.contract.connection_limits import Allowance, LaneLimits, read_limits
from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Settings
from chatq.contract.why import KINDS, pause_remedy, reads
from chatq.ledger.ledger import Ledger
from chatq.ledger.locate import locator
from chatq.ledger.readiness import hindrances
from chatq.ledger.server import Server

Level = Literal["ok", "note", "wrong"]
_MARKS: Final[dict[Level, str]] = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` is empty when all is well."""

    level: Level
    what: str
    remedy: str = ""


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything and print it; exit code 1 when something is wrong."""
    findings = list(examine(arguments.config))
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.level]}  {finding.what}")
            if finding.remedy:
                print(f"       -> {finding.remedy}")
    return 1 if any(finding.level == "wrong" for finding in findings) else 0


def examine(config: Path | None) -> Iterator[Finding]:
    """Look at settings, keys, this machine, the server and the workers, in this order."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(
                "wrong",
                str(problem),
                "Correct it; nothing starts before, and workers go on with what they have.",
            )
        return
    yield Finding("ok", f"settings: {settings.source_path}, {len(settings.connections)} connections")
    for notice in settings.notices:
        yield Finding("note", notice)
    yield from _keys(settings, os.environ)
    yield from _open_files(settings)
    yield from _server(settings)


def _keys(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each named key is set here; workers elsewhere have an environment of their own."""
    for name, connection in settings.connections.items():
        reference = connection.api_key
        if reference is None:
            continue
        if reference.kind == "env":
            is_set = bool(environ.get(reference.name))
            remedy = f"Set {reference.name} where the workers run; only this connection waits for it."
        else:
            is_set = os.access(reference.name, os.R_OK)
            remedy = f"Put the key into {reference.name}, readable by the workers' user only (chmod 600)."
        if is_set:
            yield Finding("ok", f"connection {name}: its key {reference} is set here")
        else:
            yield Finding("note", f"connection {name}: its key {reference} is not set here", remedy)


def _open_files(settings: Settings) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.worker.slots + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield Finding(
            "wrong",
            f"open files: the limit is {hard:,}, and worker.slots of {settings.worker.slots:,} need {needed:,}",
            f"Raise it (ulimit -Hn {needed}, or LimitNOFILE= in the unit file), or lower worker.slots.",
        )
    else:
        yield Finding("ok", "open files: the limit is high enough for worker.slots")


def _server(settings: Settings) -> Iterator[Finding]:
    server = Server(locator(settings.redis), patience_s=0)
    where = settings.redis.masked_url
    try:
        client = server.client()
    except ChatQueueError as error:
        yield Finding("wrong", error.message, error.remedy)
        return
    try:
        yield Finding("ok", f"server: {where}, version {_version(client)}")
        yield from _persistence(client)
        yield from _memory(client)
        yield from _workers(settings, server)
        yield from _connections(settings, server)
    except ChatQueueError as error:
        yield Finding("wrong", error.message, error.remedy)
    finally:
        server.close()


def _version(client: redis.Redis) -> str:
    info: Any = client.info("server")
    return str(info.get("valkey_version") or info.get("redis_version"))


def _setting(client: redis.Redis, name: str) -> str | None:
    """One of the server's own settings, None when it does not let us see them (a managed server)."""
    try:
        values: Any = client.config_get(name)
    except RedisError:
        return None
    return str(values.get(name, "")) or None


def _persistence(client: redis.Redis) -> Iterator[Finding]:
    promise: dict[str, Callable[[], Finding]] = {
        "always": lambda: Finding("ok", "persistence: AOF, fsync always: an enqueued job survives any crash"),
        "everysec": lambda: Finding(
            "note",
            "persistence: AOF, fsync everysec: a crash of the server can lose up to two seconds",
            "Set appendfsync always if an enqueued job must survive a crash of the server.",
        ),
        "no": lambda: Finding(
            "wrong",
            "persistence: AOF, fsync left to the system: a crash of the machine can lose half a minute",
            "Set appendfsync to always or everysec.",
        ),
    }
    appending = _setting(client, "appendonly")
    if appending is None:
        yield Finding("note", "persistence: the server does not say", "Make sure that its AOF is on.")
    elif appending != "yes":
        yield Finding(
            "wrong",
            "persistence: the AOF is off: a restart of the server loses the jobs since its last snapshot",
            "Set appendonly yes and appendfsync always (redis.conf, or CONFIG SET).",
        )
    else:
        yield promise.get(_setting(client, "appendfsync") or "everysec", promise["everysec"])()


def _memory(client: redis.Redis) -> Iterator[Finding]:
    policy = _setting(client, "maxmemory-policy")
    if policy is None:
        yield Finding(
            "note", "memory: the server does not say", "Make sure that it evicts nothing (noeviction)."
        )
    elif policy != "noeviction":
        yield Finding(
            "wrong",
            f"memory: the server throws keys away when it is full (maxmemory-policy {policy}): jobs would vanish",
            "Set maxmemory-policy noeviction; chatq refuses new jobs when the memory is full.",
        )
    else:
        yield Finding("ok", "memory: noeviction: a full server refuses new jobs and loses none")


def _workers(settings: Settings, server: Server) -> Iterator[Finding]:
    overview = server.run(Ledger(settings.redis.key_prefix).overview(list(settings.connections)))
    waiting = sum(facts.queued for facts in overview.connections.values())
    if not overview.workers:
        yield Finding(
            "wrong" if waiting else "note",
            f"workers: none is alive; {waiting:,} jobs wait",
            "Start one: chatq worker (or chatq up).",
        )
        return
    slots = sum(worker.slots for worker in overview.workers)
    yield Finding("ok", f"workers: {len(overview.workers)} alive, {slots:,} slots")
    for hindrance in hindrances(overview):
        yield Finding("wrong", f"workers: {hindrance.message}", hindrance.remedy)
    versions = {str(worker.facts.get("version")) for worker in overview.workers}
    if len(versions) > 1:
        yield Finding(
            "note", f"workers: of different versions: {', '.join(sorted(versions))}", "Finish the upgrade."
        )
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


def _connections(settings: Settings, server: Server) -> Iterator[Finding]:
    """Connections that are paused, and limits that are lower than config.yaml says."""
    ledger = Ledger(settings.redis.key_prefix)
    for name in settings.connections:
        limits = read_limits(name, *server.run(ledger.limits(name)))
        if limits.paused is not None:
            remedy = pause_remedy(name, limits.paused)
            yield Finding("wrong", f"connection {name}: it is paused: {limits.paused.message}", remedy)
        for lane in limits.lanes:
            yield from (_told_lower(name, lane.model, item) for item in lane.allowances if item.told_lower)
        yield from _set_lower_elsewhere(name, settings.connections[name].limits, limits.lanes[0])


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
