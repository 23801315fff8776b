"""Waking workers by Celery itself, on brokers that the loop does not speak to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from broker_testing import KEYS, QUEUE, WORKER, app_on, raw
from celery import Celery

from chatq.ledger.replies import Admitted
from chatq_worker import celery_publisher
from chatq_worker.celery_publisher import CeleryPublisher
from chatq_worker.task_message import TaskMessage
from servers import RealServer

JOBS = [Admitted(f"job-{number}", "openai-main", f"{number}-f0", WORKER) for number in range(250)]


@pytest.fixture
def server() -> Iterator[RealServer]:
    made = RealServer().start()
    yield made
    made.remove()


@pytest.fixture
def client(server: RealServer) -> Iterator[redis.Redis]:
    with contextlib.closing(server.client()) as opened:
        yield opened


@pytest.fixture
def app(server: RealServer) -> Iterator[Celery]:
    with app_on(server.url) as made:
        yield made


@contextlib.contextmanager
def publishing(app: Celery, handed_back: list[Admitted]) -> Iterator[CeleryPublisher]:
    """A publisher, stopped in the end; by then all is sent or handed back."""
    publisher = CeleryPublisher(app, KEYS, "chatq.complete", handed_back.append)
    publisher.start()
    yield publisher
    asyncio.run(publisher.stop())


def ids(client: redis.Redis) -> list[str]:
    return [message["headers"]["id"] for message in raw(client)]


def test_all_that_was_published_is_sent_in_order_before_it_stops(app: Celery, client: redis.Redis) -> None:
    handed_back: list[Admitted] = []
    with publishing(app, handed_back) as publisher:
        publisher.publish(JOBS)
    assert ids(client) == [job.job_id for job in JOBS]
    assert handed_back == []


def test_its_messages_are_those_of_the_publisher_on_the_loop(app: Celery, client: redis.Redis) -> None:
    with publishing(app, []) as publisher:
        publisher.publish(JOBS[:1])
        publisher.publish_task("chatq.ask", ("question-1", "check", "openai-main"), worker=WORKER)
    sent = raw(client)
    wake = TaskMessage(app, "chatq.complete", arguments=3)
    ask = TaskMessage(app, "chatq.ask", arguments=3)
    filled = [
        json.loads(wake.fill(QUEUE, ("job-0", "openai-main", "0-f0"), shown="('openai-main', '', None, 1)")),
        json.loads(ask.fill(QUEUE, ("question-1", "check", "openai-main"), shown="('check', 'openai-main')")),
    ]
    for message in (*sent, *filled):
        del message["properties"]["delivery_tag"]
        del message["properties"]["reply_to"]  # names the thread
    assert sent == filled


def test_the_queue_of_a_worker_that_is_gone_is_deleted(app: Celery, client: redis.Redis) -> None:
    with publishing(app, []) as publisher:
        publisher.publish(JOBS[:3])
        publisher.delete_queue(WORKER)
    assert ids(client) == []


def test_jobs_that_the_broker_does_not_take_are_handed_back_and_the_next_are_sent(
    app: Celery,
    server: RealServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(celery_publisher, "_PAUSE_S", 0.0)
    handed_back: list[Admitted] = []
    came_back = threading.Event()

    def hand_back(job: Admitted) -> None:
        handed_back.append(job)
        if len(handed_back) == 2:
            came_back.set()

    server.kill()
    with caplog.at_level(logging.WARNING):
        publisher = CeleryPublisher(app, KEYS, "chatq.complete", hand_back)
        publisher.start()
        publisher.publish(JOBS[:2])
        assert came_back.wait(30)
        server.start()
        publisher.publish(JOBS[2:4])
        asyncio.run(publisher.stop())
    assert handed_back == JOBS[:2]
    with contextlib.closing(server.client()) as back:
        assert ids(back) == ["job-2", "job-3"]
    assert {record.getMessage() for record in caplog.records} == {
        "the broker took no message: OperationalError"
    }


def test_a_connection_that_broke_is_replaced_and_nothing_is_handed_back(
    app: Celery, client: redis.Redis
) -> None:
    handed_back: list[Admitted] = []
    publisher = CeleryPublisher(app, KEYS, "chatq.complete", handed_back.append)
    publisher.start()
    publisher.publish(JOBS[:1])
    while not client.exists(QUEUE):
        time.sleep(0.01)
    client.client_kill_filter(skipme=True)
    publisher.publish(JOBS[1:2])
    asyncio.run(publisher.stop())
    assert ids(client) == ["job-0", "job-1"]
    assert handed_back == []
