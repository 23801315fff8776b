"""Sending messages by Celery to brokers that our loop does not speak to: AMQP, Sentinel. On a thread: kombu blocks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from celery import Celery

from chatq.contract.keys import Keys
from chatq.ledger.replies import Admitted
from chatq_worker.task_message import send, shown_of

logger = logging.getLogger(__name__)

_END: Final = None
_AT_ONCE: Final = 100
"""Messages that travel together."""
_PAUSE_S: Final = 0.5
"""How long nothing is sent after a broker took nothing twice."""

_RETRY: Final = {"max_retries": 1, "interval_start": 0.2}
"""Connecting: twice, and not for the dozen seconds that Celery would try. A claim lasts three."""

_Item = Admitted | Callable[[Any], None] | str
"""A job to wake, another message, or a queue to delete."""


class CeleryPublisher:
    """A `Publisher`. `hand_back` is called on the publisher's thread."""

    def __init__(
        self, app: Celery, keys: Keys, task_name: str, hand_back: Callable[[Admitted], None]
    ) -> None:
        self._app = app
        self._keys = keys
        self._task_name = task_name
        self._hand_back = hand_back
        self._inbox: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        # Of the thread alone.
        self._connection: Any = None
        self._producer: Any = None
        self._thread = threading.Thread(target=self._run, name="chatq-publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(self, admitted: Iterable[Admitted]) -> None:
        for one in admitted:
            self._inbox.put(one)

    def publish_task(self, name: str, arguments: Sequence[str], *, worker: str) -> None:
        queue_name = self._keys.worker_queue(worker)
        self._inbox.put(
            lambda producer: send(
                self._app,
                name,
                arguments,
                shown=repr(tuple(arguments[1:])),
                queue=queue_name,
                producer=producer,
            )
        )

    def delete_queue(self, worker: str) -> None:
        self._inbox.put(self._keys.worker_queue(worker))

    async def stop(self) -> None:
        self._inbox.put(_END)
        await asyncio.to_thread(self._thread.join, timeout=5)

    def _run(self) -> None:
        ending = False
        while not ending:
            items, ending = self._next()
            # A connection that broke is found out by using it, and a new one is the cure. What had gone out before goes
            # twice then: the second message of a job is dropped by its token.
            if not (self._try_to_send(items) or self._try_to_send(items)):
                for item in items:
                    if isinstance(item, Admitted):
                        self._hand_back(item)
                # They will be admitted again at once, perhaps to be sent from here.
                time.sleep(_PAUSE_S)
        self._disconnect()

    def _try_to_send(self, items: Sequence[_Item]) -> bool:
        try:
            if self._connection is None:
                self._connection = self._app.connection_for_write(transport_options=_RETRY)
                self._producer = self._app.amqp.Producer(self._connection)
            with self._producer.batch(_AT_ONCE):
                for item in items:
                    if isinstance(item, Admitted):
                        self._wake(item)
                    elif not isinstance(item, str):
                        item(self._producer)
            for item in items:
                if isinstance(item, str):  # now that what was meant for it has gone out
                    self._producer.channel.queue_delete(item)
        except Exception as error:
            logger.warning("the broker took no message: %s", type(error).__name__)
            self._disconnect()
            return False
        return True

    def _wake(self, admitted: Admitted) -> None:
        arguments = (admitted.job_id, admitted.connection, admitted.token)
        queue_name = self._keys.worker_queue(admitted.worker)
        send(
            self._app,
            self._task_name,
            arguments,
            shown=shown_of(admitted),
            queue=queue_name,
            producer=self._producer,
        )

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken
                connection.release()

    def _next(self) -> tuple[list[_Item], bool]:
        """Wait for something to send; all that is there, at most `_AT_ONCE`, and whether that was the last."""
        items: list[_Item] = []
        item = self._inbox.get()
        while item is not _END:
            items.append(item)
            if len(items) == _AT_ONCE:
                return items, False
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return items, False
        return items, True
