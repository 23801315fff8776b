"""A worker that comes to none of its messages: whether its consumer hears, and how it comes to hear again.

The ledger finds out that jobs were given to a worker which renews its lease and begins none (`stall` in `jobs.lua`),
and says so at each renewal. The worker sends a message to itself then. If that does not come, its consumer is connected
anew: its connection looks alive and is not, or Celery has lost it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from chatq_worker.publisher import Publisher
from chatq_worker.tasks import HEAR

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 2.0
"""How long a message may take to come. It takes milliseconds, unless the worker is far behind."""
_ANEW_S: Final = 6.0
"""The same while a new connection is made: Celery may wait 5 s for replies to the old one."""


class Hearing:
    """Of one worker. On the loop; `reconnect()` has the consumer connect anew. `clock_s`: only tests give another."""

    def __init__(
        self,
        *,
        worker: str,
        publisher: Publisher,
        reconnect: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._publisher = publisher
        self._reconnect = reconnect
        self._clock_s = clock_s
        self._until_s: float | None = None

    def note(self, *, stalled: bool) -> None:
        """What the ledger said at a renewal: whether this worker comes to none of its messages."""
        if not stalled:
            self._until_s = None
        elif self._until_s is None:
            self._send(_PATIENCE_S)
        elif self._clock_s() >= self._until_s:
            logger.warning("none of this worker's messages comes; connecting to the broker anew")
            self._reconnect()
            self._send(_ANEW_S)

    def _send(self, patience_s: float) -> None:
        self._until_s = self._clock_s() + patience_s
        self._publisher.publish_task(HEAR, (f"hear-{uuid4().hex}",), worker=self._worker)
