"""Celery messages made by filling in the blanks of one that Celery itself has made.

Celery takes 0.2 ms to make a message, nearly all of it for what never differs. So it makes one for each task, with
blanks where ids and arguments go; whatever it puts into its messages, wherever it repeats the id, is taken over.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Sequence
from itertools import count
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.utils.json import dumps

from chatq.ledger.replies import Admitted

_BLANK: Final = re.compile(r"<blank-(\w+)>")


def celery_queue(name: str, *, no_ack: bool = True) -> Queue:
    """A queue on the default exchange: nothing is bound, so nothing is left behind when the queue goes.

    Without acknowledgements: the ledger finds what is lost, and Redis need not write each message down a second time.
    """
    return Queue(name, Exchange(""), routing_key=name, no_ack=no_ack)


def send(
    app: Celery,
    task_name: str,
    arguments: Sequence[str],
    *,
    shown: str,
    queue: str,
    producer: Any,
) -> None:
    """Have Celery send a task's message. Its id is the first argument; `shown`: what Flower shows as its arguments."""
    app.send_task(
        task_name,
        args=tuple(arguments),
        argsrepr=shown,
        kwargsrepr="{}",
        task_id=arguments[0],
        queue=celery_queue(queue),
        producer=producer,
        retry=False,
        ignore_result=True,
        add_to_parent=False,
    )


class TaskMessage:
    """The messages of one task that has so many arguments, all of them text.

    >>> message = TaskMessage(app, "chatq.complete", arguments=3)
    >>> message.fill("chatq:queue:host-1", ("job-1", "openai-main", "17-a3f0"), shown="('openai-main', 'gpt-5')")
    b'{"body": "W1siam9iLTEiLCAib3BlbmFpLW1haW4i...

    `fill` gives what kombu's Redis transport would push to the queue.
    """

    def __init__(self, app: Celery, task_name: str, *, arguments: int) -> None:
        blanks = [f"<blank-{number}>" for number in range(arguments)]
        # kombu's transport within a process makes the same messages as the one for Redis.
        queue = f"<blank-queue>{secrets.token_hex(4)}"
        with Connection("memory://") as connection:
            channel = connection.channel()
            producer = app.amqp.Producer(channel)
            send(
                app,
                task_name,
                blanks,
                shown="<blank-shown>",
                queue=queue,
                producer=producer,
            )
            message = channel._get(queue)
            channel.queue_delete(queue)
        body = base64.b64decode(message["body"]).decode()
        message["body"] = "<blank-body>"
        message["properties"]["delivery_tag"] = "<blank-tag>"
        message["properties"]["delivery_info"]["routing_key"] = "<blank-queue>"
        self._body = _filler(body)
        self._message = _filler(dumps(message))
        self._tag = secrets.token_hex(8)
        self._number = count(1)

    def fill(self, queue: str, arguments: Sequence[str], *, shown: str) -> bytes:
        """The message of one task. `shown`: what Flower shows as its arguments."""
        blanks = {str(number): _escaped(argument) for number, argument in enumerate(arguments)}
        body = base64.b64encode(self._body(blanks).encode()).decode()
        tag = f"{self._tag}-{next(self._number)}"
        return self._message(
            {**blanks, "shown": _escaped(shown), "queue": _escaped(queue), "body": body, "tag": tag}
        ).encode()


def shown_of(admitted: Admitted) -> str:
    """What Flower shows as a job's arguments. Not the token, which means nothing to a person."""
    return repr((admitted.connection, admitted.model, admitted.batch or None, admitted.attempt))


def _filler(text: str) -> Callable[[dict[str, str]], str]:
    """A function that fills in the blanks of `text`."""
    template = _BLANK.sub(r"%(\1)s", text.replace("%", "%%"))
    return template.__mod__


def _escaped(text: str) -> str:
    """`text` as part of a JSON string."""
    return encode_basestring_ascii(text)[1:-1]
