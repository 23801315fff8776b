"""What the paths of the front share: the queue, the disk, who asks, and waiting for jobs whose client may leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from chatq.contract.errors import ChatQueueError, UnknownJob
from chatq.contract.job import Job
from chatq.contract.json_object import NotAnObject, read_object
from chatq.contract.live_settings import LOOK_S, LiveSettings
from chatq.contract.record import JobRecord
from chatq.contract.settings import Settings
from chatq.core import Core
from chatq.http.access import Access, Caller
from chatq.http.batch_store import BatchStore
from chatq.http.errors import BadRequest, Overloaded, ShuttingDown
from chatq.http.file_store import FileStore
from chatq.ledger.server import AsyncServer
from chatq.logs import fields
from chatq.steps import Steps, drive_async

logger = logging.getLogger(__name__)

T = TypeVar("T")

LINGER_S: Final = 10.0
"""How long a job with an idempotency key goes on without its client: it may come back for it."""


class Gone(Exception):
    """The client has left. Nobody hears an answer."""


@dataclass(slots=True)
class Front:
    """One front, on one event loop."""

    live: LiveSettings
    core: Core
    server: AsyncServer
    access: Access
    files: FileStore
    batches: BatchStore
    tell_keeper: Callable[[str], None]
    """There is something to do about a batch: see `batch_keeper.py`."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the front is to end: who waits is sent away."""
    _waiting: int = 0
    _clients: Counter[str] = field(default_factory=Counter)
    """How many wait for each job."""
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def settings(self) -> Settings:
        """The settings that hold now."""
        return self.live.current

    async def watch_settings(self) -> None:
        """Take up what changes in config.yaml, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.live.look)

    async def ask(self, steps: Steps[T]) -> T:
        """What the ledger says."""
        return await drive_async(steps, self.server)

    async def enqueue(self, job: Job, request: Request) -> JobRecord:
        """The record of a job that is enqueued now, or that was before: see `Core.enqueue`."""
        traceparent = request.headers.get("traceparent", "")
        record = await self.ask(self.core.enqueue(job, traceparent=traceparent))
        told = fields(job=record.id, connection=record.connection, model=job.model, state=record.state.value)
        logger.info("job enqueued", extra=told)
        return record

    async def record(self, job_id: str, caller: Caller) -> JobRecord:
        """A job's record. Raises `UnknownJob`, also for one that is not the caller's."""
        record = await self.ask(self.core.get(job_id))
        if caller.sees(record) or (record.batch and self.batches.is_of(record.batch, caller)):
            return record
        raise UnknownJob(f"There is no job {job_id!r:.140}.", remedy="Check the id.")

    @contextlib.contextmanager
    def a_wait(self) -> Iterator[None]:
        """Room for one that waits. Raises `Overloaded`, `ShuttingDown`."""
        if self.closing.is_set():
            raise _shutting_down()
        if self._waiting >= self.settings.http.waiting:
            raise Overloaded(
                f"{self._waiting:,} requests wait already (http.waiting).",
                remedy="Try again in a moment; or enqueue with POST /v1/jobs and ask for the result later.",
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    @contextlib.contextmanager
    def client_of(self, job_id: str, *, comes_back: bool) -> Iterator[None]:
        """Around waiting for a job: when it ends with `Gone` and nobody else waits here, the job is cancelled; where
        its client can come back for it, a little later. When the front ends it goes on for such a client alone."""
        self._clients[job_id] += 1
        try:
            yield
        except Gone:
            self._let_go_soon(job_id, comes_back=comes_back)
            raise
        except ShuttingDown as error:
            if comes_back:
                remedy = "Send the request again under its Idempotency-Key: the job goes on."
                raise ShuttingDown(error.message, remedy=remedy) from None
            self._let_go_soon(job_id, comes_back=False)
            raise ShuttingDown(
                "This front is shutting down, and the job was cancelled.",
                remedy="Send the request again. Under an Idempotency-Key its job goes on when a front ends.",
            ) from None
        finally:
            self._clients[job_id] -= 1
            if not self._clients[job_id]:
                del self._clients[job_id]

    def _let_go_soon(self, job_id: str, *, comes_back: bool) -> None:
        task = asyncio.create_task(self._let_go(job_id, comes_back=comes_back))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _let_go(self, job_id: str, *, comes_back: bool) -> None:
        if comes_back:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    await self.closing.wait()
                    return  # by another front, its client may find it still
        if not self._clients[job_id]:
            with contextlib.suppress(ChatQueueError):
                await self.ask(self.core.cancel(job_id))

    async def while_there(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work`. Raises `Gone` when the client leaves first, `ShuttingDown` when the front ends."""
        doing = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(left(request))
        ending = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({doing, leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            if leaving.done():
                raise Gone
            raise _shutting_down()
        finally:
            for task in (doing, leaving, ending):
                task.cancel()
            await asyncio.gather(doing, leaving, ending, return_exceptions=True)

    async def close(self) -> None:
        """Let go of what was left, and close the connections."""
        self.closing.set()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self.server.close()


def _shutting_down() -> ShuttingDown:
    return ShuttingDown(
        "This front is shutting down.",
        remedy="Send the request again.",
    )


async def left(request: Request) -> None:
    """Returns when the client has left. To be asked once the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_json(request: Request, *, or_none: bool = False) -> dict[str, Any]:
    """The JSON object in the request's body; an empty one for none, where that may be. Raises `BadRequest`."""
    body = b"".join([piece async for piece in body_of(request)])  # `guard.py` bounds it
    if or_none and not body.strip():
        return {}
    try:
        return read_object(body.decode())
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8 text.", remedy="Send JSON, in UTF-8.") from None
    except NotAnObject as error:
        raise BadRequest(f"The body is not a JSON object: {error}.", remedy="Send a JSON object.") from None


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `Gone`."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Gone from None


def front_of(request: Request) -> Front:
    front: Front = request.app.state.front
    return front


# Coroutines, because FastAPI calls anything else in a thread.
async def _front_of(request: Request) -> Front:
    return front_of(request)


async def _caller_of(request: Request) -> Caller:
    """Who asks. Raises `Unauthorized`."""
    return front_of(request).access.caller(request.headers.get("authorization"))


TheFront = Annotated[Front, Depends(_front_of)]
TheCaller = Annotated[Caller, Depends(_caller_of)]
