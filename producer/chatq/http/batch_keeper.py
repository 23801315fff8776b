"""The process that runs the batches of an HTTP front: validates, enqueues, writes results as they come.

It is a process of its own, because a large file keeps a processor busy for a while, and requests are not to wait for
that. It is told of new batches by lines on its standard input, and ends when that is closed: with its front. Every
batch is run by `chatq.batch_run`, so whoever dies on the way, another keeper goes on with it; the lock on the output
sees to it that only one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson

from chatq.batch_input import BadLine, BatchInput
from chatq.batch_run import BatchRun
from chatq.batch_sidecar import OutputInUse, Sidecar
from chatq.client.blocking import ChatQueue
from chatq.contract.errors import (
    BacklogFull,
    BudgetUsedUp,
    ChatQueueError,
    InvalidJob,
    NothingToRetry,
    UnknownBatch,
)
from chatq.contract.job import Job
from chatq.contract.live_settings import LiveSettings
from chatq.contract.record import Batch, JobRecord
from chatq.contract.settings import Settings
from chatq.http.access import Caller
from chatq.http.batch_store import ENDED, BatchRecord, BatchStore
from chatq.http.file_store import FileStore, new_id
from chatq.http.webhooks import Messenger, Notice, notice, read_secret
from chatq.logs import fields
from chatq.traces import traces

logger = logging.getLogger(__name__)

AT_ONCE: Final = 200
"""Batches that are run at a time; more wait for their turn."""
LOOK_S: Final = 10.0
"""How often batches are looked for that nobody runs: their front has died, or Redis was away."""
MOST_ERRORS: Final = 10_000
"""Lines that a batch that failed tells of."""
_ENDINGS: Final = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
"""Error codes of ours, in OpenAI's words."""


def keep(settings: Settings) -> None:
    """Run batches until the standard input ends."""
    folder = Path(settings.http.folder)
    keeper = BatchKeeper(settings, BatchStore(folder), FileStore(folder))
    threading.Thread(target=keeper.look_around, daemon=True, name="chatq-look-around").start()
    for line in sys.stdin:
        keeper.take(line.strip())
    if (traced := traces()) is not None:
        traced.flush()
    # Every batch bears that at any moment, and who waits for results would take a while to notice.
    os._exit(0)


class BatchKeeper:
    """Runs batches, many at a time."""

    def __init__(self, settings: Settings, batches: BatchStore, files: FileStore) -> None:
        self._live = LiveSettings(settings)
        self._batches = batches
        self._files = files
        self._queue = ChatQueue(settings)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="chatq-batch")
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._telling: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        webhooks = settings.http.webhooks
        if webhooks.hosts:
            self._messenger = Messenger(webhooks, read_secret(webhooks), self._told)
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="chatq-webhooks").start()

    def look_around(self) -> None:
        """Take up batches that nobody runs, again and again."""
        over: set[str] = set()
        while True:
            self._files.sweep()
            for batch_id in self._batches.ids():
                record = None if batch_id in over else self._batches.load(batch_id)
                if record is None:
                    continue
                if record.status not in ENDED:
                    self.take(batch_id)
                elif record.to_tell:
                    self._tell(record)
                else:
                    over.add(batch_id)
            time.sleep(LOOK_S)

    def take(self, batch_id: str) -> None:
        """Run a batch, unless it is being run here already."""
        with self._lock:
            if batch_id in self._taken:
                return
            self._taken.add(batch_id)
        self._pool.submit(self._run, batch_id)

    def _newest_queue(self) -> ChatQueue:
        """The queue with the settings of this moment. Batches that run go on with those that they began with."""
        with self._lock:
            # Twice: what has just changed is taken up when it stands still. A front may have taken it up already.
            if (self._live.look() or self._live.look()) is not None:
                self._queue = ChatQueue(self._live.current)
            return self._queue

    def _tell(self, record: BatchRecord) -> None:
        """Have its end told, unless that is being done already."""
        with self._lock:
            if self._loop is None or record.id in self._telling or record.notice is None:
                return
            self._telling.add(record.id)
            told = Notice(**record.notice)
            asyncio.run_coroutine_threadsafe(self._deliver(record.id, told), self._loop)

    async def _deliver(self, batch_id: str, told: Notice) -> None:
        try:
            await self._messenger.deliver(batch_id, told)
        finally:
            with self._lock:
                self._telling.discard(batch_id)

    def _told(self, batch_id: str, told: Notice) -> None:
        record = self._batches.load(batch_id)
        if record is not None:
            record.notice = asdict(told)
            self._batches.save(record)

    def _run(self, batch_id: str) -> None:
        try:
            # Its record as well: the keeper of another front may have ended it a moment ago.
            with self._batches.alone(batch_id):
                record = self._batches.load(batch_id)
                if record is not None and record.status not in ENDED:
                    OneBatch(self._newest_queue(), self._batches, self._files, record).run()
                    if record.to_tell:
                        self._tell(record)
        except ChatQueueError as error:
            # Redis is away, the disk is full, another keeper has it: it is looked at again.
            logger.warning("batch waits: %s", error.message, extra=fields(batch=batch_id))
        except Exception as error:
            logger.exception("fault in chatq: %s", type(error).__name__, extra=fields(batch=batch_id))
        finally:
            with self._lock:
                self._taken.discard(batch_id)


class _Cancelled(Exception):
    """The batch is to be cancelled, and was being enqueued."""


class OneBatch:
    """One batch on its way. A `Watcher` of its own run."""

    def __init__(
        self,
        queue: ChatQueue,
        batches: BatchStore,
        files: FileStore,
        record: BatchRecord,
    ) -> None:
        self._queue = queue
        self._batches = batches
        self._files = files
        self._record = record
        self._folder = batches.folder(record.id)
        self._output = self._folder / "results"
        allowed = None if record.connections is None else frozenset(record.connections)
        self._source = BatchInput(
            self._folder / "input",
            Caller(record.tenant, allowed).settings(queue.settings()),
            connection=record.connection,
            how_to_name='"connection" in the request for the batch',
            amend=self._amended,
        )
        self._errors: list[dict[str, Any]] = []
        self._untold = 0

    def run(self) -> None:
        """Run it to its end. Raises `ChatQueueError`: to be tried again."""
        record = self._record
        if self._is_cancelled() and Sidecar.load(self._output) is None:
            return self._end("cancelled")
        if record.retry_of is not None and Sidecar.load(self._output) is None:
            try:
                self._retry(record.retry_of)
            except (UnknownBatch, BudgetUsedUp, NothingToRetry) as error:
                return self._invalid(error)
        run = BatchRun(
            self._queue,
            self._source,
            self._output,
            self,
            batch_id=record.id,
            metadata=record.metadata,
            **self._budgets(),
        )
        try:
            batch = run.run()
        except _Cancelled:
            batch = self._without_the_rest(run)
        except UnknownBatch:
            if not self._is_cancelled():
                raise
            batch = self._without_the_rest(run)
        except OutputInUse:
            raise
        except InvalidJob as error:
            self._invalid(error)
            return None
        self._finish(batch)
        return None

    def _retry(self, old_id: str) -> None:
        """Put the failed jobs of another batch into this one: from then on it is one that is enqueued already.

        Raises `UnknownBatch`, `BudgetUsedUp`, `NothingToRetry`.
        """
        record = self._record
        try:
            sealed = self._queue.batch(record.id).sealed
        except UnknownBatch:
            sealed = False
        if not sealed:
            with contextlib.suppress(
                BacklogFull
            ):  # it has those that found room; asking again takes the rest
                self._queue.retry_batch(
                    old_id, new_id=record.id, max_cost=record.max_cost, max_tokens=record.max_tokens
                )
        record.come_to("in_progress")
        self._batches.save(record)
        Sidecar(
            batch=record.id, input=self._source.sha256(), connection=self._source.connection, sealed=True
        ).save(self._output)

    def _budgets(self) -> dict[str, Any]:
        """Those that it is to begin with. Once it is there they are the ledger's: they may be others by now."""
        try:
            self._queue.batch(self._record.id)
        except UnknownBatch:
            return {"max_cost": self._record.max_cost, "max_tokens": self._record.max_tokens}
        return {}

    def _without_the_rest(self, run: BatchRun) -> Batch | None:
        """It was cancelled while it was enqueued: what is enqueued of it ends, the rest never begins."""
        self._queue.cancel_batch(self._record.id)
        sidecar = Sidecar.load(self._output)
        assert sidecar is not None  # noqa: S101 - it is written before anything is enqueued
        sidecar.sealed = True
        sidecar.save(self._output)
        return run.run()

    def _amended(self, job: Job) -> Job:
        tenant, window_s = self._record.tenant, self._record.window_s
        if tenant is not None and job.tenant not in (None, tenant):
            raise InvalidJob("tenant: it is not that of the batch's token.", remedy="Leave it out.")
        expires_in = window_s if job.expires_in is None else min(job.expires_in, window_s)
        return job.model_copy(update={"tenant": tenant or job.tenant, "expires_in": expires_in})

    def _is_cancelled(self) -> bool:
        return self._batches.cancelled_at(self._record.id) is not None

    # What the run tells

    def bad_line(self, line: BadLine) -> None:
        if len(self._errors) == MOST_ERRORS:
            self._untold += 1
            return
        message = f"{line.message} {line.remedy}".rstrip()
        self._errors.append({"code": line.code, "message": message, "param": None, "line": line.number})

    def enqueued(self, jobs: int, connection: str) -> None:
        if self._record.status == "validating":
            self._record.total = self._source.summary.jobs
            self._record.come_to("in_progress")
            self._batches.save(self._record)
        if jobs % 100 == 1 and self._is_cancelled():
            raise _Cancelled

    def follows(self, batch: Batch, *, resumed: bool) -> None:
        if self._record.status == "validating":
            self._record.come_to("in_progress")
        if self._is_cancelled() and not batch.cancel_requested:
            self._queue.cancel_batch(self._record.id)

    def wrote(self, records: list[JobRecord]) -> None:
        pass

    def waited(self) -> None:
        pass

    # How it ends

    def _invalid(self, error: ChatQueueError) -> None:
        record = self._record
        record.errors = sorted(self._errors, key=lambda told: told["line"])
        if self._untold or not record.errors:
            whole = f"{error.message} {error.remedy or ''}".rstrip()
            more = f"{self._untold:,} more lines are bad." if self._untold else whole
            record.errors.append({"code": error.code, "message": more, "param": None, "line": None})
        with contextlib.suppress(UnknownBatch):  # as a rule nothing of it is enqueued
            self._queue.cancel_batch(record.id)
        if self._output.exists() and self._output.stat().st_size:
            record.output_file_id, record.error_file_id = new_id("file-"), new_id("file-")
            self._part()
        self._end("failed")

    def _finish(self, batch: Batch | None) -> None:
        """Part what went well from what did not, and end the batch."""
        record = self._record
        if "finalizing_at" not in record.moments:
            if batch is not None:
                record.count(batch)
            record.output_file_id, record.error_file_id = new_id("file-"), new_id("file-")
            record.come_to("finalizing")
            self._batches.save(record)
        expired = self._part()
        status = "cancelled" if self._is_cancelled() else "expired" if expired else "completed"
        self._end(status)

    def _part(self) -> bool:
        """Write the file of the results and that of the errors; what is empty is not made. Says whether any expired."""
        record, expired = self._record, False
        with self._files.writing() as (good_path, good), self._files.writing() as (bad_path, bad):
            for line, went_well, code in self._lines():
                expired = expired or code == "expired"
                (good if went_well else bad).write(line)
            good.flush()
            bad.flush()
            record.output_file_id = self._kept(good_path, record.output_file_id, "output")
            record.error_file_id = self._kept(bad_path, record.error_file_id, "error")
        return expired

    def _lines(self) -> Iterator[tuple[bytes, bool, str]]:
        """Each line of the results, whether it tells of a success, and what error it tells of."""
        with self._output.open("rb") as file:
            for line in file:
                data = orjson.loads(line)
                error = data["error"]
                if error is None:
                    yield line, data["response"]["status_code"] == 200, ""
                    continue
                code = error["code"]
                if code in _ENDINGS:
                    error["code"] = _ENDINGS[code]
                    line = orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)
                yield line, False, code

    def _kept(self, path: Path, file_id: str | None, kind: str) -> str | None:
        if not path.stat().st_size:
            return None
        self._files.keep(
            path,
            filename=f"{self._record.id}_{kind}.jsonl",
            purpose="batch_output",
            expires_after_s=self._record.output_life_s,
            tenant=self._record.tenant,
            file_id=file_id,
        )
        return file_id

    def _end(self, status: str) -> None:
        record = self._record
        record.come_to(status)
        if record.webhook_url is not None:
            record.notice = asdict(notice(record.webhook_url, record.id, status))
        self._batches.save(record)
        for name in ("results", "results.chatq", "input"):
            (self._folder / name).unlink(missing_ok=True)
