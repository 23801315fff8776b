"""`sentinel://`: the server is the master that Redis Sentinels name, today this one, after a fail-over another.

    sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/MASTER][/DB]

USER and PASSWORD are the master's; MASTER is `mymaster` unless it is said, DB 0. Celery's way to list sentinels
(`sentinel://one:26379;sentinel://two:26379/0`) is understood as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast
from urllib.parse import quote, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

SCHEME: Final = "sentinel://"
_PORT: Final = 26379
_MASTER: Final = "mymaster"


@dataclass(frozen=True, slots=True)
class Sentinels:
    """What a `sentinel://` URL says."""

    addresses: tuple[tuple[str, int], ...]
    master: str = _MASTER
    db: int = 0
    username: str | None = None
    password: str | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart. It is one that the settings have let pass."""
        login, path = "", ""
        addresses = []
        for server in re.split(rf";{SCHEME}|,", url.removeprefix(SCHEME)):
            parts = urlsplit(f"//{server}")
            addresses.append((parts.hostname or "", parts.port or _PORT))
            login = login or parts.netloc.rpartition("@")[0]
            path = path or parts.path.strip("/")
        username, _, password = login.partition(":")
        words = path.split("/") if path else []
        db = int(words.pop()) if words and words[-1].isdecimal() else 0
        return cls(
            tuple(addresses),
            unquote(words[0]) if words else _MASTER,
            db,
            unquote(username) or None,
            unquote(password) or None,
        )

    def celery_url(self) -> str:
        """The URL in Celery's words, which know no master: that is a transport option."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in self.addresses]
        return ";".join(f"{SCHEME}{login}{host}:{port}/{self.db}" for host, port in hosts)

    def celery_options(self) -> dict[str, Any]:
        """Transport options of kombu. A sentinel that is away is asked once: by default it costs some 7 s each time."""
        once = {"retry": Retry(NoBackoff(), 0), "socket_connect_timeout": 3.0, "socket_timeout": 3.0}
        return {"master_name": self.master, "sentinel_kwargs": once}

    def client(self, options: Mapping[str, Any]) -> redis.Redis:
        """A redis-py client of the master. `options`: of the connections to the master and to the sentinels."""
        found = redis.sentinel.Sentinel(self.addresses, sentinel_kwargs=dict(options), **options)
        client = found.master_for(
            self.master, redis.Redis, connection_pool_class=_Pool, **self._of_the_master()
        )
        return cast(redis.Redis, client)

    def async_client(self, options: Mapping[str, Any]) -> redis.asyncio.Redis:
        """The same for an event loop."""
        found = redis.asyncio.sentinel.Sentinel(
            list(self.addresses), sentinel_kwargs=dict(options), **options
        )
        client = found.master_for(
            self.master, redis.asyncio.Redis, connection_pool_class=_AsyncPool, **self._of_the_master()
        )
        return cast(redis.asyncio.Redis, client)

    def _of_the_master(self) -> dict[str, Any]:
        return {"db": self.db, "username": self.username, "password": self.password}


class _Pool(redis.sentinel.SentinelConnectionPool):
    """Closes the connections to sentinels, too."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            sentinel.close()


class _AsyncPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """The same for an event loop."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()
