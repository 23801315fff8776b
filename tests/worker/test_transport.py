"""How a worker takes messages from its queue: in bulk, in order, in kombu's own format."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest
import redis
from broker_testing import BULK, PREFIX, QUEUE, STOCK, Consumer, connection, publish
from kombu import Exchange, Queue
from kombu.transport import get_transport_cls

from chatq_worker.transport import StockTransport, Transport, install
from servers import RealServer

OTHER = f"{PREFIX}:queue:other"


@pytest.fixture
def client(valkey: RealServer, valkey_url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(valkey.client()) as opened:
        yield opened


def calls(client: redis.Redis, command: str) -> int:
    """How often the server was sent a command."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def test_what_a_stock_producer_sends_is_read(valkey_url: str) -> None:
    publish(valkey_url, STOCK, [{"job": "j1"}])
    with Consumer(valkey_url, BULK) as consumer:
        assert consumer.take(1) == [{"job": "j1"}]


def test_what_our_producer_sends_is_read_by_a_stock_consumer(valkey_url: str) -> None:
    publish(valkey_url, BULK, [{"job": "j1"}])
    with Consumer(valkey_url, STOCK, no_ack=False) as consumer:
        assert consumer.take(1) == [{"job": "j1"}]
        consumer.messages[0].ack()
        assert consumer.nothing_more()


def test_a_thousand_messages_come_in_order_in_few_replies(valkey_url: str, client: redis.Redis) -> None:
    publish(valkey_url, STOCK, range(1000))
    client.config_resetstat()
    with Consumer(valkey_url, BULK) as consumer:
        assert consumer.take(1000) == list(range(1000))
        # One message by each BRPOP, up to 128 by the RPOP that travels with the next.
        assert calls(client, "brpop") <= 10


def test_messages_that_come_one_by_one_come_in_order(valkey_url: str) -> None:
    with Consumer(valkey_url, BULK) as consumer:
        for number in range(5):
            publish(valkey_url, STOCK, [number])
            assert consumer.take(number + 1) == list(range(number + 1))


def test_a_consumer_that_closes_with_a_reply_under_way_delivers_what_is_in_it(
    valkey_url: str, client: redis.Redis
) -> None:
    publish(valkey_url, STOCK, range(10))
    with Consumer(valkey_url, BULK) as consumer:
        consumer.take(1)
        consumer.channel._brpop_start()  # what the hub does next: an RPOP for all, a BRPOP for another
    assert consumer.bodies == list(range(10))
    assert client.llen(QUEUE) == 0


def test_a_consumer_that_closes_leaves_what_it_has_not_taken(valkey_url: str, client: redis.Redis) -> None:
    publish(valkey_url, STOCK, range(200))
    with Consumer(valkey_url, BULK) as consumer:
        consumer.take(1)
        consumer.channel._brpop_start()
    taken = len(consumer.bodies)
    with Consumer(valkey_url, STOCK, no_ack=False) as second:
        rest = second.take(200 - taken)
        for message in second.messages:
            message.ack()
    assert consumer.bodies + rest == list(range(200))
    assert rest


def test_a_higher_priority_in_kombus_numbering_comes_first(valkey_url: str) -> None:
    publish(valkey_url, STOCK, ["late-1", "late-2", "late-3"], priority=9)
    publish(valkey_url, STOCK, ["soon-1", "soon-2", "soon-3"], priority=0)
    with Consumer(valkey_url, BULK) as consumer:
        assert consumer.take(6) == ["soon-1", "soon-2", "soon-3", "late-1", "late-2", "late-3"]


@pytest.mark.thorough
def test_a_queue_beside_a_flood_in_another_has_its_turns(valkey_url: str) -> None:
    publish(valkey_url, STOCK, ["flood"] * 1000)
    publish(valkey_url, STOCK, ["other"] * 3, queue=OTHER)
    with Consumer(valkey_url, BULK, QUEUE, OTHER) as consumer:
        came = consumer.take(1003)
    assert came.count("flood") == 1000
    assert max(place for place, body in enumerate(came) if body == "other") < 600


def test_a_queue_with_acknowledgements_is_consumed_as_stock_kombu_does(
    valkey_url: str, client: redis.Redis
) -> None:
    publish(valkey_url, STOCK, ["a", "b"])
    with Consumer(valkey_url, BULK, no_ack=False) as consumer:
        assert consumer.take(1) == ["a"]
        assert client.hlen(f"{PREFIX}:celery:unacked") == 1
        consumer.messages[0].ack()
        assert client.hlen(f"{PREFIX}:celery:unacked") == 0
        assert consumer.take(2) == ["a", "b"]
    # Unacknowledged when its consumer closed: it is given back.
    assert client.llen(QUEUE) == 1


def test_messages_without_acknowledgements_are_noted_down_nowhere(
    valkey_url: str, client: redis.Redis
) -> None:
    publish(valkey_url, STOCK, range(5))
    with Consumer(valkey_url, BULK) as consumer:
        consumer.take(5)
        assert not client.exists(f"{PREFIX}:celery:unacked", f"{PREFIX}:celery:unacked-index")
        consumer.channel.basic_ack(consumer.messages[0].delivery_tag)  # Celery acknowledges them all the same
        consumer.channel.basic_reject(consumer.messages[1].delivery_tag)
        assert consumer.nothing_more()


@pytest.mark.parametrize("junk", [b"\xff", b"null", b"[]", b"{}", b'{"properties": {}}', b'"text"'])
@pytest.mark.parametrize("no_ack", [True, False])
def test_what_is_no_message_is_thrown_away_and_logged(
    valkey_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture, junk: bytes, no_ack: bool
) -> None:
    client.lpush(QUEUE, junk, junk)
    publish(valkey_url, STOCK, ["good"])
    with caplog.at_level(logging.ERROR), Consumer(valkey_url, BULK, no_ack=no_ack) as consumer:
        assert consumer.take(1) == ["good"]
    words = f"Something in the queue {QUEUE} was no Celery message and was thrown away"
    assert [record.getMessage() for record in caplog.records] == [words, words]


def test_a_consumer_that_the_server_disconnects_says_so_and_the_next_takes_the_rest(
    valkey_url: str, client: redis.Redis
) -> None:
    publish(valkey_url, STOCK, range(3))
    with Consumer(valkey_url, BULK) as consumer:
        consumer.take(3)
        client.client_kill_filter(skipme=True)
        with pytest.raises(consumer.connection.connection_errors):
            consumer.connection.drain_events(timeout=5)
    publish(valkey_url, STOCK, [3])
    with Consumer(valkey_url, BULK) as consumer:
        assert consumer.take(1) == [3]


def test_a_broadcast_reaches_every_listener_under_our_prefix(valkey_url: str) -> None:
    exchange = Exchange(f"{PREFIX}.control", type="fanout")
    heard: list[tuple[str, object]] = []
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(connection(valkey_url, BULK)) for _ in range(2)]
        for number, listener in enumerate(listeners):
            queue = Queue(f"{PREFIX}.listener-{number}", exchange, auto_delete=True)
            listener.Consumer(
                queue, callbacks=[lambda body, _, name=queue.name: heard.append((name, body))], no_ack=True
            ).consume()
            with contextlib.suppress(TimeoutError):
                listener.drain_events(timeout=0.2)  # subscribes
        speaker = stack.enter_context(connection(valkey_url, BULK))
        speaker.Producer().publish({"method": "ping"}, exchange=exchange, declare=[exchange])
        for listener in listeners:
            listener.drain_events(timeout=5)
    assert heard == [
        (f"{PREFIX}.listener-0", {"method": "ping"}),
        (f"{PREFIX}.listener-1", {"method": "ping"}),
    ]


def test_every_key_is_under_the_prefix(valkey_url: str, client: redis.Redis) -> None:
    exchange = Exchange(f"{PREFIX}.direct", type="direct")
    with Consumer(valkey_url, BULK, no_ack=False) as consumer:
        bound = Queue(f"{PREFIX}:bound", exchange, routing_key="r")
        bound(consumer.channel).declare()
        publish(valkey_url, BULK, ["a", "b"])
        publish(valkey_url, BULK, ["c"], priority=9, queue=f"{PREFIX}:bound")
        consumer.take(1)
        keys = sorted(key.decode() for key in client.scan_iter())
    assert len(keys) >= 4
    assert [key for key in keys if not key.startswith(PREFIX)] == []


def test_our_transport_is_taken_also_where_kombu_had_looked_for_its_own_before() -> None:
    try:
        install(stock=True)
        assert get_transport_cls("redis") is StockTransport
    finally:
        install()
    assert get_transport_cls("redis") is Transport
