"""`/v1/batches`. The front writes a batch down and tells the keeper; counts come from the ledger, live.

Source: OpenAI API reference, "Batch".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from chatq.contract.batch_line import ENDPOINT
from chatq.contract.config_problems import nearest
from chatq.contract.duration import parse_duration
from chatq.contract.errors import UnknownBatch
from chatq.contract.shown import shown
from chatq.core.batches import nothing_to_retry
from chatq.http.access import Caller
from chatq.http.batch_store import ENDED, BatchRecord
from chatq.http.errors import BadRequest, json_response
from chatq.http.files import LONGEST_LIFE_S, SHORTEST_LIFE_S, page_shape
from chatq.http.front import Front, TheCaller, TheFront, read_json
from chatq.http.shapes import BatchBudgets, BatchList, BatchRequest, BatchShape, json_body
from chatq.http.webhooks import check_url
from chatq.logs import fields

logger = logging.getLogger(__name__)

_MOST: Final = 100
_LONGEST_WINDOW_S: Final = 30 * 86_400.0
_MOST_USD: Final = 1e6
_MOST_TOKENS: Final = 10**12
_BUDGETS: Final = ("max_cost", "max_tokens")
_KEYS: Final = (
    "input_file_id",
    "endpoint",
    "completion_window",
    "metadata",
    "connection",
    "output_expires_after",
    "webhook_url",
    *_BUDGETS,
)

BatchId = Annotated[str, Path(max_length=128)]

router = APIRouter(tags=["batches"])


@router.post("/v1/batches", responses={200: {"model": BatchShape}}, openapi_extra=json_body(BatchRequest))
async def create_batch(request: Request, front: TheFront, caller: TheCaller) -> Response:
    """Run a file as a batch. `completion_window`: `24h`, or any duration up to 30 days; what has not begun by then
    expires. Beyond OpenAI's keys: `connection`, for lines that name none; `max_cost` and `max_tokens`, its budgets;
    `webhook_url`: who is told of its end."""
    body = await read_json(request)
    facts = _facts(body, front, caller)
    stored = await asyncio.to_thread(front.files.get, facts["input_file_id"], caller)
    record = await asyncio.to_thread(front.batches.make, front.files.path(stored.id), facts)
    logger.info("batch %s", record.status, extra=fields(batch=record.id, state=record.status))
    front.tell_keeper(record.id)
    return json_response(record.shape())


@router.get("/v1/batches", responses={200: {"model": BatchList}})
async def list_batches(
    front: TheFront,
    caller: TheCaller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 20,
) -> Response:
    """Batches, the newest first; `after`: the last id of the page before."""
    found, more = await asyncio.to_thread(front.batches.page, caller, after=after, limit=limit)
    shapes = [(await _live(record, front)).shape() for record in found]
    return json_response(page_shape(shapes, more))


@router.get("/v1/batches/{batch_id}", responses={200: {"model": BatchShape}})
async def get_batch(front: TheFront, caller: TheCaller, batch_id: BatchId) -> Response:
    """A batch, with its counts now."""
    record = await asyncio.to_thread(front.batches.get, batch_id, caller)
    return json_response((await _live(record, front)).shape())


@router.post("/v1/batches/{batch_id}/cancel", responses={200: {"model": BatchShape}})
async def cancel_batch(front: TheFront, caller: TheCaller, batch_id: BatchId) -> Response:
    """Cancel what is not done of a batch. What is done stays, and is in its output file."""
    record = await asyncio.to_thread(front.batches.get, batch_id, caller)
    if record.status in ENDED:
        raise BadRequest(
            f"The batch has ended: {record.status}.", remedy="There is nothing to cancel.", status=409
        )
    await asyncio.to_thread(front.batches.cancel, batch_id)
    # The mark is for who runs it, also where nothing of it is enqueued yet; the clock of the workers does the rest.
    await front.server.run(front.core.ledger.cancel_batch(batch_id))
    front.tell_keeper(batch_id)
    record = await asyncio.to_thread(front.batches.get, batch_id, caller)
    return json_response((await _live(record, front)).shape())


@router.post("/v1/batches/{batch_id}/pause", responses={200: {"model": BatchShape}})
async def pause_batch(front: TheFront, caller: TheCaller, batch_id: BatchId) -> Response:
    """Begin no more of a batch until it is resumed. What runs goes on."""
    record = await asyncio.to_thread(front.batches.get, batch_id, caller)
    await front.ask(front.core.pause_batch(batch_id))
    return json_response((await _live(record, front)).shape())


@router.post(
    "/v1/batches/{batch_id}/resume",
    responses={200: {"model": BatchShape}},
    openapi_extra=json_body(BatchBudgets, required=False),
)
async def resume_batch(request: Request, front: TheFront, caller: TheCaller, batch_id: BatchId) -> Response:
    """Go on with a paused batch. `max_cost`, `max_tokens`: its budgets from now on, larger where one is used up."""
    record = await asyncio.to_thread(front.batches.get, batch_id, caller)
    body = await read_json(request, or_none=True)
    _must_know(body, _BUDGETS)
    max_cost, max_tokens = _budgets(body)
    await front.ask(front.core.resume_batch(batch_id, max_cost=max_cost, max_tokens=max_tokens))
    return json_response((await _live(record, front)).shape())


@router.post(
    "/v1/batches/{batch_id}/retry",
    responses={200: {"model": BatchShape}},
    openapi_extra=json_body(BatchBudgets, required=False),
)
async def retry_batch(request: Request, front: TheFront, caller: TheCaller, batch_id: BatchId) -> Response:
    """Try the failed jobs of a batch again, each once, as a new batch; that. `max_cost`, `max_tokens`: its budgets;
    default: what is left of the old one's."""
    body = await read_json(request, or_none=True)
    _must_know(body, _BUDGETS)
    return json_response((await retry(front, caller, batch_id, _budgets(body))).shape())


async def retry(
    front: Front, caller: Caller, batch_id: str, budgets: tuple[float | None, int | None] = (None, None)
) -> BatchRecord:
    """A new batch of the failed jobs of another. `budgets`: as `_budgets`; default: what is left of the other's. Raises
    `NotFound`; `UnknownBatch` when the other is not kept any more; `NothingToRetry` when none of it failed, or nothing
    of it was enqueued."""
    old = await asyncio.to_thread(front.batches.get, batch_id, caller)
    try:
        batch = await front.ask(front.core.batch(batch_id))
    except UnknownBatch:
        if old.status == "failed":
            raise nothing_to_retry(batch_id) from None
        raise
    if not batch.counts.failed:
        raise nothing_to_retry(batch_id)
    kept = (
        "input_file_id",
        "completion_window",
        "window_s",
        "tenant",
        "connections",
        "connection",
        "metadata",
    )
    facts = {name: getattr(old, name) for name in (*kept, "output_life_s", "webhook_url")}
    facts |= {"retry_of": batch_id, "max_cost": budgets[0], "max_tokens": budgets[1]}
    record = await asyncio.to_thread(front.batches.make, None, facts)
    front.tell_keeper(record.id)
    return record


async def _live(record: BatchRecord, front: Front) -> BatchRecord:
    """The record with the counts of this moment."""
    if record.status not in ENDED:
        with contextlib.suppress(UnknownBatch):  # nothing of it is enqueued yet
            record.count(await front.ask(front.core.batch(record.id)))
    return record


def _facts(body: dict[str, Any], front: Front, caller: Caller) -> dict[str, Any]:
    """What a new batch is made of. Raises `BadRequest`."""
    _must_know(body, _KEYS)
    max_cost, max_tokens = _budgets(body)
    file_id, connection, metadata = body.get("input_file_id"), body.get("connection"), body.get("metadata")
    if not isinstance(file_id, str):
        raise _wrong("input_file_id", f"expected the id of a file, got {shown(file_id)}.")
    if body.get("endpoint") != ENDPOINT:
        raise _wrong("endpoint", f"expected {ENDPOINT}, got {shown(body.get('endpoint'))}.")
    if connection is not None:
        if not isinstance(connection, str):
            raise _wrong("connection", f"expected a connection, got {shown(connection)}.")
        caller.must_know(connection, front.settings)
    return {
        "input_file_id": file_id,
        "completion_window": body.get("completion_window"),
        "window_s": _window_s(body.get("completion_window")),
        "tenant": caller.tenant,
        "connections": None if caller.connections is None else sorted(caller.connections),
        "connection": connection,
        "metadata": _metadata(metadata),
        "max_cost": max_cost,
        "max_tokens": max_tokens,
        "output_life_s": _output_life_s(body.get("output_expires_after")),
        "webhook_url": None
        if body.get("webhook_url") is None
        else check_url(body["webhook_url"], front.settings.http.webhooks),
    }


def _must_know(body: dict[str, Any], keys: tuple[str, ...]) -> None:
    for name in body:
        if name not in keys:
            near = nearest(name, keys)
            raise _wrong(name, "unknown key" + (f' (did you mean "{near}"?).' if near else "."))


def _budgets(body: dict[str, Any]) -> tuple[float | None, int | None]:
    """`max_cost` and `max_tokens`."""
    cost, tokens = body.get("max_cost"), body.get("max_tokens")
    if cost is not None and (type(cost) not in (int, float) or not 0 < cost <= _MOST_USD):
        raise _wrong("max_cost", f"expected US dollars, more than 0, got {shown(cost)}.")
    if tokens is not None and (type(tokens) is not int or not 0 < tokens <= _MOST_TOKENS):
        raise _wrong("max_tokens", f"expected a number of tokens, more than 0, got {shown(tokens)}.")
    return None if cost is None else float(cost), tokens


def _window_s(window: object) -> float:
    try:
        seconds = parse_duration(window) if isinstance(window, str) else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_WINDOW_S:
        raise _wrong("completion_window", f"expected a duration such as 24h, up to 30d, got {shown(window)}.")
    return seconds


def _output_life_s(expiry: object) -> int | None:
    if expiry is None:
        return None
    seconds = (
        expiry.get("seconds") if isinstance(expiry, dict) and expiry.get("anchor") == "created_at" else None
    )
    if type(seconds) is not int or not SHORTEST_LIFE_S <= seconds <= LONGEST_LIFE_S:
        raise _wrong(
            "output_expires_after",
            f'expected {{"anchor": "created_at", "seconds": {SHORTEST_LIFE_S} to {LONGEST_LIFE_S}}}.',
        )
    return seconds


def _metadata(metadata: object) -> dict[str, str]:
    """Source: OpenAI API reference: 16 pairs, keys of 64 and values of 512 characters."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or len(metadata) > 16:
        raise _wrong("metadata", "expected at most 16 pairs of texts.")
    for key, value in metadata.items():
        if not isinstance(value, str) or len(key) > 64 or len(value) > 512:
            raise _wrong("metadata", "expected keys of at most 64 characters, and texts of at most 512.")
    return metadata


def _wrong(param: str, what: str) -> BadRequest:
    return BadRequest(
        f"{param}: {what}"[:1000], remedy="Correct the request; no batch was made.", param=param[:100]
    )
