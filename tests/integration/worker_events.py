"""Hearing what workers tell Flower, as Celery's own receiver of events hears it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from typing import Any

from celery.events import EventReceiver
from installation import WAIT_S

from chatq.embedded import as_broker_url
from chatq_worker.app import make_app


class Listener:
    """Hears everything within its `with` block. `heard`: every message with events, as text."""

    def __init__(self, url: str) -> None:
        self.kinds: defaultdict[str, list[str]] = defaultdict(list)
        self.events: list[dict[str, Any]] = []
        self.heard: list[str] = []
        self._news = threading.Condition()
        self._app = make_app(prefix="chatq", broker_url=as_broker_url(url))
        self._connection = self._app.connection_for_read()
        self._receiver = EventReceiver(self._connection, handlers={"*": self._note}, app=self._app)
        decode = self._receiver._receive

        def receive(body: Any, message: Any) -> None:
            self.heard.append(json.dumps([body, message.headers, message.properties]))
            decode(body, message)

        self._receiver._receive = receive
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False})

    def __enter__(self) -> Listener:
        self._thread.start()
        with self._news:  # the worker's heartbeat: it listens
            assert self._news.wait_for(lambda: self.events, WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join()
        self._connection.close()
        self._app.close()

    def until(self, kind: str, job_id: str) -> dict[str, Any]:
        """Wait for an event about a job."""
        with self._news:
            assert self._news.wait_for(lambda: kind in self.kinds[job_id], WAIT_S), self.kinds[job_id]
            return next(e for e in self.events if e.get("uuid") == job_id and e["type"] == kind)

    def _note(self, event: dict[str, Any]) -> None:
        with self._news:
            self.events.append(event)
            self.kinds[event.get("uuid", "")].append(event["type"])
            self._news.notify_all()
