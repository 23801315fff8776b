"""Calls for another thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Call", "Mailbox"]

Call = Callable[[], object]


class Mailbox:
    """Calls for one other thread, which is woken once for any number of them. Any thread may put.

    Without a lock, because Celery's signal handlers run between any two instructions of the hub thread and
    stop the pool from there: a lock that the interrupted code held would never be released. For the same
    reason only a wake-up that is complete saves the next one: a handler that waits for the reader waits in vain
    for one that the interrupted code was about to send. It relies on deque.append and deque.popleft being
    atomic, and on the reader beginning a new turn before it looks.
    """

    def __init__(self, wake: Call) -> None:
        self._wake = wake
        self._calls: deque[Call] = deque()
        self._turn = object()
        self._woken_in: object = None

    def put(self, call: Call) -> None:
        self._calls.append(call)
        self._wake_once()

    def serve(self, at_most: int) -> None:
        """Make up to `at_most` of the calls, in order; if more are left, wake the reader again.

        What a call raises goes to the caller; the calls behind it stay for the next time.
        """
        self._turn = object()
        try:
            for _ in range(at_most):
                try:
                    call = self._calls.popleft()
                except IndexError:
                    return
                call()
        finally:
            if self._calls:
                self._wake_once()

    def _wake_once(self) -> None:
        turn = self._turn
        if self._woken_in is not turn:
            self._wake()
            self._woken_in = turn
