"""What the worker writes to stderr: one line per change of a job; text on a terminal, JSON elsewhere.

Never a prompt, an answer or a key: those are not given to a logger anywhere.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from chatq.contract.record import rfc3339

_QUIET: Final = ("celery.worker.strategy", "celery.app.trace", "kombu", "amqp", "aiohttp", "httpx", "asyncio")
"""They say at INFO what our own lines say already, or more than an operator wants."""


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _without_traceback_unless_a_fault(record: logging.LogRecord) -> bool:
    """A server that is away for a moment is a warning of kombu's and Celery's: a line, without their insides."""
    if record.levelno < logging.ERROR:
        record.exc_info = None
    return True


def set_up(*, level: str, form: str) -> None:
    """Configure logging of this process. `form`: auto, text or json."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json" or (form == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    if level != "debug":
        handler.addFilter(_without_traceback_unless_a_fault)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level != "debug":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
