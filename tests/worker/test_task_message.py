"""A message that was filled in is the one that Celery would have sent."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from broker_testing import BULK, QUEUE, STOCK, Consumer, app_on, raw
from celery import Celery

from chatq.ledger.replies import Admitted
from chatq_worker.task_message import TaskMessage, send, shown_of
from for_each import for_each
from servers import RealServer

ARGUMENTS = ("job-1", "openai-main", "17-a3f0")
SHOWN = "('openai-main', 'gpt-5-mini', None, 1)"


@pytest.fixture
def client(valkey: RealServer, valkey_url: str) -> Iterator[redis.Redis]:
    with contextlib.closing(valkey.client()) as opened:
        yield opened


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    with app_on(valkey_url) as made:
        yield made


@pytest.fixture
def message(app: Celery) -> TaskMessage:
    return TaskMessage(app, "chatq.complete", arguments=3)


def apply_async(app: Celery, client: redis.Redis, arguments: tuple[str, ...] = ARGUMENTS) -> dict[str, Any]:
    """What Celery itself puts into the queue."""
    app.tasks["chatq.complete"].apply_async(
        arguments, task_id=arguments[0], queue=QUEUE, argsrepr=SHOWN, kwargsrepr="{}"
    )
    (sent,) = raw(client)
    client.delete(QUEUE)
    return sent


def without_tag(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what is another in each."""
    properties = {name: value for name, value in message["properties"].items() if name != "delivery_tag"}
    return {**message, "properties": properties}


def test_a_filled_message_is_field_by_field_what_apply_async_sends(
    app: Celery, client: redis.Redis, message: TaskMessage
) -> None:
    filled = json.loads(message.fill(QUEUE, ARGUMENTS, shown=SHOWN))
    sent = apply_async(app, client)
    assert without_tag(filled) == without_tag(sent)
    assert filled["properties"].keys() == sent["properties"].keys()


def test_a_filled_message_is_what_our_own_sending_by_celery_gives(
    app: Celery, client: redis.Redis, message: TaskMessage
) -> None:
    with app.connection_for_write() as opened:
        send(
            app,
            "chatq.complete",
            ARGUMENTS,
            shown=SHOWN,
            queue=QUEUE,
            producer=app.amqp.Producer(opened),
        )
    (sent,) = raw(client)
    assert without_tag(json.loads(message.fill(QUEUE, ARGUMENTS, shown=SHOWN))) == without_tag(sent)


def test_the_arguments_are_the_body_and_the_token_is_not_shown(message: TaskMessage) -> None:
    filled = json.loads(message.fill(QUEUE, ARGUMENTS, shown=SHOWN))
    arguments, keywords, _embed = json.loads(base64.b64decode(filled["body"]))
    assert (arguments, keywords) == (list(ARGUMENTS), {})
    assert filled["headers"]["argsrepr"] == SHOWN
    assert "17-a3f0" not in json.dumps(filled)


def test_the_id_stands_wherever_celery_repeats_it(message: TaskMessage) -> None:
    headers = json.loads(message.fill(QUEUE, ARGUMENTS, shown=SHOWN))["headers"]
    assert (headers["id"], headers["root_id"], headers["parent_id"]) == ("job-1", "job-1", None)


def test_no_two_messages_have_the_same_delivery_tag(app: Celery, message: TaskMessage) -> None:
    other = TaskMessage(app, "chatq.complete", arguments=3)
    tags = {
        json.loads(one.fill(QUEUE, ARGUMENTS, shown=SHOWN))["properties"]["delivery_tag"]
        for one in (message, other)
        for _ in range(100)
    }
    assert len(tags) == 200


@for_each("kind", [STOCK, BULK])
def test_either_transport_reads_a_filled_message(
    client: redis.Redis, message: TaskMessage, valkey_url: str, kind: type
) -> None:
    client.lpush(QUEUE, message.fill(QUEUE, ARGUMENTS, shown=SHOWN))
    with Consumer(valkey_url, kind) as consumer:
        (body,) = consumer.take(1)
    assert body[0] == list(ARGUMENTS)
    assert consumer.messages[0].headers["task"] == "chatq.complete"
    assert consumer.messages[0].delivery_info["routing_key"] == QUEUE


@for_each("text", ["100%", "%(body)s", "a b", "ä🙂", 'say "hi"', "back\\slash", "<blank-1>", "\n"])
def test_arguments_of_any_text_arrive_as_they_are(message: TaskMessage, text: str) -> None:
    filled = json.loads(message.fill(f"queue {text}", ("job-1", text, text), shown=text))
    assert json.loads(base64.b64decode(filled["body"]))[0] == ["job-1", text, text]
    assert filled["headers"]["argsrepr"] == text
    assert filled["properties"]["delivery_info"]["routing_key"] == f"queue {text}"


def test_a_job_is_shown_by_connection_model_batch_and_attempt() -> None:
    single = Admitted("job-1", "openai-main", "17-a3f0", "host-1", "gpt-5-mini")
    assert shown_of(single) == "('openai-main', 'gpt-5-mini', None, 1)"
    retried = Admitted("job-2", "own", "18-a3f0", "host-1", "o'model", "batch-7", 3)
    assert shown_of(retried) == """('own', "o'model", 'batch-7', 3)"""
