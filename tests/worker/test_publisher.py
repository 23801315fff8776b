"""Waking workers: what is pushed to their queues from the loop, and what happens when the broker does not take it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import redis
from broker_testing import BULK, KEYS, QUEUE, WORKER, Consumer, app_on, raw
from celery import Celery

from chatq.ledger.replies import Admitted
from chatq.ledger.server import AsyncServer
from chatq_worker import publisher as publisher_module
from chatq_worker.celery_publisher import CeleryPublisher
from chatq_worker.publisher import RedisPublisher, make_publisher
from servers import RealServer

OTHER = "host-2"


@pytest.fixture
def client(valkey: RealServer, valkey_url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(valkey.client()) as opened:
        yield opened


@pytest.fixture
def own_server() -> Iterator[RealServer]:
    """A server to be killed or filled."""
    server = RealServer().start()
    yield server
    server.remove()


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    with app_on(valkey_url) as made:
        yield made


def admitted(count: int, *, worker: str = WORKER, first: int = 0) -> list[Admitted]:
    return [
        Admitted(f"job-{number}", "openai-main", f"{number}-f0", worker)
        for number in range(first, first + count)
    ]


def publishing(
    app: Celery, url: str, work: Callable[[RedisPublisher], Coroutine[Any, Any, None]]
) -> list[Admitted]:
    """Do `work` with a publisher on a loop, and stop the publisher. The jobs that were handed back."""
    handed_back: list[Admitted] = []

    async def run() -> None:
        server = AsyncServer(lambda: url, patience_s=0.05)
        publisher = RedisPublisher(app, KEYS, "chatq.complete", handed_back.append, server=server, owned=True)
        publisher.start()
        await work(publisher)
        await publisher.stop()

    asyncio.run(run())
    return handed_back


def test_a_worker_is_sent_its_jobs_in_order_and_nobody_elses(app: Celery, valkey_url: str) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(3))
        publisher.publish(admitted(2, worker=OTHER, first=3))

    assert publishing(app, valkey_url, work) == []
    for worker, job_ids in ((WORKER, ["job-0", "job-1", "job-2"]), (OTHER, ["job-3", "job-4"])):
        with Consumer(valkey_url, BULK, KEYS.worker_queue(worker)) as consumer:
            bodies = consumer.take(len(job_ids))
        assert [body[0][0] for body in bodies] == job_ids
    assert bodies[0][0] == ["job-3", "openai-main", "3-f0"]


def test_what_is_published_in_one_turn_of_the_loop_travels_in_one_command_for_each_queue(
    app: Celery, valkey_url: str, client: redis.Redis
) -> None:
    async def work(publisher: RedisPublisher) -> None:
        for number in range(300):
            publisher.publish(admitted(1, first=number))
        publisher.publish(admitted(1, worker=OTHER))

    client.config_resetstat()
    publishing(app, valkey_url, work)
    assert client.info("commandstats")["cmdstat_eval"]["calls"] == 2
    assert client.llen(QUEUE) == 300


def test_more_than_500_messages_at_once_arrive_whatever_their_order(
    app: Celery, valkey_url: str, client: redis.Redis
) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(1300))

    publishing(app, valkey_url, work)
    arrived = [message["headers"]["id"] for message in raw(client)]
    assert sorted(arrived) == sorted(f"job-{n}" for n in range(1300))


def test_a_queue_keeps_the_youngest_2000_messages(app: Celery, valkey_url: str, client: redis.Redis) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(2500))

    async def last(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(1, first=2500))

    publishing(app, valkey_url, work)
    publishing(app, valkey_url, last)
    assert client.llen(QUEUE) == 2000
    assert raw(client)[-1]["headers"]["id"] == "job-2500"


def test_a_queue_is_forgotten_a_minute_after_its_last_message(
    app: Celery, valkey_url: str, client: redis.Redis
) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(1))

    publishing(app, valkey_url, work)
    assert 50_000 < client.pttl(QUEUE) <= 60_000
    client.pexpire(QUEUE, 5_000)
    publishing(app, valkey_url, work)
    assert 50_000 < client.pttl(QUEUE) <= 60_000


def test_another_task_is_sent_under_the_id_that_is_its_first_argument(
    app: Celery, valkey_url: str, client: redis.Redis
) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish_task("chatq.ask", ("question-1", "check", "openai-main"), worker=WORKER)

    publishing(app, valkey_url, work)
    (message,) = raw(client)
    assert (message["headers"]["task"], message["headers"]["id"]) == ("chatq.ask", "question-1")


def test_the_queue_of_a_worker_that_is_gone_is_deleted(
    app: Celery, valkey_url: str, client: redis.Redis
) -> None:
    async def publish(publisher: RedisPublisher) -> None:
        publisher.publish([*admitted(2), *admitted(2, worker=OTHER)])

    async def delete(publisher: RedisPublisher) -> None:
        publisher.delete_queue(WORKER)

    publishing(app, valkey_url, publish)
    publishing(app, valkey_url, delete)
    assert (client.llen(QUEUE), client.llen(KEYS.worker_queue(OTHER))) == (0, 2)


def test_workers_are_woken_when_the_servers_memory_is_full(app: Celery, own_server: RealServer) -> None:
    with contextlib.closing(own_server.client()) as full:
        full.config_set("maxmemory", "1")
        full.config_set("maxmemory-policy", "noeviction")

        async def work(publisher: RedisPublisher) -> None:
            publisher.publish(admitted(2))

        assert publishing(app, own_server.url, work) == []
        assert full.llen(QUEUE) == 2


def test_jobs_that_the_broker_does_not_take_are_handed_back(
    app: Celery,
    own_server: RealServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(publisher_module, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(publisher_module, "_PAUSE_S", 0.0)

    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(1))
        while publisher._under_way or publisher._flushes:  # noqa: ASYNC110 - it tells its end to nobody
            await asyncio.sleep(0.01)
        own_server.kill()
        publisher.publish(admitted(2, first=1))
        publisher.publish_task("chatq.ask", ("question-1", "check", "openai-main"), worker=WORKER)
        publisher.delete_queue(OTHER)

    with caplog.at_level(logging.WARNING):
        assert publishing(app, own_server.url, work) == admitted(2, first=1)
    warnings = [record.getMessage() for record in caplog.records]
    assert sorted(text.partition(": ")[0] for text in warnings) == [
        "the broker took no message",
        f"the queue of worker {OTHER} was not deleted",
    ]
    assert "job-1" not in "".join(warnings)


def test_a_broker_that_is_back_in_time_takes_what_waited_for_it(app: Celery, own_server: RealServer) -> None:
    async def work(publisher: RedisPublisher) -> None:
        publisher.publish(admitted(1))
        while publisher._under_way or publisher._flushes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        own_server.kill()
        publisher.publish(admitted(1, first=1))
        await asyncio.sleep(0)  # it is on its way
        await asyncio.to_thread(own_server.start)

    assert publishing(app, own_server.url, work) == []
    with contextlib.closing(own_server.client()) as back:
        assert [message["headers"]["id"] for message in raw(back)] == ["job-1"]


def test_stopping_closes_a_server_of_its_own_and_leaves_the_ledgers_open(
    app: Celery, valkey_url: str
) -> None:
    async def run(*, owned: bool) -> bool:
        server = AsyncServer(lambda: valkey_url)
        publisher = RedisPublisher(app, KEYS, "chatq.complete", lambda _: None, server=server, owned=owned)
        publisher.publish(admitted(1))
        await publisher.stop()
        is_open = server._client is not None
        await server.close()
        return is_open

    assert asyncio.run(run(owned=False)) is True
    assert asyncio.run(run(owned=True)) is False


@pytest.mark.parametrize(
    ("broker_url", "stock", "kind"),
    [
        (None, False, RedisPublisher),
        ("redis://broker.example:6379/3", False, RedisPublisher),
        ("rediss://broker.example:6379", False, RedisPublisher),
        ("redis+socket:///run/redis.sock", False, RedisPublisher),
        ("amqp://broker.example", False, CeleryPublisher),
        ("sentinel://broker.example:26379", False, CeleryPublisher),
        (None, True, CeleryPublisher),
        ("redis://broker.example:6379/3", True, CeleryPublisher),
    ],
)
def test_celery_publishes_where_the_loop_speaks_not_to_the_broker(
    app: Celery, broker_url: str | None, stock: bool, kind: type
) -> None:
    made = make_publisher(
        app,
        KEYS,
        "chatq.complete",
        lambda _: None,
        server=AsyncServer(lambda: "redis://ledger.example"),
        broker_url=broker_url,
        stock=stock,
    )
    assert type(made) is kind
