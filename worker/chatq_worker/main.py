"""Starting a worker process, or Flower, with the settings of this machine."""

from __future__ import annotations

import gc
import os
import resource
import warnings
from collections.abc import Mapping
from typing import Final

from celery import signals
from celery.apps import worker as celery_worker
from celery.platforms import SecurityWarning

from chatq import logs
from chatq.contract.config_file import load_settings
from chatq.contract.connection import Connection
from chatq.contract.live_settings import LiveSettings
from chatq.contract.settings import Settings
from chatq.ledger.locate import broker_url, locator
from chatq.ledger.server import AsyncServer
from chatq.traces import traces
from chatq_worker.app import make_app
from chatq_worker.control import node_name
from chatq_worker.prices import unpriced_budgets
from chatq_worker.processes import check_server
from chatq_worker.service import WorkerService, new_worker_id

SIMULATOR_VARIABLE: Final = "CHATQ_INTERNAL_SIMULATOR_URL"
"""Where `chatq up` says that the simulator listens."""
_SIMULATED_PATHS: Final[Mapping[str, str]] = {
    "ai21": "ai21/studio/v1",
    "claude": "claude",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks/inference/v1",
    "perplexity": "perplexity",
}
"""The simulator's base URL of a source, below its own address: the source's own path. Others: `SOURCE/v1`."""
_FILES_BESIDE_CALLS: Final = 200
_YOUNG_OBJECTS: Final = 100_000
"""What 1,000 jobs in flight have, at the least."""


def run_worker(settings: Settings, *, slots: int | None = None) -> int:
    """Run one worker process until it is told to stop. Returns its exit code.

    Raises a `ServerError` when Redis cannot carry the queue.
    """
    logs.set_up(level=settings.log.level, form=settings.log.format, process="worker")
    slots = slots or settings.worker.slots
    _raise_open_files(slots)
    settings = with_simulator(settings, os.environ)
    check_server(settings)
    worker_id = new_worker_id()
    app = make_app(prefix=settings.redis.key_prefix, broker_url=broker_url(settings.redis), worker=worker_id)
    app.loop_service = WorkerService(
        worker=worker_id,
        settings=LiveSettings(
            settings,
            lambda path: with_simulator(load_settings(path, also=unpriced_budgets), os.environ),
        ),
        app=app,
        server=AsyncServer(locator(settings.redis)),
        slots=slots,
    )
    _keep_celery_from_the_terminal()
    worker = app.Worker(
        hostname=node_name(worker_id),
        concurrency=slots,
        loglevel=settings.log.level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    _spare_garbage_collector()
    told: list[object] = []
    signals.worker_shutting_down.connect(lambda **_: told.append(None), weak=False)
    traced = traces("chatq-worker")
    worker.start()
    if traced is not None:
        traced.flush()
    # Celery takes SIGINT for a failure; to stop when told so is none.
    return 0 if told else int(worker.exitcode or 0)


def _spare_garbage_collector() -> None:
    """Have it look at young objects only, and seldom.

    What is there at the start stays, and a job leaves no rings of objects behind (tests look for them). With Python's
    own thresholds a quarter of a worker's CPU time went there, in pauses of up to 0.1 s. Should rings come about all
    the same, everything is looked at for each 2.5 million objects that are left over.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 5, 5)


def _keep_celery_from_the_terminal() -> None:
    """Our log says when the worker stops; and running as root is harmless where no message can hold a pickle."""
    celery_worker.safe_say = lambda *_args, **_kwargs: None
    warnings.filterwarnings("ignore", category=SecurityWarning)


def with_simulator(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with `url: simulator` replaced by where the simulator listens, if that is known."""
    url = environ.get(SIMULATOR_VARIABLE)
    if url is None:
        return settings
    connections = {
        name: connection.model_copy(update={"url": f"{url}/{_simulated_path(connection)}"})
        if connection.url == "simulator"
        else connection
        for name, connection in settings.connections.items()
    }
    return settings.model_copy(update={"connections": connections})


def _simulated_path(connection: Connection) -> str:
    if connection.api == "sonar":
        return "perplexity-sonar"
    return _SIMULATED_PATHS.get(connection.source, f"{connection.source}/v1")


def _raise_open_files(slots: int) -> None:
    """Each call is a socket: raise the soft limit of open files as far as it may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = slots + _FILES_BESIDE_CALLS
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(max(wanted, soft), hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
