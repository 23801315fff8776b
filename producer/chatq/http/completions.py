"""`POST /v1/chat/completions`: OpenAI's chat completion, through the queue. The client waits; who leaves cancels.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object"; WHATWG HTML,
Server-sent events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Header, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chatq.contract.chat_request import chat_job
from chatq.contract.errors import ChatQueueError, InvalidJob
from chatq.contract.job import Job
from chatq.contract.record import JobRecord
from chatq.contract.states import State
from chatq.http.access import Caller
from chatq.http.chunks import Chunks
from chatq.http.errors import error_body, failure, json_response, status_of
from chatq.http.front import Front, Gone, TheCaller, TheFront, read_json
from chatq.http.jobs import claimed
from chatq.http.shapes import ChatCompletion, ChatCompletionRequest, json_body

KEEP_ALIVE_S: Final = 15.0
"""How long a stream is silent at most. Before its first event, so long may pass until the head of the answer."""
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_NO_RETRY: Final = {"x-should-retry": "false"}
"""OpenAI's clients heed it. The queue has retried what was worth it."""

router = APIRouter(tags=["chat"])


@router.post(
    "/v1/chat/completions",
    responses={200: {"model": ChatCompletion, "content": {"text/event-stream": {}}}},
    openapi_extra=json_body(ChatCompletionRequest),
)
async def create_chat_completion(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    idempotency_key: Annotated[str | None, Header(max_length=256)] = None,
) -> Response:
    """Wait for a chat completion. `model` is `CONNECTION` or `CONNECTION/MODEL`; `stream` answers in events. Beyond
    OpenAI's keys, `chatq` may hold those of a job (`priority`, `post_processing`, `names`, `expires_in`, ...)."""
    body = await read_json(request)
    stream, options = _stream_options(body)
    job = _job(body, front, caller, stream=stream, idempotency_key=idempotency_key)
    with front.a_wait():
        record = await _enqueue(front, job, request)
        headers = {"x-request-id": record.id}
        if not stream:
            with front.client_of(record.id, comes_back=bool(job.idempotency_key)):
                record = await front.while_there(request, front.ask(front.core.wait(record.id, None)))
            return _whole(record, headers)
        return await EventStream.begun(
            request, front, job, record, headers, usage=bool(options.get("include_usage"))
        )


def _stream_options(body: dict[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    stream, options = body.pop("stream", None), body.pop("stream_options", None)
    if stream is not None and not isinstance(stream, bool):
        raise InvalidJob("stream: expected true or false.", remedy="Correct the request.")
    if options is not None and not isinstance(options, dict):
        raise InvalidJob("stream_options: expected an object.", remedy="Correct the request.")
    if options is not None and not stream:
        raise InvalidJob("stream_options: only a stream has them.", remedy="Leave them out, or set stream.")
    return bool(stream), options or {}


def _job(
    body: dict[str, Any], front: Front, caller: Caller, *, stream: bool, idempotency_key: str | None
) -> Job:
    keys = body.pop("chatq", None) or {}
    if not isinstance(keys, dict) or "connection" in keys or "batch" in keys:
        raise InvalidJob(
            "chatq: expected an object of a job's keys, without its connection.", remedy="Correct it."
        )
    if "messages" not in body and "messages" not in keys and "prompt" not in keys:
        raise InvalidJob("messages: missing.", remedy="Send the chat's messages.")
    keys = dict(keys)
    if idempotency_key is not None:
        keys.setdefault("idempotency_key", idempotency_key)
    if stream:
        keys["stream"] = True
    return claimed(chat_job(body, None, keys), front, caller)


async def _enqueue(front: Front, job: Job, request: Request) -> JobRecord:
    """The job's record; under an idempotency key it may be one that was there before. One that was cancelled, as
    happens when its client leaves, has no result that its client could have come back for: it goes anew."""
    record = await front.enqueue(job, request)
    if job.idempotency_key and record.state is State.CANCELLED:
        await front.ask(front.core.delete(record.id))
        record = await front.enqueue(job, request)
    return record


def _whole(record: JobRecord, headers: dict[str, str]) -> Response:
    if record.result is not None:
        return json_response(record.result.response, 200, headers)
    status, body = failure(record)
    return json_response(body, status, {**headers, **_NO_RETRY})


class EventStream(Response):
    """An answer in events. Its head is sent with the first of them, or when the client has waited for `KEEP_ALIVE_S`;
    so a job that fails before is told by its status, as without a stream."""

    media_type = "text/event-stream"

    def __init__(
        self,
        request: Request,
        front: Front,
        job: Job,
        record: JobRecord,
        headers: dict[str, str],
        *,
        usage: bool,
    ) -> None:
        super().__init__(
            headers={**headers, "x-accel-buffering": "no"},
            media_type=self.media_type,
        )
        del self.headers["content-length"]
        self._request = request
        self._front = front
        self._job = job
        self._id = record.id
        model = job.model or front.settings.connections[job.connection].model or job.connection
        self._chunks = Chunks(record.id, model, int(record.created_at.timestamp()), usage=usage)
        self._position = 0

    @classmethod
    async def begun(
        cls,
        request: Request,
        front: Front,
        job: Job,
        record: JobRecord,
        headers: dict[str, str],
        *,
        usage: bool,
    ) -> Response:
        """The stream with its first event at hand; the answer that tells of a failure when the job failed before."""
        stream = cls(request, front, job, record, headers, usage=usage)
        events = stream._events()
        first = asyncio.ensure_future(anext(events))
        try:
            with front.client_of(record.id, comes_back=bool(job.idempotency_key)):
                await front.while_there(request, _settled(first, KEEP_ALIVE_S))
        except BaseException:
            first.cancel()
            raise
        if first.done():
            try:
                first.result()
            except _Failed as failed:
                return _whole(failed.record, headers)
        stream._first, stream._rest = first, events
        return stream

    _first: asyncio.Future[bytes]
    _rest: AsyncIterator[bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        front, comes_back = self._front, bool(self._job.idempotency_key)
        try:
            with front.a_wait(), front.client_of(self._id, comes_back=comes_back):
                await front.while_there(self._request, self._pump(send))
        except Gone:
            return
        except ChatQueueError as error:
            status = status_of(error)
            await _send(send, _event(error_body(status, error.code, error.message, error.remedy)))
        except _Failed as failed:
            await _send(send, _event(failure(failed.record)[1]))
        await _send(send, b"", more=False)

    async def _pump(self, send: Send) -> None:
        """Send event after event, and something else where they are long in coming."""
        event = self._first
        try:
            while True:
                if not await _settled(event, KEEP_ALIVE_S):
                    await _send(send, _KEEP_ALIVE)
                    continue
                try:
                    await _send(send, event.result())
                except StopAsyncIteration:
                    return
                event = asyncio.ensure_future(anext(self._rest))
        finally:
            event.cancel()

    async def _events(self) -> AsyncIterator[bytes]:
        """The events of the answer. Raises `_Failed` when the job ended without a result, `ChatQueueError`."""
        over = False
        while not over:
            self._position, over, deltas = await self._front.ask(
                self._front.core.deltas(self._id, self._position)
            )
            for choices in deltas:
                yield _event(self._chunks.of(choices))
        record = await self._front.ask(self._front.core.get(self._id))
        if record.result is None:
            raise _Failed(record)
        for chunk in self._chunks.rest(record.result):
            yield _event(chunk)
        yield _DONE


class _Failed(Exception):
    """The job ended without a result."""

    def __init__(self, record: JobRecord) -> None:
        super().__init__()
        self.record = record


async def _settled(future: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it is done within this time."""
    await asyncio.wait([future], timeout=seconds)
    return future.done()


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
