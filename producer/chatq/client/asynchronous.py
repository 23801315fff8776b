"""`AsyncChatQueue`: the queue for an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chatq.chunks import Chunk
from chatq.client.given import PAUSED_BY_HAND, Counted, JobLike, as_job, each, interrupted, opened
from chatq.contract.connection_limits import ConnectionLimits
from chatq.contract.errors import UnknownPrice
from chatq.contract.job import Job
from chatq.contract.record import Batch, JobRecord
from chatq.contract.settings import Settings
from chatq.contract.status import ModelList, StatusOutcome
from chatq.contract.why import Why
from chatq.core.jobs import POLL_S
from chatq.growing_text import GrowingText
from chatq.ledger.server import AsyncServer
from chatq.steps import drive_async


class AsyncChatQueue:
    """The queue, for one event loop. The names and rules are those of `ChatQueue`.

        async with AsyncChatQueue() as queue:
            job = await queue.enqueue("demo", "Say hi")
            print((await queue.wait(job.id, timeout=60)).result.text)

    Where it differs, its methods say so.
    """

    def __init__(
        self,
        config: Settings | Path | str | None = None,
        *,
        redis_url: str | None = None,
        key_prefix: str = "chatq",
    ) -> None:
        self._core, locate = opened(config, redis_url, key_prefix)
        self._server = AsyncServer(locate)

    async def enqueue(self, connection: str, prompt: str | None = None, **keys: Any) -> JobRecord:
        """As `ChatQueue.enqueue`."""
        if prompt is not None:
            keys["prompt"] = prompt
        return await drive_async(
            self._core.enqueue(Job.parse({"connection": connection, **keys})), self._server
        )

    async def get(self, job_id: str) -> JobRecord:
        """As `ChatQueue.get`."""
        return await drive_async(self._core.get(job_id), self._server)

    async def wait(
        self, job_id: str, timeout: float | None = None, *, through_pauses: bool = True
    ) -> JobRecord:
        """As `ChatQueue.wait`."""
        return await drive_async(
            self._core.wait(job_id, timeout, through_pauses=through_pauses), self._server
        )

    async def stream(self, connection: str, prompt: str | None = None, **keys: Any) -> AsyncIterator[str]:
        """As `ChatQueue.stream`: `async for piece in queue.stream("demo", "Say hi")`."""
        job = await self.enqueue(connection, prompt, **keys, stream=True)
        text, position, over = GrowingText(), 0, False
        while not over:
            position, over, deltas = await self.deltas_page(job.id, position)
            for piece in text.pieces(deltas):
                yield piece
        if rest := text.rest(await self.get(job.id)):
            yield rest

    async def deltas_page(
        self, job_id: str, position: int = 0
    ) -> tuple[int, bool, list[list[dict[str, Any]]]]:
        """As `ChatQueue.deltas_page`."""
        return await drive_async(self._core.deltas(job_id, position), self._server)

    async def why(self, job_id: str) -> Why:
        """As `ChatQueue.why`."""
        return await drive_async(self._core.why(job_id), self._server)

    async def cancel(self, job_id: str) -> JobRecord:
        """As `ChatQueue.cancel`."""
        return await drive_async(self._core.cancel(job_id), self._server)

    async def delete(self, job_id: str) -> None:
        """As `ChatQueue.delete`."""
        await drive_async(self._core.delete(job_id), self._server)

    async def enqueue_batch(
        self,
        jobs: Iterable[JobLike] | AsyncIterable[JobLike],
        connection: str | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> Batch:
        """As `ChatQueue.enqueue_batch`; the iterable may be asynchronous."""
        batch_id = await self.open_batch(metadata, max_cost=max_cost, max_tokens=max_tokens)
        counted = Counted(jobs)
        try:
            await self.add_to_batch(batch_id, counted, connection)
        except UnknownPrice:
            await self.give_up_batch(batch_id)
            raise
        except BaseException as error:
            await self.cancel_batch(batch_id)
            if not isinstance(error, Exception):
                raise
            raise interrupted(batch_id, counted.count, error) from error
        return await self.seal_batch(batch_id)

    async def open_batch(
        self,
        metadata: Mapping[str, str] | None = None,
        *,
        batch_id: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
    ) -> str:
        """As `ChatQueue.open_batch`."""
        opened = self._core.open_batch(
            metadata or {}, batch_id=batch_id, max_cost=max_cost, max_tokens=max_tokens
        )
        return await drive_async(opened, self._server)

    async def add_to_batch(
        self,
        batch_id: str,
        jobs: Iterable[JobLike] | AsyncIterable[JobLike],
        connection: str | None = None,
    ) -> int:
        """As `ChatQueue.add_to_batch`; the iterable may be asynchronous."""
        count, chunk = 0, Chunk()
        async for job in each(jobs):
            if chunk.add(await drive_async(self._core.entry(as_job(job, connection)), self._server)):
                await self._to_batch(batch_id, chunk)
                count, chunk = count + len(chunk.entries), Chunk()
        if chunk.entries:
            await self._to_batch(batch_id, chunk)
        return count + len(chunk.entries)

    async def _to_batch(self, batch_id: str, chunk: Chunk) -> None:
        await drive_async(self._core.must_be_priced(batch_id, chunk.entries), self._server)
        await drive_async(self._core.add_to_batch(batch_id, chunk.entries), self._server)

    async def seal_batch(self, batch_id: str) -> Batch:
        """As `ChatQueue.seal_batch`."""
        return await drive_async(self._core.seal(batch_id), self._server)

    async def batch(self, batch_id: str) -> Batch:
        """As `ChatQueue.batch`."""
        return await drive_async(self._core.batch(batch_id), self._server)

    async def cancel_batch(self, batch_id: str) -> Batch:
        """As `ChatQueue.cancel_batch`."""
        return await drive_async(self._core.cancel_batch(batch_id), self._server)

    async def give_up_batch(self, batch_id: str) -> None:
        """As `ChatQueue.give_up_batch`."""
        await drive_async(self._core.give_up_batch(batch_id), self._server)

    async def batches(self, most: int = 100) -> list[Batch]:
        """As `ChatQueue.batches`."""
        return await drive_async(self._core.batches(most), self._server)

    async def pause_batch(self, batch_id: str) -> Batch:
        """As `ChatQueue.pause_batch`."""
        return await drive_async(self._core.pause_batch(batch_id), self._server)

    async def resume_batch(
        self, batch_id: str, *, max_cost: float | None = None, max_tokens: int | None = None
    ) -> Batch:
        """As `ChatQueue.resume_batch`."""
        resumed = self._core.resume_batch(batch_id, max_cost=max_cost, max_tokens=max_tokens)
        return await drive_async(resumed, self._server)

    async def move_batch(self, batch_id: str, connection: str, model: str | None = None) -> Batch:
        """As `ChatQueue.move_batch`."""
        return await drive_async(self._core.move_batch(batch_id, connection, model), self._server)

    async def retry_batch(
        self,
        batch_id: str,
        *,
        code: str | None = None,
        connection: str | None = None,
        max_cost: float | None = None,
        max_tokens: int | None = None,
        new_id: str | None = None,
    ) -> Batch:
        """As `ChatQueue.retry_batch`."""
        retried = self._core.retry_batch(
            batch_id, code, connection, max_cost=max_cost, max_tokens=max_tokens, new_id=new_id
        )
        return await drive_async(retried, self._server)

    async def retry_failed(self, *, code: str | None = None, connection: str | None = None) -> int:
        """As `ChatQueue.retry_failed`."""
        return await drive_async(self._core.retry_failed(code, connection), self._server)

    async def results_page(
        self,
        batch_id: str,
        cursor: int = 0,
        *,
        follow: bool = False,
        in_order: bool = False,
        wait_s: float = POLL_S,
    ) -> tuple[int, bool, list[JobRecord]]:
        """As `ChatQueue.results_page`."""
        page = self._core.results(batch_id, cursor, follow=follow, in_order=in_order, wait_s=wait_s)
        return await drive_async(page, self._server)

    async def let_go(self, batch_id: str, job_ids: Sequence[str]) -> int:
        """As `ChatQueue.let_go`."""
        return await drive_async(self._core.let_go(batch_id, job_ids), self._server)

    async def results(
        self, batch_id: str, *, follow: bool = False, cursor: int = 0
    ) -> AsyncIterator[JobRecord]:
        """As `ChatQueue.results`."""
        over = False
        while not over:
            before = cursor
            cursor, over, records = await self.results_page(batch_id, cursor, follow=follow)
            for record in records:
                yield record
            if not follow and cursor == before:
                return

    async def check(self, connection: str, timeout: float = 30) -> StatusOutcome:
        """As `ChatQueue.check`."""
        return await drive_async(self._core.check(connection, timeout), self._server)

    async def status(self, connection: str) -> StatusOutcome:
        """As `ChatQueue.status`."""
        return await drive_async(self._core.status(connection), self._server)

    async def models(self, connection: str, timeout: float = 30) -> list[str]:
        """As `ChatQueue.models`."""
        return list((await self.model_list(connection, timeout)).models)

    async def model_list(self, connection: str, timeout: float = 30) -> ModelList:
        """As `ChatQueue.model_list`."""
        return await drive_async(self._core.model_list(connection, timeout), self._server)

    async def test_message(self, connection: str, timeout: float = 120) -> JobRecord:
        """As `ChatQueue.test_message`."""
        return await drive_async(self._core.test_message(connection, timeout), self._server)

    async def pause(self, connection: str, message: str = PAUSED_BY_HAND) -> None:
        """As `ChatQueue.pause`."""
        await drive_async(self._core.pause(connection, message), self._server)

    async def resume(self, connection: str) -> bool:
        """As `ChatQueue.resume`."""
        return await drive_async(self._core.resume(connection), self._server)

    async def limits(self, connection: str) -> ConnectionLimits:
        """As `ChatQueue.limits`."""
        return await drive_async(self._core.limits(connection), self._server)

    async def settings(self) -> Settings:
        """As `ChatQueue.settings`."""
        return await drive_async(self._core.settings(), self._server)

    async def key_facts(self) -> dict[str, str]:
        """As `ChatQueue.key_facts`."""
        return await drive_async(self._core.key_facts(), self._server)

    async def overview(self) -> dict[str, Any]:
        """As `ChatQueue.overview`."""
        return await drive_async(self._core.overview(), self._server)

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
