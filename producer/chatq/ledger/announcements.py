"""Hearing what is announced on channels: all who wait in one client hear over one connection.

An announcement wakes, and the truth is in the ledger. For what may have been said while the connection was broken,
everybody is woken when there is one again; a connection that died unnoticed is found out by a ping.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from chatq.contract.errors import ServerError

T = TypeVar("T")

DEAF_S: Final = 1.0
"""How long one waits at most who hears nothing, because there is no connection or the channel is refused."""
_PING_S: Final = 5.0
_LINGER_S: Final = 10.0
"""The connection is kept for the next who listens."""
_AGAIN_S: Final = 0.2
_TAKING_LEAVE_S: Final = 0.05
_CHANNELS_AT_ONCE: Final = 1000
_LEFT_AT_ONCE: Final = 64
"""Channels that nobody listens on any more are left together: to leave each would wake the server for every job."""
_SWALLOWED_S: Final = 0.1

Connect = Callable[[], Awaitable[redis.asyncio.Redis]]


class Ear:
    """One who listens on a channel."""

    def __init__(self, channel: bytes) -> None:
        self.channel = channel
        self.listens = asyncio.Event()
        """Set while everything that is said on the channel is heard."""
        self.said = asyncio.Event()
        self.missed = False

    async def ready(self) -> None:
        """Wait until everything that is said from now on is heard, or for `DEAF_S`."""
        await _within(self.listens.wait(), DEAF_S)

    async def hear(self, seconds: float) -> bool:
        """Wait until something is said, or may have been; False after `seconds`, or sooner while nothing is heard."""
        if not self.listens.is_set():
            seconds = min(seconds, DEAF_S)
        heard = await _within(self.said.wait(), seconds)
        self.said.clear()
        return heard


class Announcements:
    """The announcements of one server, for one event loop. `connect()` gives the client whose connection is used."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._ears: dict[bytes, set[Ear]] = {}
        self._joined: set[bytes] = set()
        self._unconfirmed: Counter[bytes] = Counter()
        """How often the server was asked for a channel and has not said yet that it is heard."""
        self._changed = asyncio.Event()
        self._spoke = False
        self._closes = False
        self._task: asyncio.Task[None] | None = None

    def listen(self, channel: str) -> Ear:
        """Begin to listen. `leave` ends it."""
        ear = Ear(channel.encode())
        self._ears.setdefault(ear.channel, set()).add(ear)
        if ear.channel in self._joined and not self._unconfirmed[ear.channel]:
            ear.listens.set()
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="chatq-announcements")
        return ear

    def leave(self, ear: Ear) -> None:
        """Listen no more."""
        others = self._ears[ear.channel]
        others.discard(ear)
        if not others:
            del self._ears[ear.channel]
            self._changed.set()

    async def close(self) -> None:
        """End the connection. Who still listens is deaf."""
        if self._task is None:
            return
        # Asked first: a connection that is cancelled while it is made leaves its socket open.
        self._closes = True
        self._changed.set()
        await asyncio.wait([self._task], timeout=DEAF_S)
        await _end(self._task)

    async def _run(self) -> None:
        while not self._closes:
            try:
                async with (await self._connect()).pubsub() as subscription:
                    await self._serve(subscription)
                    return
            except (RedisError, ServerError, OSError, RuntimeError):
                # The latter: redis-py says so when another task of ours has just found its connection broken.
                await asyncio.sleep(_AGAIN_S)
            finally:
                self._joined.clear()
                self._unconfirmed.clear()
                for ears in self._ears.values():
                    for ear in ears:
                        ear.listens.clear()
                        ear.missed = True

    async def _serve(self, subscription: PubSub) -> None:
        """Keep to the channels that somebody listens on, until nobody has for a while."""
        reader: asyncio.Task[None] | None = None
        try:
            while True:
                self._changed.clear()
                await self._follow(subscription)
                if reader is None:
                    reader = asyncio.create_task(self._read(subscription))
                    reader.add_done_callback(lambda _: self._changed.set())
                if self._closes:
                    return
                if not await _within(self._changed.wait(), _PING_S if self._ears else _LINGER_S):
                    if not self._ears:
                        return
                    await self._ping(subscription)
                if reader.done():
                    reader.result()
        finally:
            if reader is not None:
                await _end(reader)

    async def _follow(self, subscription: PubSub) -> None:
        """Join the channels that somebody listens on, and leave the others when they are many."""
        new = [channel for channel in self._ears if channel not in self._joined]
        for some in _some_at_a_time(new):
            self._joined.update(some)
            self._unconfirmed.update(some)
            await subscription.subscribe(*some)
        left = [channel for channel in self._joined if channel not in self._ears]
        for some in _some_at_a_time(left) if len(left) >= _LEFT_AT_ONCE else ():
            self._joined.difference_update(some)
            await subscription.unsubscribe(*some)

    async def _ping(self, subscription: PubSub) -> None:
        """Raises a `RedisError` when nothing came since the last one, not even its answer."""
        if not self._spoke:
            raise RedisConnectionError("the server is silent")
        self._spoke = False
        await subscription.ping()

    async def _read(self, subscription: PubSub) -> None:
        while True:
            message = await subscription.get_message(timeout=None)
            self._spoke = True
            if message is None:
                continue
            channel = message["channel"]
            if message["type"] == "subscribe":
                self._confirmed(channel)
            elif message["type"] == "message":
                for ear in self._ears.get(channel, ()):
                    ear.said.set()

    def _confirmed(self, channel: bytes) -> None:
        self._unconfirmed[channel] -= 1
        if self._unconfirmed[channel] > 0:  # left and joined again: not heard in between
            return
        del self._unconfirmed[channel]
        for ear in self._ears.get(channel, ()):
            ear.listens.set()
            if ear.missed:
                ear.missed = False
                ear.said.set()


class BlockingEar:
    """An `Ear` for a thread."""

    def __init__(self, ear: Ear, loop: asyncio.AbstractEventLoop, leave: Callable[[Ear], None]) -> None:
        self._ear = ear
        self._loop = loop
        self._leave = leave

    def hear(self, seconds: float) -> bool:
        """Wait until something is said, or may have been; False after `seconds`, or sooner while nothing is heard."""
        try:
            return _result(self._ear.hear(seconds), self._loop, seconds)
        except (TimeoutError, CancelledError):  # the client was closed meanwhile
            return False

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._leave, self._ear)


class BlockingAnnouncements:
    """The announcements of one server, for all threads of a process. `open_client()` makes a client of its own."""

    def __init__(self, open_client: Callable[[], redis.asyncio.Redis]) -> None:
        self._open_client = open_client
        self._lock = threading.Lock()
        self._process = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def listen(self, channel: str) -> BlockingEar:
        """Begin to listen; returns when everything that is said from now on is heard, or after `DEAF_S`."""
        with self._lock:
            if self._process != os.getpid():  # the first time, or in a fork, where threads are gone
                self._process = os.getpid()
                self._start()
            loop, announcements = self._loop, self._announcements
        assert loop is not None  # noqa: S101 - for the reader

        async def listen() -> Ear:
            ear = announcements.listen(channel)
            await ear.ready()
            return ear

        ear = _result(listen(), loop, DEAF_S)
        return BlockingEar(ear, loop, announcements.leave)

    def _start(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        self._client: redis.asyncio.Redis | None = None

        async def connect() -> redis.asyncio.Redis:
            if self._client is None:
                self._client = self._open_client()
            return self._client

        self._announcements = Announcements(connect)
        self._thread = threading.Thread(target=loop.run_forever, name="chatq-announcements", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and the connection."""
        with self._lock:
            loop, thread, process = self._loop, self._thread, self._process
            self._loop = self._thread = None
            self._process = 0
        if loop is None or thread is None or process != os.getpid():
            return

        async def close() -> None:
            await self._announcements.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=_SWALLOWED_S)
            if self._client is not None:
                await self._client.aclose()
            # A transport closes its socket some turns of the loop after it was closed; with TLS, when the server has
            # taken leave too.
            await asyncio.sleep(_TAKING_LEAVE_S)

        _result(close(), loop, _PING_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(task: asyncio.Task[None]) -> None:
    # More than once: redis-py swallows a cancellation that comes while it sends.
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_SWALLOWED_S)


async def _within(work: Coroutine[Any, Any, object], seconds: float) -> bool:
    """Whether something came about in this time."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


def _some_at_a_time(channels: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(channels), _CHANNELS_AT_ONCE):
        yield channels[start : start + _CHANNELS_AT_ONCE]


def _result(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, seconds: float) -> T:
    """What comes of work that takes so long on another thread's loop."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result(seconds + _PING_S)
    finally:
        future.cancel()
