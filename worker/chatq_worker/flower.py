"""Flower for this queue: a row for each job that a worker has had in hand.

Flower's own parts, put together here rather than by its command: so that it listens on loopback unless told otherwise
and never without a login elsewhere, takes nothing from the folder it was started in, says in one line what is wrong,
keeps a bounded amount, and ends when it is told to. Its options: `flower_options.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from typing import Any, Final, NoReturn

from flower.app import Flower
from flower.events import Events
from flower.inspector import Inspector
from flower.options import options
from flower.urls import settings as web_settings
from kombu.utils.url import maybe_sanitize_url
from tornado.ioloop import IOLoop, PeriodicCallback

from chatq import logs
from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Settings
from chatq.ledger.locate import broker_url, locator
from chatq.ledger.server import Server
from chatq_worker.app import make_app
from chatq_worker.flower_options import set_options

_PURGE_S: Final = 60


class FlowerNotStarted(ChatQueueError):
    """Flower cannot listen where it should."""

    code = "flower_not_started"


def run_flower(
    settings: Settings,
    *,
    address: str | None = None,
    port: int | None = None,
    read_only: bool | None = None,
) -> NoReturn:
    """Run Flower until SIGTERM or SIGINT, then end the process with exit code 0.

    Once it listens it says where, in one line on stdout. `address`, `port` and `read_only` override every other source.

    Raises as `set_options`; `FlowerNotStarted` when the port is taken; a `ServerError` when Redis cannot carry the
    queue.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, loop.stop)
    logs.set_up(level=settings.log.level, form=settings.log.format, process="flower")
    # It warns whenever no worker answered at once: while workers start, and while there is none.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    set_options(address, port, read_only)
    if settings.redis.broker_url is None:
        probe = Server(locator(settings.redis), patience_s=0)
        probe.client()
        probe.close()
    app = make_app(prefix=settings.redis.key_prefix, broker_url=broker_url(settings.redis))
    web = Flower(
        capp=app,
        options=options,
        io_loop=IOLoop.current(),
        events=_JobEvents(
            app,
            io_loop=IOLoop.current(),
            db=options.db,
            persistent=options.persistent,
            state_save_interval=options.state_save_interval,
            enable_events=options.enable_events,
            max_workers_in_memory=options.max_workers,
            max_tasks_in_memory=options.max_tasks,
        ),
        **web_settings,
    )
    web.inspector = _Inspector(IOLoop.current(), app, options.inspect_timeout / 1000)
    where = _listen(web)
    with contextlib.suppress(BrokenPipeError):
        print(f"Flower shows the jobs at {where}", flush=True)  # noqa: T201
    PeriodicCallback(lambda: forget_the_gone(web), _PURGE_S * 1000).start()
    web.start()
    web.stop()
    # Not sys.exit: Flower's threads may be waiting for the answer of a worker or a server that is gone, and Python
    # would wait for them.
    logging.shutdown()
    os._exit(0)


def readable(event: dict[str, Any]) -> dict[str, Any]:
    """An event of Celery's as Flower is to show it: why a job failed or waits again, and nothing else of it.

    The traceback is always the same, that of our own reporting; what matters is in the job's record. A success after a
    retry no longer shows the reason for the retry.
    """
    event.pop("traceback", None)
    if event["type"] == "task-succeeded":
        event["exception"] = None
    return event


class _JobEvents(Events):  # type: ignore[misc]  # flower has no types
    """Flower's listener for events."""

    def on_event(self, event: dict[str, Any]) -> None:
        super().on_event(readable(event))


class _Inspector(Inspector):  # type: ignore[misc]
    """What Flower asks of workers. For a Unix socket Celery counts the password to the host name, and tells it."""

    def _on_update(self, workername: str, method: str, response: Any) -> None:
        if method == "stats":
            broker = (response.get("consumer") or response).get("broker", {})
            broker["hostname"] = maybe_sanitize_url(broker.get("hostname") or "")
        super()._on_update(workername, method, response)


def _listen(web: Flower) -> str:
    """Open the port; where it is, for people. Raises `FlowerNotStarted`."""
    try:
        port = web.start_http_server()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise FlowerNotStarted(
            f"Flower cannot listen at {_place(options.port)}: {error.strerror or error}.",
            remedy="Stop what listens there (another `chatq up` or `chatq flower`?), or choose another port: "
            "FLOWER_PORT=5556, or chatq flower --port 5556."
            if taken
            else "Check address and port, and FLOWER_CERTFILE and FLOWER_KEYFILE if they are set.",
        ) from None
    return _place(port)


def _place(port: int) -> str:
    if options.unix_socket:
        return f"the Unix socket {options.unix_socket}"
    host = f"[{options.address}]" if ":" in options.address else options.address or "0.0.0.0"  # noqa: S104
    scheme = "https" if "ssl_options" in web_settings else "http"
    prefix = f"/{options.url_prefix.strip('/')}" if options.url_prefix else ""
    return f"{scheme}://{host}:{port}{prefix}"


def forget_the_gone(web: Flower) -> None:
    """Drop what Flower itself keeps for every worker that ever was."""
    web.purge_offline_worker_metrics()
    state = web.events.state
    for name in [name for name in state.counter if name not in state.workers]:
        del state.counter[name]
    for name in [name for name in web.inspector.workers if name not in state.workers]:
        del web.inspector.workers[name]
