"""Sending admitted jobs as Celery messages, on a thread of its own: kombu blocks.

A message is a wake-up, not the truth. One that cannot be sent is handed back, so that its job goes elsewhere at once;
one that is lost costs the rest of its claim.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from celery import Celery
from kombu import Exchange, Queue

from chatq.contract.keys import Keys
from chatq.ledger.ledger import Admitted

logger = logging.getLogger(__name__)

_END: Final = None
_AT_ONCE: Final = 100
"""Messages that travel together."""
_PAUSE_S: Final = 0.5
"""How long nothing is sent after a broker took nothing twice."""


def celery_queue(name: str) -> Queue:
    """A queue on the default exchange: nothing is bound, so nothing is left behind when the queue goes.

    Without acknowledgements: the ledger finds what is lost, and Redis need not write each message down a second time.
    """
    return Queue(name, Exchange(""), routing_key=name, no_ack=True)


class Publisher:
    """Publishes to the workers' queues. `hand_back` is called, on the publisher's thread, with what could not go."""

    def __init__(
        self, app: Celery, keys: Keys, task_name: str, hand_back: Callable[[Admitted], None]
    ) -> None:
        self._app = app
        self._keys = keys
        self._task_name = task_name
        self._hand_back = hand_back
        self._inbox: queue.SimpleQueue[Admitted | Callable[[Any], None] | None] = queue.SimpleQueue()
        # Of the thread alone.
        self._connection: Any = None
        self._producer: Any = None
        self._thread = threading.Thread(target=self._run, name="chatq-publisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def publish(self, admitted: Iterable[Admitted]) -> None:
        """Send these soon. From any thread."""
        for one in admitted:
            self._inbox.put(one)

    def publish_task(self, name: str, arguments: Sequence[str], *, task_id: str, worker: str) -> None:
        """Send another task to a worker soon; one that cannot be sent is dropped. From any thread."""
        self._inbox.put(
            lambda producer: self._send(
                name, arguments, task_id=task_id, worker=worker, shown=arguments[1:], producer=producer
            )
        )

    def delete_queue(self, worker: str) -> None:
        """Delete the queue of a dead worker, with the messages in it: their jobs were handed back."""
        name = self._keys.worker_queue(worker)
        self._inbox.put(lambda producer: producer.channel.queue_delete(name))

    def stop(self) -> None:
        """Send what is left, then end the thread."""
        self._inbox.put(_END)
        self._thread.join(timeout=5)

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

    def _try_to_send(self, items: Sequence[Admitted | Callable[[Any], None]]) -> bool:
        try:
            if self._connection is None:
                self._connection = self._app.connection_for_write()
                self._producer = self._app.amqp.Producer(self._connection)
            with self._producer.batch(_AT_ONCE):
                for item in items:
                    if isinstance(item, Admitted):
                        self._wake(item, self._producer)
                    else:
                        item(self._producer)
        except Exception as error:
            logger.warning("the broker took no message: %s", type(error).__name__)
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken
                connection.release()

    def _next(self) -> tuple[list[Admitted | Callable[[Any], None]], bool]:
        """Wait for something to send; all that is there, at most `_AT_ONCE`, and whether that was the last."""
        items: list[Admitted | Callable[[Any], None]] = []
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

    def _wake(self, admitted: Admitted, producer: Any) -> None:
        self._send(
            self._task_name,
            (admitted.job_id, admitted.connection, admitted.token),
            task_id=admitted.job_id,
            worker=admitted.worker,
            # What Flower shows: the token means nothing to a person.
            shown=(admitted.job_id, admitted.connection),
            producer=producer,
        )

    def _send(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        task_id: str,
        worker: str,
        shown: Sequence[str],
        producer: Any,
    ) -> None:
        self._app.send_task(
            name,
            args=tuple(arguments),
            argsrepr=repr(tuple(shown)),
            kwargsrepr="{}",
            task_id=task_id,
            queue=celery_queue(self._keys.worker_queue(worker)),
            producer=producer,
            retry=False,
            ignore_result=True,
            add_to_parent=False,
        )
