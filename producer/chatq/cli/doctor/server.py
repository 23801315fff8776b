"""Of Redis: what it promises to keep, how much room it has, who else reaches it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.exceptions import RedisError

from chatq.cli.doctor.finding import Finding
from chatq.contract.addresses import is_loopback
from chatq.contract.settings import Settings

_NEARLY_FULL: Final = 0.9
_KNOWN_BY: Final = re.compile("@|ssl_certfile=")
"""In a URL: a login, or a certificate."""
_SKEW_S: Final = 5.0
"""Clocks that differ by more mislead who reads times."""
_CLOSE_IT: Final = (
    "Set a password (requirepass, or users as in deploy/redis-acl), and put it into CHATQ_REDIS_URL; let the server "
    "listen on networks of yours only (bind)."
)


def look(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """All of it. Raises `RedisError`s of a server that goes away meanwhile."""
    info = _info(client)
    version = info.get("valkey_version") or info.get("redis_version")
    yield Finding("ok", f"server: {settings.redis.masked_url}, version {version}")
    yield from _role(info)
    yield from _persistence(info, client)
    yield from _memory(info)
    yield from _exposure(settings, client)
    yield from _clock(client)


def _info(client: redis.Redis) -> Mapping[str, Any]:
    info: Mapping[str, Any] = client.info()
    return info


def _setting(client: redis.Redis, name: str) -> str | None:
    """One of the server's own settings, None when it does not let us see them: a managed server, a user without the
    right."""
    try:
        values: Any = client.config_get(name)
    except RedisError:
        return None
    return str(values.get(name, "")) or None


def _role(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield Finding(
            "wrong",
            "server: it is a replica, which takes no jobs",
            "Point redis.url (CHATQ_REDIS_URL) at the primary; or at the Sentinels, which name it: "
            "sentinel://HOST:26379/MASTER.",
        )


def _persistence(info: Mapping[str, Any], client: redis.Redis) -> Iterator[Finding]:
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
        "": lambda: Finding(
            "note",
            "persistence: AOF; how soon it reaches the disk, the server does not say",
            "Make sure that its appendfsync is always or everysec.",
        ),
    }
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Finding(
            "wrong",
            "persistence: the server could not write its AOF the last time",
            "Free space on the server's disk, or see its log; what is stored is safe.",
        )
    if not info.get("aof_enabled"):
        yield Finding(
            "wrong",
            "persistence: the AOF is off: a restart of the server loses the jobs since its last snapshot",
            "Set appendonly yes and appendfsync always (redis.conf, or CONFIG SET).",
        )
    else:
        yield promise[_setting(client, "appendfsync") or ""]()


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    policy, limit, used = info["maxmemory_policy"], int(info["maxmemory"]), int(info["used_memory"])
    if policy != "noeviction":
        yield Finding(
            "wrong",
            f"memory: the server throws keys away when it is full (maxmemory-policy {policy}): jobs would vanish",
            "Set maxmemory-policy noeviction; chatq refuses new jobs when the memory is full.",
        )
    elif limit:
        yield Finding("ok", "memory: noeviction: a full server refuses new jobs and loses none")
    if not limit:
        yield Finding(
            "note",
            "memory: the server has no limit (maxmemory 0): the system ends it when the machine is full",
            "Set maxmemory to half of the machine's, which leaves room for rewriting the AOF.",
        )
    elif used > _NEARLY_FULL * limit:
        yield Finding(
            "wrong",
            f"memory: {used / limit:.0%} of maxmemory ({limit / 2**20:,.0f} MiB) are used; full, it refuses new jobs",
            "Raise its maxmemory, or let finished jobs go sooner (results.keep).",
        )


def _exposure(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """Whether others reach the server without a password. We did, when there is none in the URL."""
    if settings.redis.embedded_folder is not None or _KNOWN_BY.search(settings.redis.url):
        return
    host = urlsplit(settings.redis.url).hostname
    elsewhere = host is not None and not is_loopback(host)
    if elsewhere or _listens_to_all(client):
        yield Finding(
            "wrong",
            "server: it asks for no password and is reached from elsewhere: whoever reaches it reads prompts, and has "
            "workers spend money",
            _CLOSE_IT,
        )


def _listens_to_all(client: redis.Redis) -> bool:
    """Whether it answers on more than loopback to who has no password (`protected-mode` refuses those)."""
    if _setting(client, "protected-mode") != "no" or _setting(client, "port") == "0":
        return False
    addresses = (_setting(client, "bind") or "*").split()
    return not all(is_loopback(address.removeprefix("-")) for address in addresses)


def _clock(client: redis.Redis) -> Iterator[Finding]:
    before = time.time()
    seconds, microseconds = client.time()
    behind = seconds + microseconds / 1e6 - (before + time.time()) / 2
    if abs(behind) > _SKEW_S:
        yield Finding(
            "note",
            f"clock: this machine's is {abs(behind):,.0f} s {'behind' if behind > 0 else 'ahead of'} the server's, by "
            "which jobs go",
            "Have both keep the time (chrony, systemd-timesyncd); else not_before, the day of a budget and the times "
            "in Flower are not what they seem here.",
        )
