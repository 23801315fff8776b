"""Celery's remote control, with the prefix in front of the names of its queues: they become keys of Redis."""

from __future__ import annotations

from celery.app.control import Control, Mailbox
from kombu import Queue


def node_name(worker: str) -> str:
    """What Celery calls a worker."""
    return f"chatq@{worker}"


class PrefixedMailbox(Mailbox):  # type: ignore[misc]  # celery has no types
    """Its namespace is the control exchange, which begins with our prefix."""

    namespace: str

    def get_queue(self, hostname: str) -> Queue:
        return self._prefixed(super().get_queue(hostname))

    def get_reply_queue(self) -> Queue:
        return self._prefixed(super().get_reply_queue())

    def _prefixed(self, queue: Queue) -> Queue:
        queue.name = f"{self.namespace}.{queue.name}"
        return queue


class PrefixedControl(Control):  # type: ignore[misc]
    """What `app.control` is made of: `Celery(..., control=PrefixedControl)`."""

    Mailbox = PrefixedMailbox
