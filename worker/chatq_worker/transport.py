"""kombu's Redis transport as a worker needs it: every key under our prefix, and wake-ups taken in bulk.

Keys and messages keep the stock format, so that other tools still read the queues. What differs from stock:

- Transport options name the keys. kombu reads only some of them from there; the channel is taught the rest.
- A queue consumed without acknowledgements (`Queue(no_ack=True)`) gives all its messages in one reply: behind each
  message that BRPOP brings, an RPOP with a count and the next BRPOP travel together. Every other queue is consumed as
  stock kombu does it, one message at a time and noted down in `unacked`.
- What is no message is thrown away and logged; in stock kombu it ends the worker.
- One Redis client serves all commands of a channel, where stock kombu builds one for each (0.1 ms).

`CHATQ_INTERNAL_TRANSPORT=stock` does without bulk and without the one client.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty
from time import monotonic
from typing import Any, Final

import orjson
from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from kombu.transport import redis as kombu_redis
from kombu.utils.json import loads

logger = logging.getLogger(__name__)

VARIABLE: Final = "CHATQ_INTERNAL_TRANSPORT"
"""Environment: `bulk` (the default) or `stock`."""
_AT_ONCE: Final = 128
"""Messages of one bulk reply: some 10 ms of the hub's time, in which it hears nothing else."""
_LATE_S: Final = 0.5
"""How much later than its time-out a BRPOP may be answered. After that its connection counts as dead."""
_CONNECT_TIMEOUT_S: Final = 3.0
_REPLY_TIMEOUT_S: Final = 15.0
_KEY_OPTIONS: Final = ("keyprefix_queue", "keyprefix_binding_deadlines", "keyprefix_binding_permanent")


class _Prefixed:
    """Mixed into kombu's channels: key names from the transport options, topics that begin with our prefix."""

    connection: Any
    qos: Any
    keyprefix_fanout: str
    _purge: Callable[[str], int]

    @property
    def do_restore(self) -> bool:
        """Whether unacknowledged messages are given back as the channel closes.

        Not when its connection was lost: kombu 5.7 has forgotten by then where that led, and the worker ended with
        `AttributeError: ... 'hostname'`. What is not given back comes again when its visibility timeout is over.
        """
        return self.connection.client is not None

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        # Messages of queues without acknowledgements were never noted down; Celery acknowledges them all the same.
        if delivery_tag in self.qos._delivered:
            super().basic_ack(delivery_tag, multiple)  # type: ignore[misc]

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if delivery_tag in self.qos._delivered:
            super().basic_reject(delivery_tag, requeue)  # type: ignore[misc]

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **options: Any
    ) -> None:
        # kombu deletes what is bound to an exchange; our workers' queues are bound to none.
        super().queue_delete(queue, if_unused, if_empty, **options)  # type: ignore[misc]
        if not if_empty:
            self._purge(queue)

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        # kombu takes only a prefix of the form `/DB.` off a topic; with another it knows no such exchange, and the
        # KeyError ends the connection of whoever listens: of every worker, at every broadcast of Flower's.
        return super()._deliver_fanout_message(  # type: ignore[misc]
            message, exchange.removeprefix(self.keyprefix_fanout)
        )


class _Bulk:
    """Mixed into kombu's channels: consumes queues without acknowledgements in bulk.

    State between two BRPOPs: `_more_at` is the key from which the last message came, if more may be taken there in
    bulk. Between BRPOP and its reply: `_bulk_from` is the key whose RPOP went out ahead of it and is unanswered.
    """

    _more_at: bytes | None = None
    _bulk_from: bytes | None = None
    _plain_client: Any = None

    # Of kombu's channel.
    _create_client: Callable[[], Any]
    active_queues: list[str]
    brpop_timeout: float
    client: Any
    connection: Any
    connection_errors: tuple[type[BaseException], ...]
    global_keyprefix: str
    pool: Any
    priority_steps: list[int]
    sep: str
    _fanout_queues: Mapping[str, object]
    _flush_brpop_reauth: Callable[[], None]
    _in_poll: Any
    _q_for_pri: Callable[[str, int], str]
    _queue_cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._without_acks: set[str] = set()
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        if no_ack and queue not in self._fanout_queues:
            self._without_acks.add(queue)
        else:
            self._without_acks.discard(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)  # type: ignore[misc]

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        keys = [self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        commands: list[list[Any]] = [
            ["BRPOP", *keys, (self.brpop_timeout if timeout is None else timeout) or 0]
        ]
        self._bulk_from, self._more_at = self._more_at, None
        if self._bulk_from is not None:
            commands.insert(0, ["RPOP", self._bulk_from.decode(), _AT_ONCE])
        if self.global_keyprefix:
            commands = [self.client._prefix_args(command) for command in commands]
        connection = self.client.connection
        self._in_poll = connection
        self._brpop_sent_at = monotonic()
        connection.send_packed_command(connection.pack_commands(commands))

    def _brpop_read(self, **options: Any) -> bool:
        delivered = False
        if self._bulk_from is not None:
            connection = self._in_poll
            delivered = self._read_bulk()
            closed = self._in_poll is not connection  # by what was delivered
            if closed or not self._reads(connection):
                return self._true_or_empty(delivered)
        return self._true_or_empty(self._read_one(**options) or delivered)

    def _read_bulk(self) -> bool:
        """Read the reply to RPOP, and deliver what is in it; False when there was nothing."""
        assert self._bulk_from is not None  # noqa: S101 - for the reader
        queue, self._bulk_from = self._queue_of(self._bulk_from), None
        items = self._reply("RPOP") or ()
        for item in items:
            self._take(item, queue)
        return bool(items)

    def _read_one(self, **options: Any) -> bool:
        """Read the reply to BRPOP, and deliver what is in it; False when there was nothing."""
        try:
            reply = self._reply("BRPOP", **options)
        finally:
            self._in_poll = None
            # No command is under way now: the moment for a token that waits to be sent.
            self._flush_brpop_reauth()
        if not reply:
            return False
        key, item = reply
        queue = self._queue_of(key)
        self._queue_cycle.rotate(queue)
        if queue in self._without_acks:
            self._more_at = key
        self._take(item, queue)
        return True

    def _reply(self, command: str, **options: Any) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, command, **options)
        except BaseException:
            # Whatever it was, replies and commands may be out of step now; the next round connects anew.
            connection.disconnect()
            raise

    def _reads(self, connection: Any) -> bool:
        """Whether the next reply is there already, in the buffer perhaps, of which the hub's poller knows nothing."""
        try:
            return bool(connection.can_read(timeout=0))
        except BaseException:
            connection.disconnect()
            raise

    def _answers(self) -> bool:
        """Whether the reply to a command under way comes in time. On a connection that is dead without a sign it never
        does, and waiting for it would hold up the worker for as long as a reply may ever take."""
        with suppress(*self.connection_errors):
            return bool(self._in_poll.can_read(timeout=self.brpop_timeout + _LATE_S))
        return False

    @staticmethod
    def _true_or_empty(delivered: bool) -> bool:
        if not delivered:
            raise Empty
        return True

    def _queue_of(self, key: bytes) -> str:
        return key.decode().rsplit(self.sep, 1)[0]

    def _take(self, item: bytes, queue: str) -> None:
        """Deliver one message, if it is one."""
        without_acks = queue in self._without_acks
        try:
            message = orjson.loads(item) if without_acks else loads(item)
        except ValueError:
            message = None
        if not _is_message(message):
            logger.error("Something in the queue %s was no Celery message and was thrown away", queue)
        elif without_acks and queue not in self.connection._callbacks:
            logger.debug("A message came although %s is not consumed any more", queue)
        else:
            self.connection._deliver(message, queue)

    def close(self) -> None:
        if self._in_poll and not self._answers():
            self._in_poll.disconnect()  # and nothing is in poll any more
        if self._in_poll and self._bulk_from is not None:
            with suppress(*self.connection_errors):
                self._read_bulk()
        super().close()  # type: ignore[misc]  # reads the reply to BRPOP, which holds a message perhaps

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """`client`, or the channel's own for commands that do not block. (A client takes no connection until used.)"""
        if client is None:
            if self._plain_client is None or self._plain_client.connection_pool is not self.pool:
                self._plain_client = self._create_client()
            client = self._plain_client
        yield client


class Channel(_Prefixed, kombu_redis.Channel):  # type: ignore[misc]  # kombu has no types
    """The stock channel under our prefix."""

    from_transport_options = (*kombu_redis.Channel.from_transport_options, *_KEY_OPTIONS)


class BulkChannel(_Bulk, Channel):
    """The channel of a worker."""


class SentinelChannel(_Prefixed, kombu_redis.SentinelChannel):  # type: ignore[misc]
    """The stock channel of `sentinel://` under our prefix."""

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, *_KEY_OPTIONS)


class BulkSentinelChannel(_Bulk, SentinelChannel):
    """The channel of a worker at `sentinel://`."""


class StockTransport(kombu_redis.Transport):  # type: ignore[misc]
    """kombu's transport under our prefix."""

    Channel = Channel


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The transport of a worker."""

    Channel = BulkChannel


class StockSentinelTransport(kombu_redis.SentinelTransport):  # type: ignore[misc]
    """kombu's transport for `sentinel://` under our prefix."""

    Channel = SentinelChannel


class SentinelTransport(kombu_redis.SentinelTransport):  # type: ignore[misc]
    """The transport of a worker at `sentinel://`."""

    Channel = BulkSentinelChannel


def is_stock(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `CHATQ_INTERNAL_TRANSPORT` asks for stock kombu."""
    return environ.get(VARIABLE) == "stock"


def install(*, stock: bool = False) -> None:
    """Make kombu use our transport for every URL of Redis in this process, whichever way it is told the URL."""
    word = "Stock" if stock else ""
    for scheme, kind in (("redis", ""), ("rediss", ""), ("sentinel", "Sentinel")):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{word}{kind}Transport"
        _transport_cache.pop(scheme, None)  # what the scheme was to whoever asked before


def options(prefix: str) -> dict[str, Any]:
    """Transport options that put kombu's keys under `prefix`."""
    return {
        "unacked_key": f"{prefix}:celery:unacked",
        "unacked_index_key": f"{prefix}:celery:unacked-index",
        "unacked_mutex_key": f"{prefix}:celery:unacked-mutex",
        "keyprefix_queue": f"{prefix}:celery:binding.%s",
        "keyprefix_binding_deadlines": f"{prefix}:celery:binding-deadlines",
        "keyprefix_binding_permanent": f"{prefix}:celery:binding-permanent.%s",
        # No slash in it: behind the exchange's name a slash sets off the routing key.
        "fanout_prefix": f"{prefix}:celery:{{db}}.",
        "socket_keepalive": True,
        # Without limits a command that is sent while the server does not answer would hold up the hub for ever.
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_timeout": _REPLY_TIMEOUT_S,
    }


def binding(prefix: str, exchange: str, queue: str) -> tuple[str, str]:
    """The set in which kombu keeps that a queue hears an exchange's broadcasts, and its entry there."""
    return options(prefix)["keyprefix_queue"] % exchange, kombu_redis.Channel.sep.join(("", "", queue))


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and isinstance(message.get("properties"), dict)
        and "delivery_tag" in message["properties"]
    )
