"""`ChatQueue`: the queue for blocking code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chatq.chunks import Chunk, ChunksInFlight
from chatq.client.given import PAUSED_BY_HAND, Counted, JobLike, as_job, interrupted, opened
from chatq.contract.connection_limits import ConnectionLimits
from chatq.contract.errors import UnknownPrice
from chatq.contract.job import Job
from chatq.contract.record import Batch, JobRecord
from chatq.contract.settings import Settings
from chatq.contract.status import ModelList, StatusOutcome
from chatq.contract.why import Why
from chatq.core.jobs import POLL_S
from chatq.growing_text import GrowingText
from chatq.ledger.server import Server
from chatq.steps import Steps, drive


class ChatQueue:
    """The queue, for blocking code. Safe to share between threads.

        with ChatQueue() as queue:
            job = queue.enqueue("demo", "Say hi")
            print(queue.wait(job.id, timeout=60).result.text)

    `config`: settings, or the path of a config.yaml; default: as the command finds it. Or `redis_url` (and
    `key_prefix`): then the connections are those that the workers publish.
    Every method raises `ServerError` when Redis does not do what is needed.
    """

    def __init__(
        self,
        config: Settings | Path | str | None = None,
        *,
        redis_url: str | None = None,
        key_prefix: str = "chatq",
    ) -> None:
        self._core, locate = opened(config, redis_url, key_prefix)
        self._server = Server(locate)

    def enqueue(self, connection: str, prompt: str | None = None, **keys: Any) -> JobRecord:
        """Enqueue a job: a prompt, or `messages=[...]`, and any other key of a job. Returns its record.

        When it returns, the job survives the death of any process. Raises `InvalidJob`, `UnknownConnection`,
        `JobConflict`, `BacklogFull`: then nothing was enqueued.
        """
        if prompt is not None:
            keys["prompt"] = prompt
        return drive(self._core.enqueue(Job.parse({"connection": connection, **keys})), self._server)

    def get(self, job_id: str) -> JobRecord:
        """The record of a job as it is now; never blocks. Raises `UnknownJob`."""
        return drive(self._core.get(job_id), self._server)

    def wait(self, job_id: str, timeout: float | None = None, *, through_pauses: bool = True) -> JobRecord:
        """The final record of a job. Raises `UnknownJob`, and `WaitTimeout` after `timeout` seconds: it says why the
        job waits. `through_pauses=False`: a job that waits for a paused connection raises `ConnectionPaused`."""
        return drive(self._core.wait(job_id, timeout, through_pauses=through_pauses), self._server)

    def stream(self, connection: str, prompt: str | None = None, **keys: Any) -> Iterator[str]:
        """Enqueue a job and yield the text of its answer as it grows, piece by piece; in one piece from a source that
        does not stream.

            for piece in queue.stream("demo", "Say hi"):
                print(piece, end="", flush=True)

        Give the job an `id` of your own to `get` its record afterwards, or to `cancel` it: it goes on when nobody
        reads. Raises as `enqueue`, and `JobFailed` (with the `record`) where the answer breaks off.
        """
        job = self.enqueue(connection, prompt, **keys, stream=True)
        text, position, over = GrowingText(), 0, False
        while not over:
            position, over, deltas = self.deltas_page(job.id, position)
            yield from text.pieces(deltas)
        if rest := text.rest(self.get(job.id)):
            yield rest

    def deltas_page(self, job_id: str, position: int = 0) -> tuple[int, bool, list[list[dict[str, Any]]]]:
        """(next position, whether no more will come, some deltas) of the answer to a job that has `stream`.

        A delta is a list of choices as in OpenAI's chunks: `[{"index": 0, "delta": {"content": "Hel"}}]`, with a piece
        of `content`, `reasoning_content`, `refusal` or `tool_calls`. Waits some seconds for something to come. What was
        told is the beginning of the answer; the record has all of it. Raises `UnknownJob`.
        """
        return drive(self._core.deltas(job_id, position), self._server)

    def why(self, job_id: str) -> Why:
        """Why a job does not run now, and when it will. Raises `UnknownJob`."""
        return drive(self._core.why(job_id), self._server)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job. One that waits is final at once; one that runs when its worker has stopped it."""
        return drive(self._core.cancel(job_id), self._server)

    def delete(self, job_id: str) -> None:
        """Delete a final job's data now. Raises `UnknownJob`, `JobNotFinal`."""
        drive(self._core.delete(job_id), self._server)

    def enqueue_batch(
        self,
        jobs: Iterable[JobLike],
        connection: str | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> Batch:
        """Enqueue jobs as a batch, streamed: any iterable; they start at once. Returns the sealed batch.

        `connection`: for jobs that name none, and for bare prompts. `max_cost` (US dollars), `max_tokens` (of prompts
        and answers together): when the next job would go beyond it, the batch pauses; see docs/batches.md. Raises
        `BatchInterrupted` (with `batch_id`) when the iterable raises or a job is not valid: what had been enqueued is
        cancelled; as it is before `UnknownPrice`: a model of which nobody knows what it costs, with a `max_cost` (where
        nothing had been enqueued, no batch is left).
        """
        batch_id = self.open_batch(metadata, max_cost=max_cost, max_tokens=max_tokens)
        counted = Counted(jobs)
        try:
            self.add_to_batch(batch_id, counted, connection)
        except UnknownPrice:
            self.give_up_batch(batch_id)
            raise
        except BaseException as error:
            self.cancel_batch(batch_id)
            if not isinstance(error, Exception):
                raise
            raise interrupted(batch_id, counted.count, error) from error
        return self.seal_batch(batch_id)

    def open_batch(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        batch_id: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> str:
        """A new batch to which jobs can be added until it is sealed; its id.

        `batch_id`: one of your own. A batch of this id that is there already stays as it is, so that whoever was
        interrupted can go on: jobs that are added again under their `custom_id` are there once. Budgets as for
        `enqueue_batch`.
        """
        opened = self._core.open_batch(
            metadata or {}, batch_id=batch_id, max_cost=max_cost, max_tokens=max_tokens
        )
        return drive(opened, self._server)

    def add_to_batch(self, batch_id: str, jobs: Iterable[JobLike], connection: str | None = None) -> int:
        """Add jobs to an open batch, streamed; they start at once. Returns their number.

        Waits while the backlog is full. Raises what `enqueue` does, `UnknownBatch` when it is sealed or cancelled,
        `UnknownPrice` when it has a `max_cost` and nobody knows what a model costs, and what the iterable raises; what
        was added before stays.
        """
        count, chunk = 0, Chunk()
        with ChunksInFlight(self._server) as in_flight:
            for job in jobs:
                if chunk.add(drive(self._core.entry(as_job(job, connection)), self._server)):
                    in_flight.send(self._of_batch(batch_id, chunk))
                    count, chunk = count + len(chunk.entries), Chunk()
        if chunk.entries:
            drive(self._of_batch(batch_id, chunk), self._server)
        return count + len(chunk.entries)

    def _of_batch(self, batch_id: str, chunk: Chunk) -> Steps[None]:
        """The steps that enqueue a chunk of a batch. Raises `UnknownPrice`, which is asked for at once."""
        drive(self._core.must_be_priced(batch_id, chunk.entries), self._server)
        return self._core.add_to_batch(batch_id, chunk.entries)

    def seal_batch(self, batch_id: str) -> Batch:
        """Say that no more jobs come: the batch ends when all of it are final. Raises `UnknownBatch`."""
        return drive(self._core.seal(batch_id), self._server)

    def batch(self, batch_id: str) -> Batch:
        """A batch with its counts as they are now. Raises `UnknownBatch`."""
        return drive(self._core.batch(batch_id), self._server)

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel what is not final of a batch. Raises `UnknownBatch`."""
        return drive(self._core.cancel_batch(batch_id), self._server)

    def give_up_batch(self, batch_id: str) -> None:
        """Delete an open batch that nothing came into; cancel another. Raises `UnknownBatch`."""
        drive(self._core.give_up_batch(batch_id), self._server)

    def batches(self, most: int = 100) -> list[Batch]:
        """The batches that were made last, the newest first."""
        return drive(self._core.batches(most), self._server)

    def pause_batch(self, batch_id: str) -> Batch:
        """Begin no more jobs of a batch until it is resumed; what runs goes on. Raises `UnknownBatch`, `BatchOver`."""
        return drive(self._core.pause_batch(batch_id), self._server)

    def resume_batch(
        self, batch_id: str, *, max_cost: float | None = None, max_tokens: int | None = None
    ) -> Batch:
        """Go on with a paused batch. Raises `UnknownBatch`, `BatchOver`.

        `max_cost`, `max_tokens`: its budgets from now on. Raises `BudgetUsedUp` while one has not enough for its next
        job.
        """
        resumed = self._core.resume_batch(batch_id, max_cost=max_cost, max_tokens=max_tokens)
        return drive(resumed, self._server)

    def move_batch(self, batch_id: str, connection: str, model: str | None = None) -> Batch:
        """Move what is not final of a batch to another connection, and its `model` (default: the connection's).

        What runs ends where it is; what comes back to wait again follows. Raises `UnknownBatch`, `BatchOver`,
        `UnknownConnection`, `InvalidJob` when no model is known.
        """
        return drive(self._core.move_batch(batch_id, connection, model), self._server)

    def retry_batch(
        self,
        batch_id: str,
        *,
        code: str | None = None,
        connection: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        new_id: str | None = None,
    ) -> Batch:
        """Try the failed jobs of a batch again, each once, as new jobs in a new batch, which is returned.

        `code`, `connection`: only those that failed with this code, only those of this connection. `max_cost`,
        `max_tokens`: budgets of the new batch; default: what is left of the old one's. `new_id`: of the new batch; one
        that is there already, and not sealed, takes the jobs that are left. Raises `UnknownBatch`, `BacklogFull`,
        `NothingToRetry`, and `BudgetUsedUp` when nothing is left of the old one's.
        """
        retried = self._core.retry_batch(
            batch_id, code, connection, max_cost=max_cost, max_tokens=max_tokens, new_id=new_id
        )
        return drive(retried, self._server)

    def retry_failed(self, *, code: str | None = None, connection: str | None = None) -> int:
        """Try the failed jobs that are in no batch again, each once, as new jobs. Returns their number.

        `code`, `connection`: as for `retry_batch`. Raises `BacklogFull`.
        """
        return drive(self._core.retry_failed(code, connection), self._server)

    def results_page(
        self,
        batch_id: str,
        cursor: int = 0,
        *,
        follow: bool = False,
        in_order: bool = False,
        wait_s: float = POLL_S,
    ) -> tuple[int, bool, list[JobRecord]]:
        """(next cursor, whether no more will come, some final records of a batch). With `follow` it waits for something
        to come, `wait_s` seconds at most.

        `in_order`: in the order of enqueueing, up to the first that is not final; else as they became final. Raises
        `UnknownBatch`.
        """
        page = self._core.results(batch_id, cursor, follow=follow, in_order=in_order, wait_s=wait_s)
        return drive(page, self._server)

    def let_go(self, batch_id: str, job_ids: Sequence[str]) -> int:
        """Delete jobs of a batch whose results you have put somewhere safe, before `results.keep` is over.

        Only final ones, and none that failed: those can still be tried again. The batch's counts stay. Returns how many
        were deleted.
        """
        return drive(self._core.let_go(batch_id, job_ids), self._server)

    def results(self, batch_id: str, *, follow: bool = False, cursor: int = 0) -> Iterator[JobRecord]:
        """Final records of a batch in the order in which they became final.

        `follow`: go on until the batch has ended. `cursor`: how many were read before. Raises `UnknownBatch`.
        """
        over = False
        while not over:
            before = cursor
            cursor, over, records = self.results_page(batch_id, cursor, follow=follow)
            yield from records
            if not follow and cursor == before:
                return

    def check(self, connection: str, timeout: float = 30) -> StatusOutcome:
        """Have a worker check a connection, and return the outcome.

        Raises `UnknownConnection`, `NoWorker`, and `WaitTimeout` after `timeout` seconds.
        """
        return drive(self._core.check(connection, timeout), self._server)

    def status(self, connection: str) -> StatusOutcome:
        """The last outcome of a check; not asked anew. Raises `UnknownConnection`."""
        return drive(self._core.status(connection), self._server)

    def models(self, connection: str, timeout: float = 30) -> list[str]:
        """The ids of the models that a connection offers. Raises as `check`."""
        return list(self.model_list(connection, timeout).models)

    def model_list(self, connection: str, timeout: float = 30) -> ModelList:
        """The same with the moment at which the source was asked; it is asked anew after ten minutes."""
        return drive(self._core.model_list(connection, timeout), self._server)

    def test_message(self, connection: str, timeout: float = 120) -> JobRecord:
        """Send one short message as a job like any other, and return its final record. Raises as `wait`, and
        `ConnectionPaused`: then the message was cancelled."""
        return drive(self._core.test_message(connection, timeout), self._server)

    def pause(self, connection: str, message: str = PAUSED_BY_HAND) -> None:
        """Pause a connection: its jobs wait until it is resumed, calls in flight go on. `message`: why, for whoever
        asks. Raises `UnknownConnection`."""
        drive(self._core.pause(connection, message), self._server)

    def resume(self, connection: str) -> bool:
        """End the pause of a connection, whatever it was paused for; its calls then set in one by one. False when it
        was not paused. Raises `UnknownConnection`."""
        return drive(self._core.resume(connection), self._server)

    def limits(self, connection: str) -> ConnectionLimits:
        """What limits a connection's calls: set, learned, used now, and when the next may go, for each of its lanes.
        Raises `UnknownConnection`."""
        return drive(self._core.limits(connection), self._server)

    def settings(self) -> Settings:
        """The settings that hold here: those of config.yaml, or those that the workers published."""
        return drive(self._core.settings(), self._server)

    def key_facts(self) -> dict[str, str]:
        """What the leading worker says of each connection's key: `none`, `set`, `missing`, or its end `...1234`."""
        return drive(self._core.key_facts(), self._server)

    def overview(self) -> dict[str, Any]:
        """The status of the whole: workers, slots, what waits and runs on each connection."""
        return drive(self._core.overview(), self._server)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
