"""What the processes write to stderr: a line for each change of a job; text on a terminal, JSON elsewhere.

    logger.info("job succeeded", extra=fields(job="j-1", connection="openai-main", latency_ms=812))

    12:00:01 INFO    worker: job succeeded job=j-1 connection=openai-main latency_ms=812
    {"time":"...","level":"info","process":"worker","logger":"...","message":"job succeeded","job":"j-1",...}

Never a prompt, an answer or a key: those are not given to a logger anywhere. As the last line of defence every line is
searched for secrets (`contract/redaction.py`). And whatever is logged, a line stays one line: who writes a line break
into a model's name writes no line of the log.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import orjson

from chatq.contract.redaction import scrubbed, scrubbed_name

_QUIET: Final = (
    "aiohttp",
    "amqp",
    "asyncio",
    "celery.app.trace",
    "celery.worker.strategy",
    "kombu",
    "opentelemetry",
    "uvicorn",
)
"""They say at INFO what our own lines say already, or more than an operator wants."""
_BREAKING: Final = ("\x85", "\u2028", "\u2029")
"""Where some readers end a line, though JSON leaves them as they are."""

Field = str | int | float | bool | None

logger = logging.getLogger(__name__)


def fields(**named: Field) -> dict[str, dict[str, Field]]:
    """What a line tells beside its message, for `extra`; what is None or empty is not told.

    Names are a promise: docs/operations.md lists them. Texts are names and codes; words are for the message.
    """
    return {"fields": named}


def set_up(*, level: str, form: str, process: str) -> None:
    """Configure logging of this process. `form`: auto, text or json; `process`: what it is, said in each line."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    handler.setFormatter((_JsonFormatter if as_json else _TextFormatter)(process))
    if level != "debug":
        handler.addFilter(_without_traceback_unless_a_fault)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Nothing that we write asks for them, and they take a third of a line's time. Source: Python's Logging HOWTO,
    # "Optimization".
    logging._srcfile = None
    for what in ("Threads", "Processes", "Multiprocessing", "AsyncioTasks"):
        setattr(logging, f"log{what}", False)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda hook: _log_uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
    if level != "debug":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    """Python writes it to stderr as it is, and its text may hold anything."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("fault in chatq: %s", kind.__name__, exc_info=(kind, error or kind(), traceback))


def _without_traceback_unless_a_fault(record: logging.LogRecord) -> bool:
    """A server that is away for a moment is a warning of kombu's and Celery's: a line, without their insides."""
    if record.levelno < logging.ERROR:
        record.exc_info = None
    return True


class _Formatter(logging.Formatter):
    """Puts a record's parts together, each without secrets."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self._second, self._moment = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        told: Mapping[str, Field] = getattr(record, "fields", {})
        traceback = self.formatException(record.exc_info) if record.exc_info else record.stack_info
        return self.line(
            record,
            scrubbed(record.getMessage()),
            {
                name: scrubbed_name(value) if isinstance(value, str) else value
                for name, value in told.items()
                if value is not None and value != ""
            },
            scrubbed(traceback) if traceback else None,
        )

    def line(
        self, record: logging.LogRecord, message: str, told: Mapping[str, Field], traceback: str | None
    ) -> str:
        raise NotImplementedError

    def moment(self, created: float, shown: Callable[[int], str]) -> str:
        """`shown(second)`, asked once for all lines of a second."""
        second = int(created)
        if second != self._second or not self._moment:
            self._second, self._moment = second, shown(second)
        return self._moment


class _JsonFormatter(_Formatter):
    def line(
        self, record: logging.LogRecord, message: str, told: Mapping[str, Field], traceback: str | None
    ) -> str:
        line: dict[str, Any] = {
            "time": f"{self.moment(record.created, _utc)}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": message,
            **told,
        }
        if traceback:
            line["traceback"] = traceback
        try:
            text = orjson.dumps(line).decode()
        except TypeError:  # half a character; or a number beyond 64 bits
            text = json.dumps(line)
        if not text.isascii() and any(breaking in text for breaking in _BREAKING):
            return json.dumps(line)
        return text


class _TextFormatter(_Formatter):
    def line(
        self, record: logging.LogRecord, message: str, told: Mapping[str, Field], traceback: str | None
    ) -> str:
        time = self.moment(record.created, _local)
        parts = [f"{time} {record.levelname:<7} {self._process}:", _printable(message)]
        parts += [f"{name}={_printable(str(value))}" for name, value in told.items()]
        # A traceback has lines, and texts in it may have more: each is set in, so that none looks like one of the log.
        below = "".join(f"\n    {_printable(line)}" for line in (traceback or "").splitlines())
        return " ".join(parts) + below


def _utc(second: int) -> str:
    """As RFC 3339 has it, up to the second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _local(second: int) -> str:
    return datetime.fromtimestamp(second).astimezone().strftime("%H:%M:%S")


def _printable(text: str) -> str:
    """`text` on one line, which does nothing to a terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
