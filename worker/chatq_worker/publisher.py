"""Sending admitted jobs as Celery messages to the queues of workers.

A message is a wake-up, not the truth. One that cannot be sent is handed back, so that its job goes elsewhere at once;
one that is lost costs the rest of its claim.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

from celery import Celery

from chatq.contract.errors import ServerError
from chatq.contract.keys import Keys
from chatq.ledger.call import Call
from chatq.ledger.locate import redis_py_url
from chatq.ledger.replies import Admitted
from chatq.ledger.server import AsyncServer
from chatq_worker import transport
from chatq_worker.control import node_name
from chatq_worker.task_message import TaskMessage, shown_of

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 500
"""Messages that travel in one command: as many as may be under way to one worker."""
_KEPT: Final = 2000
"""Messages kept in a queue, the youngest: far more than may be under way. Older ones have lost their claims."""
_FORGOTTEN_MS: Final = 60_000
"""A queue to which nothing was sent for so long is forgotten: its worker is gone, or all in it has lost its claim."""
_PATIENCE_S: Final = 3.0
"""How long a broken connection is mended before a job is handed back. Its claim ends then."""
_PAUSE_S: Final = 0.5
"""How long jobs wait here that the broker did not take: they will be admitted again at once, perhaps to be sent
from here."""

_REDIS: Final = ("redis:", "rediss:", "redis+socket:", "unix:")

# KEYS[1]: a queue in the format of kombu's Redis transport, which takes from the tail. ARGV: ms until it is forgotten,
# messages kept, the messages. Begins with a write that is never refused, so that jobs are woken when memory is full:
# only jobs that end free any.
_PUSH: Final = """
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[1], unpack(ARGV, 3))
redis.call('LTRIM', KEYS[1], 0, ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class Publisher(Protocol):
    """Publishes to the workers' queues. Every method is called on the worker's loop.

    `hand_back`, given to the constructor, is called with each job whose message could not be sent.
    """

    def start(self) -> None:
        """Called once, before anything else."""

    def publish(self, admitted: Iterable[Admitted]) -> None:
        """Wake the workers of these jobs soon."""

    def publish_task(self, name: str, arguments: Sequence[str], *, worker: str) -> None:
        """Send another task to a worker soon; its id is the first argument. One that cannot be sent is dropped."""

    def delete_queue(self, worker: str) -> None:
        """Delete the queue of a worker that is gone, with the messages in it: their jobs were handed back. What else
        the broker keeps of it goes too."""

    async def stop(self) -> None:
        """Send what is left, then free what is held."""


class RedisPublisher:
    """A `Publisher` for a broker that is Redis. What is published in one turn of the loop travels together.

    `server`: the broker; closed by `stop` when it is `owned`, that is not the ledger's own.
    """

    def __init__(
        self,
        app: Celery,
        keys: Keys,
        task_name: str,
        hand_back: Callable[[Admitted], None],
        *,
        server: AsyncServer,
        owned: bool = False,
    ) -> None:
        self._app = app
        self._keys = keys
        self._task_name = task_name
        self._hand_back = hand_back
        self._server = server
        self._owned = owned
        self._job_message = TaskMessage(app, task_name, arguments=3)
        self._other_messages: dict[str, TaskMessage] = {}
        self._waiting: defaultdict[str, list[tuple[bytes, Admitted | None]]] = defaultdict(list)
        self._flushes: asyncio.Handle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        pass

    def publish(self, admitted: Iterable[Admitted]) -> None:
        for one in admitted:
            queue = self._keys.worker_queue(one.worker)
            message = self._job_message.fill(
                queue, (one.job_id, one.connection, one.token), shown=shown_of(one)
            )
            self._send_soon(queue, message, one)

    def publish_task(self, name: str, arguments: Sequence[str], *, worker: str) -> None:
        if name not in self._other_messages:
            self._other_messages[name] = TaskMessage(self._app, name, arguments=len(arguments))
        queue = self._keys.worker_queue(worker)
        message = self._other_messages[name].fill(queue, arguments, shown=repr(tuple(arguments[1:])))
        self._send_soon(queue, message, None)

    def delete_queue(self, worker: str) -> None:
        self._begin(self._delete(worker))

    async def stop(self) -> None:
        self._flush()
        await asyncio.gather(*self._under_way)
        if self._owned:
            await self._server.close()

    def _send_soon(self, queue: str, message: bytes, admitted: Admitted | None) -> None:
        self._waiting[queue].append((message, admitted))
        if self._flushes is None:
            self._flushes = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes = None
        waiting, self._waiting = self._waiting, defaultdict(list)
        for queue, entries in waiting.items():
            for start in range(0, len(entries), _AT_ONCE):
                self._begin(self._push(queue, entries[start : start + _AT_ONCE]))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _push(self, queue: str, entries: Sequence[tuple[bytes, Admitted | None]]) -> None:
        messages = [message for message, _ in entries]
        push = _Command(("EVAL", _PUSH, 1, queue, _FORGOTTEN_MS, _KEPT, *messages))
        try:
            await self._server.run(push, patience_s=_PATIENCE_S)
        except ServerError as error:
            logger.warning("the broker took no message: %s", error.message)
            await asyncio.sleep(_PAUSE_S)
            for _, admitted in entries:
                if admitted is not None:
                    self._hand_back(admitted)

    async def _delete(self, worker: str) -> None:
        try:
            await self._server.run(_Command(("DEL", self._keys.worker_queue(worker))))
            # kombu forgets where a worker hears broadcasts when that ends in order, not when it dies.
            mailbox = self._app.control.mailbox.get_queue(node_name(worker))
            await self._server.run(
                _Command(("SREM", *transport.binding(self._keys.prefix, mailbox.exchange.name, mailbox.name)))
            )
        except ServerError as error:
            logger.warning("the queue of worker %s was not deleted: %s", worker, error.message)


class _Command(Call[object]):
    """A command of Redis that may be sent again: the second message of a job is dropped by its token."""

    def __init__(self, words: tuple[str | bytes | int, ...]) -> None:
        super().__init__(str(words[0]), "", words, _as_it_is)

    def command(self) -> tuple[str | bytes | int, ...]:
        return self.arguments


def _as_it_is(reply: object) -> object:
    return reply


def make_publisher(
    app: Celery,
    keys: Keys,
    task_name: str,
    hand_back: Callable[[Admitted], None],
    *,
    server: AsyncServer,
    broker_url: str | None,
    stock: bool = False,
) -> Publisher:
    """The publisher for a broker. `server`: the ledger's; `broker_url`: of another server, None when it is the same.

    `stock`: have Celery send every message, whatever the broker is.
    """
    if broker_url is None and not stock:
        return RedisPublisher(app, keys, task_name, hand_back, server=server)
    if broker_url is not None and not stock and broker_url.startswith(_REDIS):
        url = redis_py_url(broker_url)
        return RedisPublisher(app, keys, task_name, hand_back, server=AsyncServer(lambda: url), owned=True)
    from chatq_worker.celery_publisher import CeleryPublisher

    return CeleryPublisher(app, keys, task_name, hand_back)
