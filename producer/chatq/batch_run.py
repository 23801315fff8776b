"""A file of requests in, a file of results out; interrupted as often as may be, each line stands in the output once.

The order in which things become durable carries that:

1. The sidecar names the batch before the batch is made. The jobs' `custom_id` are their idempotency keys, so whoever
   enqueues them again after a crash finds them there.
2. Results are appended in groups: the lines, a sync; the sidecar with the new length and cursor, a sync; and only then
   does Redis let go of them. What stands behind the sidecar's length is cut off when the run is taken up again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import orjson

from chatq.batch_input import BadLine, BatchInput
from chatq.batch_sidecar import BatchFiles, OutputInUse, Sidecar
from chatq.client.blocking import ChatQueue
from chatq.contract.batch_line import output_line
from chatq.contract.errors import UnknownBatch, UnknownPrice
from chatq.contract.job import Job
from chatq.contract.record import Batch, BatchBudget, JobRecord
from chatq.core.batches import new_batch_id

SYNC_S: Final = 0.1
"""Results are written and synced in groups no further apart."""
WATCHED_S: Final = 1.0
"""How often the watcher hears that nothing came."""


class Watcher(Protocol):
    """Who wants to know how far a run is."""

    def bad_line(self, line: BadLine) -> None: ...

    def enqueued(self, jobs: int, connection: str) -> None: ...

    def follows(self, batch: Batch, *, resumed: bool) -> None: ...

    def wrote(self, records: list[JobRecord]) -> None: ...

    def waited(self) -> None: ...


class BatchRun:
    """One run of a batch from `source` into `output`. Run it again to go on with it."""

    def __init__(
        self,
        queue: ChatQueue,
        source: BatchInput,
        output: Path,
        watcher: Watcher,
        *,
        in_order: bool = False,
        skip_bad: bool = False,
        batch_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """`in_order`: write in the order of the input, rather than as jobs become final. `skip_bad`: go on without bad
        lines, and write them to the error file `OUTPUT.errors`. `batch_id`, `metadata`: of the batch that is made;
        default: a new id, and the name of the input. `max_cost`, `max_tokens`: its budgets; of one that is gone
        on with, where they are larger than those it has."""
        self._queue = queue
        self._source = source
        self._output = output
        self._watcher = watcher
        self._in_order = in_order
        self._skip_bad = skip_bad
        self._batch_id = batch_id or new_batch_id()
        self._metadata = metadata if metadata is not None else {"input": source.path.name}
        self._max_cost, self._max_tokens = max_cost, max_tokens

    @property
    def errors(self) -> Path:
        """The file of the bad lines."""
        return self._output.with_name(f"{self._output.name}.errors")

    def run(self) -> Batch | None:
        """Enqueue what is not enqueued yet, and write results until there are no more. Returns the batch as it ended;
        None when the output had all before, and the server has forgotten the batch since.

        Raises `BatchFiles` when input, output and sidecar do not belong together, `InvalidJob` when lines are bad;
        then nothing was enqueued.
        """
        with self._locked_output() as output:
            sidecar = Sidecar.load(self._output)
            resumed = sidecar is not None
            if sidecar is None:
                sidecar = self._begin(output)
            else:
                self._must_fit(sidecar)
            if not sidecar.sealed:
                self._enqueue(sidecar)
            try:
                batch = self._queue.batch(sidecar.batch)
            except UnknownBatch:
                if sidecar.done:
                    return None
                raise self._gone(sidecar) from None
            if resumed and not batch.ended:
                batch = self._with_budgets(batch)
            self._watcher.follows(batch, resumed=resumed)
            self._collect(sidecar, output)
            return self._queue.batch(sidecar.batch)

    @contextlib.contextmanager
    def _locked_output(self) -> Iterator[BinaryIO]:
        if self._output.exists() and self._source.path.exists() and self._output.samefile(self._source.path):
            raise BatchFiles(f"The output {self._output} is the input.", remedy="Name another output.")
        try:
            descriptor = os.open(self._output, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise BatchFiles(
                f"The output {self._output} cannot be written: {error.strerror}.", remedy="Check the path."
            ) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BatchFiles(
                f"The output {self._output} is not a regular file: a run that is interrupted could not go on there.",
                remedy="Name a file; or let chatq batch submit enqueue the input, and chatq batch results print.",
            )
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OutputInUse(
                    f"Another chatq batch run writes {self._output}.", remedy="Wait for it, or stop it first."
                ) from None
            try:
                yield file
            finally:
                if not os.fstat(file.fileno()).st_size and not Sidecar.beside(self._output).exists():
                    self._output.unlink()  # nothing came of it

    def _begin(self, output: BinaryIO) -> Sidecar:
        if output.seek(0, os.SEEK_END):
            raise BatchFiles(
                f"{self._output} is there already, and {Sidecar.beside(self._output)} is not: it is of no batch that "
                "could be gone on with.",
                remedy="Name another output, or remove it.",
            )
        self._validate()
        found = self._source.summary
        return Sidecar(
            batch=self._batch_id,
            input=found.sha256,
            connection=self._source.connection,
            prompts=self._source.prompts,
            in_order=self._in_order,
            jobs=found.jobs,
            skipped=found.bad,
        )

    def _must_fit(self, sidecar: Sidecar) -> None:
        others = [
            f"with {flag}{'' if then is True else f' {then}'}" if then else f"without {flag}"
            for flag, now, then in (
                ("-c", self._source.connection, sidecar.connection),
                ("--prompts", self._source.prompts, sidecar.prompts),
                ("--ordered", self._in_order, sidecar.in_order),
            )
            if now != then
        ]
        if self._source.sha256() != sidecar.input:
            what = f"{self._source.path} is not the input that it was made from"
        elif others:
            what = f"it was begun {' and '.join(others)}"
        elif sidecar.skipped and not self._skip_bad:
            what = f"it was begun without {sidecar.skipped:,} bad lines of its input (--skip-bad)"
        else:
            return
        raise BatchFiles(
            f"{self._output} is of batch {sidecar.batch}, and {what}.",
            remedy=f"Go on with that batch with the input and the options that it was begun with; or begin anew: "
            f"{self._anew(sidecar)}",
        )

    def _anew(self, sidecar: Sidecar) -> str:
        return (
            f"name another output, or remove {self._output} and {Sidecar.beside(self._output)} "
            f"(and stop the old batch, if it goes on: chatq batch cancel {sidecar.batch})."
        )

    def _gone(self, sidecar: Sidecar) -> BatchFiles:
        return BatchFiles(
            f"Batch {sidecar.batch} is not on this server: it was deleted after results.keep, or is on another. "
            f"{self._output} has a part of its results.",
            remedy=f"Check redis.url; or begin anew: {self._anew(sidecar)}",
        )

    def _validate(self, *, again: bool = False) -> None:
        """Raises `InvalidJob` when lines are bad and not to be skipped. `again`: they were good before, by
        settings that are others now."""
        lines = []
        for line in self._source.validate():
            self._watcher.bad_line(line)
            if self._skip_bad:
                lines.append(_error_line(line))
        how = f"--skip-bad writes them to {self.errors}"
        if (
            refusal := self._source.refusal(skip_bad=self._skip_bad, how_to_skip=how, again=again)
        ) is not None:
            raise refusal
        if lines:
            self._write_errors(b"".join(lines), again=again)

    def _write_errors(self, lines: bytes, *, again: bool) -> None:
        if not again and self.errors.exists() and self.errors.read_bytes() != lines:
            raise BatchFiles(
                f"{self.errors}, where the bad lines are to go, is there already.",
                remedy="Name another output, or move it away.",
            )
        self.errors.write_bytes(lines)

    def _enqueue(self, sidecar: Sidecar) -> None:
        if not self._source.summary.sha256:
            self._validate(again=True)
        sidecar.save(self._output)
        self._queue.open_batch(
            self._metadata,
            batch_id=sidecar.batch,
            max_cost=self._max_cost,
            max_tokens=self._max_tokens,
        )
        try:
            self._queue.add_to_batch(sidecar.batch, self._counted())
        except UnknownPrice:
            if not self._queue.batch(sidecar.batch).counts.total:
                # There is nothing to go on with.
                self._queue.give_up_batch(sidecar.batch)
                Sidecar.beside(self._output).unlink()
            raise
        self._queue.seal_batch(sidecar.batch)
        sidecar.sealed = True
        sidecar.save(self._output)

    def _with_budgets(self, batch: Batch) -> Batch:
        """Give a batch that is gone on with the budgets that are named now, where they are larger than its own.

        Raises `BudgetUsedUp` when they have not enough for its next job.
        """
        budget = batch.budget or BatchBudget()
        named = ((self._max_cost, budget.max_cost_usd), (self._max_tokens, budget.max_tokens))
        if not any(most is not None and (has is None or most > has) for most, has in named):
            return batch
        return self._queue.resume_batch(batch.id, max_cost=self._max_cost, max_tokens=self._max_tokens)

    def _counted(self) -> Iterator[Job]:
        for count, job in enumerate(self._source.jobs(), 1):
            yield job
            self._watcher.enqueued(count, job.connection)

    def _collect(self, sidecar: Sidecar, output: BinaryIO) -> None:
        if output.seek(0, os.SEEK_END) < sidecar.written:
            raise BatchFiles(
                f"{self._output} is shorter than it was: results have been taken out of it, or it was removed.",
                remedy=f"Restore it; or begin anew: {self._anew(sidecar)}",
            )
        if sidecar.done:
            return  # what stands behind them was no crash's
        output.truncate(sidecar.written)
        output.seek(sidecar.written)
        waiting: list[JobRecord] = []
        cursor, over, synced_at = sidecar.cursor, False, time.monotonic()
        while not over:
            # What was written is synced before anything is waited for.
            cursor, over, records = self._queue.results_page(
                sidecar.batch, cursor, follow=not waiting, in_order=self._in_order, wait_s=WATCHED_S
            )
            output.writelines(output_line(record) for record in records)
            waiting += records
            if waiting and (over or not records or time.monotonic() - synced_at >= SYNC_S):
                output.flush()
                os.fsync(output.fileno())
                sidecar.cursor, sidecar.written = cursor, output.tell()
                sidecar.save(self._output)
                self._queue.let_go(sidecar.batch, [record.id for record in waiting])
                self._watcher.wrote(waiting)
                waiting, synced_at = [], time.monotonic()
            self._watcher.waited()
        sidecar.done = True
        sidecar.save(self._output)


def _error_line(line: BadLine) -> bytes:
    """A bad line as the error file has it, in the shape of OpenAI's."""
    error = {"code": line.code, "message": line.message, "remedy": line.remedy, "line": line.number}
    data = {"id": None, "custom_id": line.custom_id, "response": None, "error": error}
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)
