"""What the leading worker publishes: the settings without secrets for callers, and flat rules for the scripts."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from chatq.contract.connection import Connection
from chatq.contract.settings import Settings
from chatq.ledger.call_facts import billionths
from chatq_worker.api_keys import read_key
from chatq_worker.failures import CallFailed
from chatq_worker.providers.charging import Charge, Refill, charging_of

_TOLD_FROM: Final = 20


def published(settings: Settings) -> bytes:
    """The settings as callers read them, and what may be told of the keys, JSON."""
    keys = {name: key_fact(connection) for name, connection in settings.connections.items()}
    return orjson.dumps({**settings.public(), "keys": keys}, option=orjson.OPT_SORT_KEYS)


def key_fact(connection: Connection) -> str:
    """What an operator may know of a key: `none` is named, `missing`, `set`, or its last 4 characters, if it has 20."""
    if connection.api_key is None:
        return "none"
    try:
        key = read_key(connection) or ""
    except CallFailed:
        return "missing"
    return f"...{key[-4:]}" if len(key) >= _TOLD_FROM else "set"


def digest_of(settings: Settings, *, keys: bool = True) -> str:
    """A fingerprint of what matters of the settings, and with `keys` of what may be told of the keys; workers with
    different files are told apart by that without.

    Nothing made from a key is in it, nor from headers and bodies, where people put keys; and no key's place, which may
    be another on each machine.
    """
    unpublished = {
        name: [connection.url, connection.params, connection.auth_header, connection.exclude_body]
        for name, connection in settings.connections.items()
    }
    parts = (rules(settings), unpublished)
    told = published(settings) if keys else orjson.dumps(settings.public(), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(
        told + orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=dict), digest_size=8
    ).hexdigest()


def accounts(settings: Settings) -> dict[str, str]:
    """The account of each connection: what a provider counts together, model by model.

    `@SCOPE` for a stated `limits.scope` (all models together); else the first connection of the same source, URL and
    key. Named after a connection rather than after the key, so that nothing made from a key is ever published.
    """
    first: dict[tuple[str, str | None, str | None], str] = {}
    result: dict[str, str] = {}
    for name, connection in settings.connections.items():
        if connection.limits.scope is not None:
            result[name] = f"@{connection.limits.scope}"
            continue
        result[name] = first.setdefault((connection.source, connection.url, _key(connection)), name)
    return result


def _key(connection: Connection) -> str | None:
    try:
        return read_key(connection)
    except CallFailed:
        # Not set: what can be said is only that the same reference is the same key.
        return str(connection.api_key)


_LOWEST: Final = ("concurrency", "requests_per_minute", "tokens_per_minute", "requests_per_day")


def rules(settings: Settings) -> dict[str, str | int]:
    """The numbers that scripts read: see `publish.lua`. Where connections of one account differ, the lowest holds."""
    result: dict[str, str | int] = {
        "keep_ms": int(settings.results.keep * 1000),
        "connections": len(settings.connections),
    }
    for name, account in accounts(settings).items():
        connection = settings.connections[name]
        charging = charging_of(connection.source, connection.model or "")
        result[f"account:{name}"] = account
        result[f"on_worker_lost:{name}"] = connection.retry.on_worker_lost
        if connection.model is not None:
            result[f"model:{name}"] = connection.model
        if connection.budget is not None:
            result[f"budget:{name}"] = billionths(connection.budget.per_day_usd)
        if connection.fallback:
            result[f"fallback:{name}"] = " ".join(connection.fallback)
        if charging.answer is not Charge.USED:
            result[f"door:{name}"] = 1
        if charging.tells_limits:
            result[f"tells_limits:{account}"] = 1
        if charging.refill is Refill.SLIDING:
            result[f"sliding:{account}"] = 1
        for limit in _LOWEST:
            stated = getattr(connection.limits, limit)
            if stated is not None:
                rule = f"{limit}:{account}"
                result[rule] = min(int(result.get(rule, stated)), stated)
    return result
