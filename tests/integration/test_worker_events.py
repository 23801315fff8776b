"""What a worker tells Flower of its jobs, as Celery's own receiver of events hears it."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from typing import Any

from celery.events import EventReceiver
from installation import OPENAI_KEY, WAIT_S, Installation, until

from chatq.embedded import as_broker_url
from chatq_worker.app import make_app

CANARY = "canary-prompt-70b1"


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


def test_events_of_jobs_come_in_order_and_hold_nothing_secret(installation: Installation) -> None:
    installation.hold_answers()
    with Listener(installation.url) as listener:
        good = installation.queue.enqueue("openai", f"job:events-good {CANARY}").id
        bad = installation.queue.enqueue("once", f"job:events-bad {CANARY} [sim: server_error 500]").id
        installation.await_in_flight(2)
        tokens = [installation.redis.hget(f"chatq:job:{job_id}", "token") for job_id in (good, bad)]
        installation.release_answers()
        succeeded = listener.until("task-succeeded", good)
        failed = listener.until("task-failed", bad)
    answer = installation.queue.get(good).result
    assert answer is not None
    assert listener.kinds[good] == ["task-received", "task-started", "task-succeeded"]
    assert listener.kinds[bad] == ["task-received", "task-started", "task-failed"]
    assert "'state': 'succeeded'" in succeeded["result"].replace('"', "'")
    assert "500" in failed["exception"]
    assert all(tokens)
    everything = "\n".join(listener.heard)
    assert good in everything
    for secret in (CANARY, OPENAI_KEY, answer.text, *tokens):
        assert secret not in everything


def test_a_job_that_expired_while_its_call_failed_is_shown_as_failed_with_the_reason(
    installation: Installation,
) -> None:
    """Celery took it for a fault of the worker's, and logged a traceback."""
    installation.hold_answers()
    with Listener(installation.url) as listener:
        prompt = "job:events-expired [sim: server_error 500 first 1]"
        job = installation.queue.enqueue("sim", prompt, expires_in="1.5s")
        installation.await_in_flight(1)
        expired_ms = job.created_at.timestamp() * 1000 + 1500
        until(lambda: installation.now_ms() > expired_ms, "the job to expire")
        installation.release_answers()
        event = listener.until("task-failed", job.id)
    assert event["exception"] == "expired: server_error: The provider answered 500."
    assert installation.queue.get(job.id).state == "expired"
