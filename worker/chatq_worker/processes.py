"""Several worker processes of one `chatq worker`: started together, ended together."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from chatq import logs
from chatq.contract.settings import Settings
from chatq.ledger.locate import locator
from chatq.ledger.server import Server
from chatq.processes import KILL_AFTER_S, Children

_SETTLED_S: Final = 10.0
"""A process that ends sooner cannot work here, and would end again."""

logger = logging.getLogger(__name__)


def run_processes(settings: Settings, count: int, arguments: Sequence[str]) -> int:
    """Run `count` worker processes until told to stop; the exit code. `arguments`: those of each.

    One that dies is started again. One that dies soon after its start ends all, with its exit code: whoever looks
    after this command starts it anew. One that was told to stop (by Flower, by its process id) stays away.
    Raises a `ServerError` when Redis cannot carry the queue, once for all.
    """
    logs.set_up(level=settings.log.level, form=settings.log.format, process="workers")
    check_server(settings)
    with Children() as children:

        def start(name: str) -> float:
            process = children.start(name, "chatq_worker", ["worker", "--processes", "1", *arguments])
            logger.info("%s is process %d.", name, process.pid)
            return time.monotonic()

        running = {
            name: start(name) for name in (f"Worker {number + 1} of {count}" for number in range(count))
        }
        try:
            while running:
                name, code = children.wait_for_any()
                children.stop(name)
                lived_s = time.monotonic() - running.pop(name)
                if code == 0:
                    logger.info("%s was told to stop.", name)
                elif lived_s < _SETTLED_S:
                    logger.error("%s ended with exit code %d soon after its start: all end.", name, code)
                    return max(1, code)
                else:
                    logger.warning("%s ended with exit code %d and is started again.", name, code)
                    running[name] = start(name)
        except KeyboardInterrupt:
            pass
        finally:
            children.stop(grace_s=settings.worker.grace + KILL_AFTER_S)
    return 0


def check_server(settings: Settings) -> None:
    """Raises a `ServerError` when Redis cannot carry the queue."""
    server = Server(locator(settings.redis), patience_s=0)
    server.client()
    server.close()
