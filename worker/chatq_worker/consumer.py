"""Celery's consumer, back soon after the broker is: `worker_consumer = "chatq_worker.consumer:PromptConsumer"`."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 2.0
"""Between two tries to connect. Celery's pauses grow to 30 s, for which a worker would be deaf after an outage."""


class PromptConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Every connection of a worker's to its broker is made here: to read, and to send events."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying until it succeeds or the worker is told to stop. `conn`: kombu's connection."""
        # Celery does not say how long the pauses are to be, and no setting does.
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=_FIRST_PAUSE_S,
            interval_step=_FIRST_PAUSE_S,
            interval_max=_LONGEST_PAUSE_S,
        )
        return super().ensure_connected(conn)
