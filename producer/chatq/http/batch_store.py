"""The records of batches on the front's disk, one folder each.

record.json   what is known of it; written when it is made, and then only by who runs it
cancel        is there once it is to be cancelled
input         its input, a second name of the uploaded file: that may be deleted meanwhile
results       what `chatq.batch_run` writes, with its sidecar; gone when the batch has ended
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from chatq.batch_sidecar import OutputInUse
from chatq.contract.record import Batch
from chatq.http.access import Caller
from chatq.http.errors import NotFound
from chatq.http.file_store import disk_errors, in_pages, make_folder, new_id, read_json_file, write_json
from chatq.logs import fields

logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"batch_[0-9a-f]{28}")
ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(slots=True)
class BatchRecord:
    """A batch. Moments are seconds since 1970; `window_s`: its completion window."""

    id: str
    input_file_id: str
    completion_window: str
    window_s: float
    created_at: int
    tenant: str | None = None
    connections: list[str] | None = None
    """Those that its maker may use; None: all."""
    connection: str | None = None
    """For lines that name none."""
    metadata: dict[str, str] = field(default_factory=dict)
    status: str = "validating"
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    moments: dict[str, int] = field(default_factory=dict)
    """When it came to each state: `in_progress_at`, `finalizing_at`, `completed_at`, ..."""
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    output_life_s: int | None = None
    """Of its output and error files, seconds; None: they stay."""
    paused_at: int | None = None
    budget: dict[str, Any] | None = None
    """Its budgets, and what of them is reserved or used up, as `chatq.Batch` has it."""
    webhook_url: str | None = None
    """Who is told when it has ended."""
    notice: dict[str, Any] | None = None
    """How far telling has come: a `Notice`."""
    retry_of: str | None = None
    """The batch whose failed jobs it tries again: then its input is empty."""

    def come_to(self, status: str) -> None:
        """It is in this state now."""
        self.status = status
        logger.info("batch %s", status, extra=fields(batch=self.id, state=status))
        self.moments.setdefault(f"{status}_at", int(time.time()))

    def count(self, batch: Batch) -> None:
        """Take the counts of the ledger. Never less than the lines that were found: they are being enqueued."""
        counts = batch.counts
        self.total = max(self.total, counts.total)
        self.completed, self.failed = counts.succeeded, counts.failed + counts.expired
        self.usage, self.cost_usd = _usage(batch), batch.cost_usd
        self.paused_at = None if batch.paused_at is None else int(batch.paused_at.timestamp())
        self.budget = None if batch.budget is None else batch.budget.model_dump(mode="json")

    @property
    def to_tell(self) -> bool:
        """Whether somebody is still to be told of its end."""
        return self.notice is not None and self.notice["next_at"] is not None

    def shape(self) -> dict[str, Any]:
        """As OpenAI's API tells it; and `cost_usd`, `paused_at`, `budget`, `retry_of`."""
        moments = {f"{name}_at": self.moments.get(f"{name}_at") for name in _MOMENTS}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id if self.status in ENDED else None,
            "error_file_id": self.error_file_id if self.status in ENDED else None,
            "created_at": self.created_at,
            "expires_at": self.created_at + int(self.window_s),
            **moments,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata or None,
            "usage": self.usage,
            "cost_usd": self.cost_usd,
            "paused_at": self.paused_at,
            "budget": self.budget,
            "retry_of": self.retry_of,
        }


_MOMENTS: Final = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def _usage(batch: Batch) -> dict[str, Any]:
    return {
        "input_tokens": batch.usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": batch.usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": batch.usage.total_tokens,
    }


class BatchStore:
    """The batches below one folder. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "batches"
        make_folder(self._folder)

    def make(self, source: Path | None, facts: Mapping[str, Any]) -> BatchRecord:
        """Write down a new batch of the input at `source`; None: it has none. Raises `DiskFull`; `NotFound` when the
        input is gone."""
        record = BatchRecord(id=new_id("batch_"), created_at=int(time.time()), **facts)
        folder = self.folder(record.id)
        try:
            with disk_errors():
                folder.mkdir(mode=0o700)
                if source is None:
                    (folder / "input").touch()
                else:
                    os.link(source, folder / "input")
                write_json(folder / "record.json", asdict(record))
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            raise NotFound("The input file was deleted.", remedy="Upload it again.") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return record

    def folder(self, batch_id: str) -> Path:
        return self._folder / batch_id

    @contextlib.contextmanager
    def alone(self, batch_id: str) -> Iterator[None]:
        """Around running a batch, from before its record is read: as long, nobody else does. Raises `OutputInUse`."""
        folder = os.open(self.folder(batch_id), os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OutputInUse(f"Another front runs batch {batch_id}.", remedy="Wait for it.") from None
            yield
        finally:
            os.close(folder)

    def save(self, record: BatchRecord) -> None:
        """Write it down. Only who runs the batch does."""
        write_json(self.folder(record.id) / "record.json", asdict(record))

    def load(self, batch_id: str) -> BatchRecord | None:
        """None when there is none, or what was being made of it broke off."""
        data = read_json_file(self.folder(batch_id) / "record.json") if _ID.fullmatch(batch_id) else None
        if data is None:
            return None
        record = BatchRecord(**data)
        cancelled_at = self.cancelled_at(batch_id)
        if cancelled_at is not None:
            record.moments.setdefault("cancelling_at", cancelled_at)
            if record.status not in ENDED:
                record.status = "cancelling"
        return record

    def get(self, batch_id: str, caller: Caller) -> BatchRecord:
        """Raises `NotFound`, also for a batch that is not the caller's."""
        record = self.load(batch_id)
        if record is None or not caller.owns(record.tenant):
            raise NotFound(f"There is no batch {batch_id!r:.80}.", remedy="Check the id.")
        return record

    def is_of(self, batch_id: str, caller: Caller) -> bool:
        """Whether there is such a batch and it is the caller's."""
        record = self.load(batch_id)
        return record is not None and caller.owns(record.tenant)

    def cancel(self, batch_id: str) -> None:
        """Say that it is to be cancelled. Who runs it does so."""
        with disk_errors():
            (self.folder(batch_id) / "cancel").touch()

    def cancelled_at(self, batch_id: str) -> int | None:
        """When that was said."""
        try:
            return int((self.folder(batch_id) / "cancel").stat().st_mtime)
        except FileNotFoundError:
            return None

    def page(self, caller: Caller, *, after: str | None, limit: int) -> tuple[list[BatchRecord], bool]:
        """Batches, the newest first, from behind `after` on, and whether there are more."""
        found: list[BatchRecord] = []
        for batch_id in in_pages(self.ids(), after, newest_first=True):
            record = self.load(batch_id)
            if record is None or not caller.owns(record.tenant):
                continue
            if len(found) == limit:
                return found, True
            found.append(record)
        return found, False

    def to_do(self) -> bool:
        """Whether any is to be run, or its end to be told."""
        records = map(self.load, self.ids())
        return any(
            record is not None and (record.status not in ENDED or record.to_tell) for record in records
        )

    def ids(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if _ID.fullmatch(path.name))
