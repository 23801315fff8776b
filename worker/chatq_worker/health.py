"""Whether a worker of this machine, or container, is alive and gets its jobs: for health checks of what runs it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

from chatq.contract.errors import NoWorker
from chatq.contract.settings import Settings
from chatq.embedded import running_url
from chatq.ledger.ledger import Ledger
from chatq.ledger.locate import locator
from chatq.ledger.readiness import hearing, hindrances
from chatq.ledger.server import Server


def check_health(settings: Settings) -> None:
    """Return when a worker of this host holds its lease and begins what it is given; starts nothing, not even the
    embedded server.

    Raises `NoWorker` when there is none, a `ServerError` when the ledger cannot be asked.
    """
    host = socket.gethostname()
    folder = settings.redis.embedded_folder
    if folder is None or running_url(folder) is not None:
        with contextlib.closing(Server(locator(settings.redis), patience_s=0)) as server:
            overview = server.run(Ledger(settings.redis.key_prefix).overview(()))
        here = [worker for worker in overview.workers if worker.facts.get("host") == host]
        if hearing(here):
            return
        if here:
            first, *_ = hindrances(replace(overview, workers=here))
            raise NoWorker(first.message, remedy=first.remedy)
    raise NoWorker(
        f"No worker of {host} holds a lease.", remedy="See its log: it starts, stops, or cannot reach Redis."
    )
