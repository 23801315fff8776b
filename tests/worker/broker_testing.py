"""A broker for tests of what travels: the session's real server, our app on it, and consumers of either transport."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from celery import Celery
from kombu import Connection
from kombu.message import Message
from kombu.transport import redis as kombu_redis

from chatq.contract.keys import Keys
from chatq.embedded import as_broker_url
from chatq_worker import transport
from chatq_worker.app import make_app
from chatq_worker.coroutine_task import CoroutineTask
from chatq_worker.task_message import celery_queue

PREFIX = "wire"
KEYS = Keys(PREFIX)
WORKER = "host-1"
QUEUE = KEYS.worker_queue(WORKER)

STOCK = kombu_redis.Transport
"""kombu's own, which knows nothing of ours."""
BULK = transport.Transport
"""A worker's."""


SHORT_POLL = {"polling_interval": 0.1}
"""Seconds. Who closes a connection waits for the end of its BRPOP."""


class Complete(CoroutineTask):
    """Stands for the worker's task of this name: no test here runs it."""

    name = "chatq.complete"
    ignore_result = True

    async def execute(self, job_id: str, connection: str, token: str) -> None: ...


def app_on(url: str) -> Celery:
    """A worker's app, as it is in a worker."""
    app = make_app(prefix=PREFIX, broker_url=as_broker_url(url), worker=WORKER)
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **SHORT_POLL}
    app.register_task(Complete())
    return app


def connection(url: str, kind: type) -> Connection:
    """A kombu connection by a transport of this kind. The caller closes it."""
    made = Connection(as_broker_url(url), transport_options={**transport.options(PREFIX), **SHORT_POLL})
    made.transport_cls = kind  # past kombu's table of names, in which ours are entered
    return made


def publish(url: str, kind: type, bodies: Sequence[Any], *, queue: str = QUEUE, priority: int = 0) -> None:
    """Send messages to a queue."""
    with connection(url, kind) as opened, opened.Producer() as producer:
        for body in bodies:
            producer.publish(body, exchange="", routing_key=queue, priority=priority, serializer="json")


class Consumer:
    """Consumes queues within its `with` block. `messages`: what came, in order."""

    def __init__(self, url: str, kind: type, *queues: str, no_ack: bool = True) -> None:
        self.connection = connection(url, kind)
        self.messages: list[Message] = []
        self._queues = [celery_queue(name, no_ack=no_ack) for name in queues or (QUEUE,)]
        self._no_ack = no_ack

    def __enter__(self) -> Consumer:
        self.consumer = self.connection.Consumer(
            self._queues, on_message=self.messages.append, accept=["json"], no_ack=self._no_ack
        )
        self.consumer.consume()
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def channel(self) -> Any:
        return self.consumer.channel

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def take(self, count: int, *, within_s: float = 10.0) -> list[Any]:
        """Wait for so many messages in all; their bodies."""
        with suppress(TimeoutError):
            while len(self.messages) < count:
                self.connection.drain_events(timeout=within_s)
        return self.bodies

    def nothing_more(self) -> bool:
        """Whether nothing comes for a moment."""
        before = len(self.messages)
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=0.2)
        return len(self.messages) == before


def raw(client: redis.Redis, queue: str = QUEUE) -> list[dict[str, Any]]:
    """The messages in a queue as they are in Redis, the next one first."""
    return [json.loads(item) for item in reversed(client.lrange(queue, 0, -1))]
