"""Celery's events, sent in batches: a message each 50 ms instead of one for every turn of the hub."""

from __future__ import annotations

from typing import Any, Final

from celery.app.events import Events
from celery.events.dispatcher import EventDispatcher

_DELAY_S: Final = 0.05
"""How long an event waits for others. Flower shows it within a tenth of a second."""
_AT_ONCE: Final = 500
"""Events that do not wait for more."""


class BatchDispatcher(EventDispatcher):  # type: ignore[misc]  # celery has no types
    """Celery's dispatcher, which gathers the events of tasks. Here they wait for a timer of the hub.

    An event of another kind, such as the last one of a worker that stops, sends ahead what waits.
    """

    buffer_group: frozenset[str]
    buffer_limit: int
    on_send_buffered: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Any = None
        self._is_due = False
        if self.on_send_buffered is not None:
            # A method of Celery's consumer; kombu's get_event_loop() knows no hub any more after a lost connection.
            self._hub = self.on_send_buffered.__self__.hub
            self.buffer_limit = _AT_ONCE
            self.on_send_buffered = self._flush_soon

    def send(self, type: str, *args: Any, **fields: Any) -> None:  # noqa: A002 - Celery's name
        if any(self._group_buffer.values()) and not type.startswith("task-"):
            self.flush()
        super().send(type, *args, **fields)

    def extend_buffer(self, other: BatchDispatcher) -> None:
        """Take over what the dispatcher of a lost connection has not sent."""
        super().extend_buffer(other)
        for group, events in other._group_buffer.items():
            self._group_buffer[group] += events

    def _flush_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._hub.call_later(_DELAY_S, self._flush_now)

    def _flush_now(self) -> None:
        self._is_due = False
        self.flush()


class BatchEvents(Events):  # type: ignore[misc]
    """What `app.events` is made of: `Celery(..., events=BatchEvents)`."""

    dispatcher_cls = BatchDispatcher
