"""Celery's events in batches: what Flower hears, in order, whatever happens to the connection meanwhile."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from broker_testing import PREFIX, app_on
from celery import Celery
from kombu.asynchronous import Hub

from chatq_worker.events import BatchDispatcher
from servers import RealServer


class Listener:
    """What Flower has: Celery's receiver of events, on a thread. `messages`: the messages in which they came."""

    def __init__(self, app: Celery) -> None:
        self.events: list[dict[str, Any]] = []
        self.messages: list[list[str]] = []
        self._app = app
        self._news = threading.Condition()

    def __enter__(self) -> Listener:
        self._connection = self._app.connection_for_read()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self._note})
        decode = self._receiver._receive

        def receive(body: Any, message: Any) -> None:
            with self._news:
                self.messages.append([])
            decode(body, message)

        self._receiver._receive = receive
        # Seconds until it looks again whether it should stop.
        self._receiver.consume = functools.partial(self._receiver.consume, safety_interval=0.05)
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False})
        self._thread.start()
        with self._connection.clone() as probe:
            client = probe.default_channel.client
            while not client.pubsub_numpat():
                time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join()
        self._connection.close()

    def take(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many events in all."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.events) >= count, 15), self.events
            return list(self.events)

    def _note(self, event: dict[str, Any]) -> None:
        with self._news:
            self.events.append(event)
            self.messages[-1].append(event["type"])
            self._news.notify_all()


class Consumer:
    """Of Celery's consumer the dispatcher knows the hub, and that the method given to it is its own."""

    def __init__(self) -> None:
        self.hub = Hub()

    def on_send_event_buffered(self) -> None: ...

    def turn(self, until_s: float = 1.0) -> None:
        """Let the hub's due timers fire, waiting for the next one."""
        deadline = time.monotonic() + until_s
        while self.hub.timer and time.monotonic() < deadline:
            time.sleep(min(self.hub.fire_timers() or 0.01, 0.02))


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    with app_on(valkey_url) as made:
        yield made


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    made = Consumer()
    yield made
    made.hub.close()


def dispatcher(app: Celery, consumer: Consumer) -> contextlib.AbstractContextManager[BatchDispatcher]:
    """As Celery's consumer makes it for a worker."""
    made: BatchDispatcher = app.events.Dispatcher(
        app.connection_for_write(),
        hostname="chatq@host-1",
        buffer_group=["task"],
        on_send_buffered=consumer.on_send_event_buffered,
    )
    assert isinstance(made, BatchDispatcher)
    return made


def send(events: BatchDispatcher, first: int, count: int) -> None:
    for number in range(first, first + count):
        events.send("task-received", uuid=f"job-{number}", name="chatq.complete")


def test_events_of_tasks_travel_together_and_arrive_in_order(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener, dispatcher(app, consumer) as events:
        send(events, 0, 100)
        assert listener.events == []
        consumer.turn()
        came = listener.take(100)
    assert [event["uuid"] for event in came] == [f"job-{n}" for n in range(100)]
    assert len(listener.messages) == 1


def test_flowers_receiver_decodes_every_event_of_a_batch(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener, dispatcher(app, consumer) as events:
        send(events, 0, 2)
        consumer.turn()
        first, second = listener.take(2)
    assert (first["type"], first["hostname"], first["uuid"]) == ("task-received", "chatq@host-1", "job-0")
    assert first["name"] == "chatq.complete"
    assert first["clock"] < second["clock"]
    assert first["local_received"] >= first["timestamp"]


def test_500_events_do_not_wait_for_more(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener, dispatcher(app, consumer) as events:
        send(events, 0, 500)
        assert len(listener.take(500)) == 500


def test_events_that_came_while_a_batch_was_sent_go_with_the_next(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener, dispatcher(app, consumer) as events:
        send(events, 0, 3)
        consumer.turn()
        listener.take(3)
        send(events, 3, 3)
        consumer.turn()
        assert [event["uuid"] for event in listener.take(6)] == [f"job-{n}" for n in range(6)]
    assert len(listener.messages) == 2


def test_an_event_of_a_worker_sends_ahead_what_waits(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener, dispatcher(app, consumer) as events:
        send(events, 0, 2)
        events.send("worker-offline")
        assert [event["type"] for event in listener.take(3)] == [
            "task-received",
            "task-received",
            "worker-offline",
        ]


def test_what_a_lost_connection_kept_from_going_out_goes_by_the_next(app: Celery, consumer: Consumer) -> None:
    with Listener(app) as listener:
        with dispatcher(app, consumer) as lost:
            send(lost, 0, 3)
        with dispatcher(app, consumer) as events:
            events.extend_buffer(lost)
            send(events, 3, 1)
            consumer.turn()
            assert [event["uuid"] for event in listener.take(4)] == [f"job-{n}" for n in range(4)]


def test_events_travel_under_our_prefix_alone(app: Celery, consumer: Consumer, valkey: RealServer) -> None:
    with Listener(app), contextlib.closing(valkey.client()) as client, client.pubsub() as heard:
        heard.psubscribe("*")
        heard.get_message(timeout=5)
        with dispatcher(app, consumer) as events:
            send(events, 0, 1)
            consumer.turn()
        message = heard.get_message(timeout=5)
    assert message is not None
    assert message["channel"].decode() == f"{PREFIX}:celery:0.{PREFIX}.events/task.multi"
