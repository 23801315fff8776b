"""Asking the ledger: one Redis, blocking (`Server`) or on an event loop (`AsyncServer`).

Both open the URL of `redis.url`, check that the server can carry the queue, turn Redis's errors into ours, and
make a call again while its reply may come later: every ledger call bears that (see `Call`).
"""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from chatq.contract.addresses import without_password
from chatq.contract.errors import ServerError, ServerFull, ServerRefused, ServerUnreachable, ServerUnsuitable
from chatq.ledger.announcements import Announcements, BlockingAnnouncements
from chatq.ledger.call import Call
from chatq.ledger.script_text import source
from chatq.ledger.sentinels import SCHEME, Sentinels

T = TypeVar("T")

OLDEST_VERSION = (6, 2)
CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 15.0
PATIENCE_S = 8.0
"""How long a call is made again after the connection broke. A server that restarts is back in less."""
_PIPELINE_CALLS = 256
_PIPELINE_BYTES = 1 << 20
_PIPELINES_AT_ONCE = 4
_GATHERED_CALLS = 16
"""Of a script that takes many: more would save little, and hold up others for longer."""
_CALLS_AT_ONCE = 16
"""Of the threads that share a client: as many connections it may have, and one for announcements."""

Locate = Callable[[], str]
"""Gives the URL to connect to. For the embedded server it starts the server when it is not running."""


def client_options(url: str) -> dict[str, Any]:
    """What both kinds of redis-py client are made with. Retries are ours: the library's own would hide a restart."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": REPLY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    return options


def _open(url: str) -> redis.Redis:
    options = client_options(url)
    if url.startswith(SCHEME):
        return Sentinels.of(url).client(options)
    return redis.Redis.from_url(url, **options)


def _open_async(url: str) -> redis.asyncio.Redis:
    options = client_options(url)
    if url.startswith(SCHEME):
        client = Sentinels.of(url).async_client(options)
    else:
        client = redis.asyncio.Redis.from_url(url, **options)
    pool = client.connection_pool
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_TellsLoss, kind), {})
    return client


class _TellsLoss:
    """Mixed into redis-py's connections, for whoever runs on uvloop.

    That raises a RuntimeError when a transport is written to that has just broken. redis-py knows nothing of it, and it
    would end whoever asked.
    """

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except RuntimeError as error:
            raise RedisConnectionError(f"Connection lost while writing: {error}") from error


def shown(url: str) -> str:
    """A server URL without its password, for messages; options, which may hold another, are left out."""
    if url.startswith(SCHEME):  # may name the password once for each sentinel
        return without_password(url)
    parts = urlsplit(url)
    url = url.partition("?")[0]
    return url if parts.password is None else url.replace(f":{parts.password}@", ":***@", 1)


def _reason(error: RedisError) -> RedisError:
    """redis.asyncio hides a refused login in a `ConnectionError`."""
    return error.__cause__ if isinstance(error.__cause__, RedisError) else error


def translate(error: RedisError, url: str) -> ServerError:
    """A Redis error as one of ours, with what to do about it."""
    error = _reason(error)
    where = shown(url)
    text = str(error).strip().rstrip(".")
    if isinstance(error, (AuthenticationError, AuthorizationError)) or "invalid password" in text.lower():
        return ServerRefused(
            f"Redis at {where} refused the login: {text}.",
            remedy="Check user and password in redis.url (CHATQ_REDIS_URL).",
        )
    if isinstance(error, NoPermissionError) or "NOPERM " in text:
        return ServerRefused(
            f"Redis at {where} does not permit what chatq needs: {text}.",
            remedy="Give the user of redis.url the rights that deploy/redis-acl lists for its part, on the keys and "
            "channels of redis.key_prefix.",
        )
    if isinstance(error, BusyLoadingError):
        return ServerUnreachable(
            f"Redis at {where} is still loading its data.",
            remedy="Wait until it has loaded; nothing is lost.",
        )
    if isinstance(error, (RedisConnectionError, RedisTimeoutError)):
        return ServerUnreachable(
            f"Redis at {where} cannot be reached: {text}.",
            remedy="Start the server, or correct redis.url (CHATQ_REDIS_URL).",
        )
    # Redis 6.2 has the cause of a script's error within its text.
    if isinstance(error, OutOfMemoryError) or "OOM " in text:
        return ServerFull(
            f"Redis at {where} is out of memory and refuses to store more.",
            remedy="Raise its maxmemory, or let finished jobs go sooner (results.keep); what is stored is safe.",
        )
    if isinstance(error, ReadOnlyError) or "READONLY " in text:
        return ServerFull(
            f"Redis at {where} is a read-only replica.", remedy="Point redis.url at the primary server."
        )
    if "NOREPLICAS " in text:
        return ServerFull(
            f"Redis at {where} has fewer replicas than it needs and refuses to store more.",
            remedy="Start its replicas, or lower its min-replicas-to-write; what is stored is safe.",
        )
    if "MISCONF " in text:
        return ServerFull(
            f"Redis at {where} cannot write to its disk and refuses to store more.",
            remedy="Free space on the server's disk, or see its log; what is stored is safe.",
        )
    return ServerError(f"Redis at {where} answered with an error: {text}.", remedy="See the server's log.")


def _check(info: dict[str, Any], url: str) -> None:
    """Refuse a server that cannot carry the queue. Raises `ServerUnsuitable`."""
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        raise ServerUnsuitable(
            f"The server at {shown(url)} is version {version}; chatq needs Redis 6.2 or newer, or Valkey.",
            remedy="Update the server, or use the embedded one (redis.url: embedded).",
        )
    if "cluster" in {info.get("redis_mode"), info.get("server_mode")}:  # Valkey has the second name
        raise ServerUnsuitable(
            f"The server at {shown(url)} is a Redis Cluster, which cannot be Celery's broker.",
            remedy="Use a single server or Sentinel; one server carries some 20,000 calls a second.",
        )


_REFUSALS: Final = re.compile(
    r"(?:^|\W)(?:OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|UNBLOCKED|BUSY|NOPERM|NOAUTH) "
)
"""Errors of a server that is there and does not do what is asked, until somebody acts or a failover is over. Within a
longer text, where Redis 6.2 tells what stopped a script."""

_REFUSING: Final = (
    AuthenticationError,
    AuthorizationError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
"""Those of which redis-py takes the code off, because it has a class for it."""


def _is_refusal(error: RedisError) -> bool:
    """Whether the server refuses to write, or to serve us, for now."""
    reason = _reason(error)
    return isinstance(reason, _REFUSING) or bool(_REFUSALS.search(str(reason)))


def _is_passing(error: RedisError) -> bool:
    """Whether the same call may go through in a moment."""
    reason = _reason(error)
    # No script: the server was restarted again, just after the scripts had been loaded.
    return isinstance(reason, (RedisConnectionError, RedisTimeoutError, NoScriptError)) and not isinstance(
        reason, (AuthenticationError, AuthorizationError)
    )


def _backoff_s(attempt: int) -> float:
    return float(min(0.5, 0.02 * 2**attempt))


class ServerLoad(NamedTuple):
    """What a server has done since it was started, and holds."""

    scripts: int
    scripts_s: float
    """The time that these scripts took."""
    memory_bytes: int
    most_memory_bytes: int | None
    """`maxmemory`; None: as much as there is."""


class Server:
    """The ledger's Redis for blocking callers. Safe to share between threads."""

    def __init__(self, locate: Locate, *, patience_s: float = PATIENCE_S) -> None:
        self._locate = locate
        self._patience_s = patience_s
        self._client: redis.Redis | None = None
        self._connecting = threading.Lock()
        self._calls = threading.BoundedSemaphore(_CALLS_AT_ONCE)
        self.announcements = BlockingAnnouncements(lambda: _open_async(self.url))
        self.url = ""

    def client(self) -> redis.Redis:
        """The redis-py client, connected and checked at first use."""
        with self._connecting:
            return self._client or self._connect()

    def _connect(self) -> redis.Redis:
        self.url = self._locate()
        client = _open(self.url)
        try:
            _check(client.info("server"), self.url)
        except (RedisError, ServerError) as error:
            client.close()
            raise translate(error, self.url) if isinstance(error, RedisError) else error from None
        self._client = client
        return client

    def run(self, call: Call[T]) -> T:
        """Make a call. Raises a `ServerError` when it did not go through in time."""
        first = self._client is None
        deadline = time.monotonic() + (0 if first else self._patience_s)
        attempt = 0
        while True:
            try:
                with self._calls:
                    reply = self._evaluate(call)
                return call.decode(reply)
            except RedisError as error:
                if not _is_passing(error) or time.monotonic() >= deadline:
                    raise translate(error, self.url) from None
            time.sleep(_backoff_s(attempt))
            attempt += 1
            self._locate()  # the embedded server is started again

    def _evaluate(self, call: Call[Any]) -> Any:
        client = self.client()
        try:
            return client.execute_command(*call.command())
        except NoScriptError:
            client.script_load(source(call.script))
            return client.execute_command(*call.command())

    def send(self, call: Call[T]) -> Sent[T]:
        """Send a call, whose reply is read later. Raises a `ServerError` when there is no server."""
        pool = self.client().connection_pool
        connection = None
        try:
            connection = pool.get_connection()
            connection.send_command(*call.command())
        except BaseException as error:
            if connection is not None:
                connection.disconnect()
                pool.release(connection)
            if not isinstance(error, RedisError):
                raise
            connection = None
        return Sent(self, call, pool, connection)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self.announcements.close()
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None


class Sent(Generic[T]):
    """A call that was sent. Its connection is kept for it until `reply` or `abandon`."""

    def __init__(
        self,
        server: Server,
        call: Call[T],
        pool: redis.ConnectionPool,
        connection: Connection | None,
    ) -> None:
        """`connection`: None when it could not be sent."""
        self._server, self._call = server, call
        self._pool, self._connection = pool, connection

    def reply(self) -> T:
        """What the call gave. What does not go through is called again as by `Server.run`; raises what that does."""
        if self._connection is not None:
            try:
                reply = self._connection.read_response()
            except RedisError:
                pass
            except BaseException:
                self._connection.disconnect()
                raise
            else:
                return self._call.decode(reply)
            finally:
                self._pool.release(self._connection)
        return self._server.run(self._call)

    def abandon(self) -> None:
        """Nobody will read the reply."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)


def _groups(calls: Sequence[Call[Any]]) -> list[list[int]]:
    """Which calls are made as one, by their places; a call that is made alone is a group too."""
    groups: list[list[int]] = []
    latest: dict[tuple[str, str], list[int]] = {}
    for i, call in enumerate(calls):
        group = latest.get((call.script, call.prefix), [])
        if not group or len(group) == _GATHERED_CALLS:
            group = []
            groups.append(group)
            if call.gathers:
                latest[call.script, call.prefix] = group
        group.append(i)
    return groups


class AsyncServer:
    """The ledger's Redis on one event loop.

    Calls made in the same turn of the loop travel as one pipeline; when several pipelines are under way, calls
    gather for the next. In it those of a script that takes many are one.
    """

    def __init__(self, locate: Locate, *, patience_s: float = PATIENCE_S) -> None:
        self._locate = locate
        self._patience_s = patience_s
        self._client: redis.asyncio.Redis | None = None
        self._connecting = asyncio.Lock()
        self._waiting: list[tuple[Call[Any], asyncio.Future[Any]]] = []
        self._sending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._locating: asyncio.Future[str] | None = None
        self._given_up = False
        self.announcements = Announcements(self.client)
        self.url = ""

    async def run_id(self) -> str:
        """The id of the server's present run; another one means that it was restarted."""
        client = await self.client()
        try:
            return str((await client.info("server")).get("run_id", ""))
        except RedisError as error:
            raise translate(error, self.url) from None

    async def load(self) -> ServerLoad:
        """What the server has done and holds, whosever it is."""
        client = await self.client()
        try:
            stats, memory = await client.info("commandstats"), await client.info("memory")
        except RedisError as error:
            raise translate(error, self.url) from None
        scripts = stats.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
        return ServerLoad(
            scripts=int(scripts["calls"]),
            scripts_s=int(scripts["usec"]) / 1e6,
            memory_bytes=int(memory["used_memory"]),
            most_memory_bytes=int(memory["maxmemory"]) or None,
        )

    def give_up(self) -> None:
        """From now on no call is made again: what waits for the server to come back raises instead."""
        self._given_up = True

    async def client(self) -> redis.asyncio.Redis:
        """The redis-py client, connected and checked at first use."""
        async with self._connecting:
            if self._client is None:
                self.url = await asyncio.to_thread(self._locate)
                client = _open_async(self.url)
                try:
                    _check(await client.info("server"), self.url)
                except (RedisError, ServerError) as error:
                    await client.aclose()
                    raise translate(error, self.url) if isinstance(error, RedisError) else error from None
                self._client = client
            return self._client

    async def run(self, call: Call[T], *, patience_s: float | None = None) -> T:
        """Make a call. Raises a `ServerError` when it did not go through within `patience_s`.

        With endless patience it also waits until a server that refuses takes it: out of memory, read-only, no
        permission. Others are told at once, for they can do something about it.
        """
        patience_s = self._patience_s if patience_s is None else patience_s
        first = self._client is None
        deadline = time.monotonic() + (0 if first else patience_s)
        attempt = 0
        while True:
            try:
                return call.decode(await self._enter(call))
            except RedisError as error:
                passes = _is_passing(error) or (deadline == math.inf and _is_refusal(error))
                if not passes or self._given_up or time.monotonic() >= deadline:
                    raise translate(error, self.url) from None
            await asyncio.sleep(_backoff_s(attempt))
            attempt += 1
            await self._locate_again()

    async def _locate_again(self) -> None:
        """The embedded server is started again: once, for the thousands of calls that may wait for it."""
        if self._locating is None or self._locating.done():
            self._locating = asyncio.ensure_future(asyncio.to_thread(self._locate))
        await asyncio.shield(self._locating)

    async def _enter(self, call: Call[Any]) -> Any:
        if self._client is None:
            await self.client()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((call, future))
        if not self._scheduled and self._sending < _PIPELINES_AT_ONCE:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._sending < _PIPELINES_AT_ONCE:
            size = count = 0
            for count, (call, _) in enumerate(self._waiting, 1):
                size += call.size()
                if count >= _PIPELINE_CALLS or size >= _PIPELINE_BYTES:
                    break
            chunk, self._waiting = self._waiting[:count], self._waiting[count:]
            self._sending += 1
            task = asyncio.get_running_loop().create_task(self._send(chunk))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, chunk: Sequence[tuple[Call[Any], asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._pipeline([call for call, _ in chunk])
            for (_, future), reply in zip(chunk, replies, strict=True):
                if future.done():
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except BaseException as error:
            for _, future in chunk:
                if not future.done():
                    future.set_exception(
                        error if isinstance(error, Exception) else RedisConnectionError("closed")
                    )
            if not isinstance(error, Exception):
                raise
        finally:
            self._sending -= 1
            if self._waiting:
                self._flush()

    async def _pipeline(self, calls: Sequence[Call[Any]]) -> list[Any]:
        groups = _groups(calls)
        heads = [
            calls[head].gathered(calls[i] for i in others) if others else calls[head]
            for head, *others in groups
        ]
        replies: list[Any] = [None] * len(calls)
        for group, head, reply in zip(groups, heads, await self._replies(heads), strict=True):
            one_for_all = isinstance(reply, Exception) or len(group) == 1
            for i, part in zip(group, repeat(reply) if one_for_all else head.decode(reply), strict=False):
                replies[i] = part
        return replies

    async def _replies(self, calls: Sequence[Call[Any]]) -> list[Any]:
        client = await self.client()
        replies = await self._execute(client, calls)
        # The server was restarted, or is new: it knows some scripts and others not.
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            for script in {calls[i].script for i in missing}:
                await client.script_load(source(script))
            again = await self._execute(client, [calls[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return replies

    @staticmethod
    async def _execute(client: redis.asyncio.Redis, calls: Sequence[Call[Any]]) -> list[Any]:
        if len(calls) == 1:
            try:
                return [await client.execute_command(*calls[0].command())]
            except ResponseError as error:
                return [error]
        pipeline = client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*call.command())
        return list(await pipeline.execute(raise_on_error=False))

    async def close(self) -> None:
        """Close the connections after what is under way."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.announcements.close()
        if self._client is not None:
            await self._client.aclose()
            self._client = None
