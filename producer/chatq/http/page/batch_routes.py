"""`/batches` and `/batches/ID`: how batches go, what can be done about them, and their files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from chatq.http import batches as api
from chatq.http.access import Caller
from chatq.http.batch_store import BatchRecord
from chatq.http.batches import BatchId
from chatq.http.download import Download
from chatq.http.errors import BadRequest, NotFound
from chatq.http.front import Front, TheFront
from chatq.http.page import batch_view
from chatq.http.page.page_route import PageRoute
from chatq.http.page.rendering import page
from chatq.http.page.visit import TheDesk, TheForm, TheSession, came_of_it

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/batches")
async def list_batches(front: TheFront, desk: TheDesk, session: TheSession) -> Response:
    """The newest."""
    found = await batch_view.batches(front, session.caller, desk.pace)
    return page("batches.html", session=session, batches=found, most=batch_view.MOST, now=datetime.now(UTC))


@router.get("/batches/{batch_id}")
async def batch(front: TheFront, desk: TheDesk, session: TheSession, batch_id: BatchId) -> Response:
    """One of them."""
    view = await batch_view.batch(front, session.caller, desk.pace, batch_id)
    return page("batch.html", session=session, batch=view, now=datetime.now(UTC))


@router.post("/batches/{batch_id}/pause")
async def pause(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, batch_id: BatchId
) -> Response:
    """Begins no more of it."""
    await batch_view.record_of(front, session.caller, batch_id)
    await front.ask(front.core.pause_batch(batch_id))
    return _said(request, batch_id, "The batch is paused.", "What runs of it goes on; the rest waits.")


@router.post("/batches/{batch_id}/resume")
async def resume(
    request: Request, front: TheFront, session: TheSession, form: TheForm, batch_id: BatchId
) -> Response:
    """Goes on with it, with larger budgets if they are named."""
    await batch_view.record_of(front, session.caller, batch_id)
    max_cost, max_tokens = _number(form, "max_cost"), _number(form, "max_tokens")
    steps = front.core.resume_batch(
        batch_id, max_cost=max_cost, max_tokens=None if max_tokens is None else int(max_tokens)
    )
    await front.ask(steps)
    return _said(request, batch_id, "The batch goes on.")


@router.post("/batches/{batch_id}/cancel")
async def cancel(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, batch_id: BatchId
) -> Response:
    """Cancels what is not done of it."""
    if await batch_view.record_of(front, session.caller, batch_id) is not None:
        await api.cancel_batch(front, session.caller, batch_id)
    elif await front.server.run(front.core.ledger.cancel_batch(batch_id)) == "unknown":
        raise NotFound(f"There is no batch {batch_id!r:.80}.", remedy="Check the id.")
    return _said(request, batch_id, "The batch is being cancelled.", "What is done of it stays.")


@router.post("/batches/{batch_id}/retry")
async def retry(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, batch_id: BatchId
) -> Response:
    """Tries its failed jobs again, as a new batch."""
    if await batch_view.record_of(front, session.caller, batch_id) is not None:
        new_id = (await api.retry(front, session.caller, batch_id)).id
    else:
        new_id = (await front.ask(front.core.retry_batch(batch_id, None, None))).id
    return came_of_it(request, f"/batches/{new_id}", "said_retry.html", old_id=batch_id, new_id=new_id)


@router.get("/batches/{batch_id}/output")
async def output(front: TheFront, session: TheSession, batch_id: BatchId) -> Response:
    """The file of what went well."""
    record = await _of_front(front, session.caller, batch_id)
    return await _file(front, session.caller, record.output_file_id)


@router.get("/batches/{batch_id}/errors")
async def errors(front: TheFront, session: TheSession, batch_id: BatchId) -> Response:
    """The file of what did not."""
    record = await _of_front(front, session.caller, batch_id)
    return await _file(front, session.caller, record.error_file_id)


async def _of_front(front: Front, caller: Caller, batch_id: str) -> BatchRecord:
    return await asyncio.to_thread(front.batches.get, batch_id, caller)


async def _file(front: Front, caller: Caller, file_id: str | None) -> Response:
    if file_id is None:
        raise NotFound(
            "The batch has no such file.", remedy="It is there when the batch has ended, if it is not empty."
        )
    stored = await asyncio.to_thread(front.files.get, file_id, caller)
    return await asyncio.to_thread(Download, front.files, stored)


def _said(request: Request, batch_id: str, what: str, more: str = "") -> Response:
    return came_of_it(request, f"/batches/{batch_id}", "said.html", what=what, more=more)


def _number(form: Mapping[str, str], name: str) -> float | None:
    """A budget; None: none is named. What is none is refused further in."""
    text = form.get(name, "").strip().replace(",", "")
    try:
        number = float(text) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise BadRequest(f"{name}: expected a number.", remedy="Name a number, or leave it empty.")
    return number
