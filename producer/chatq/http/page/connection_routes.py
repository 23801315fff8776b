"""`/` and `/connections/ID`: the whole at a glance, and one connection, with what can be done about it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from chatq.contract.connection_limits import Allowance
from chatq.http.access import Caller
from chatq.http.connections import ConnectionId
from chatq.http.errors import BadRequest
from chatq.http.front import Front, TheFront
from chatq.http.page.batch_view import batches
from chatq.http.page.charts import LimitChart, limit_chart
from chatq.http.page.connection_view import CHECKED, LIMIT_WORDS, look
from chatq.http.page.page_route import PageRoute
from chatq.http.page.rendering import page
from chatq.http.page.visit import TheDesk, TheForm, TheSession, came_of_it

_PATIENCE_S: Final = 60.0
"""For a check or a test message. Proxies wait no longer, as a rule."""
_BATCHES: Final = 5

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def overview(front: TheFront, desk: TheDesk, session: TheSession) -> Response:
    """Readiness, workers, connections, the newest batches."""
    caller = session.caller
    whole = await look(front, caller)
    newest = (await batches(front, caller, desk.pace))[:_BATCHES]
    return page("overview.html", session=session, whole=whole, batches=newest, now=whole.now)


@router.get("/connections/{connection_id}")
async def connection(front: TheFront, session: TheSession, connection_id: ConnectionId) -> Response:
    """One connection, with all its limits and models."""
    whole = await look(front, session.caller, only=connection_id)
    (view,) = whole.connections
    limits = await front.ask(front.core.limits(connection_id))
    return page(
        "connection.html",
        session=session,
        whole=whole,
        connection=view,
        limits=limits,
        limit_words=LIMIT_WORDS,
        limit_chart=allowance_chart,
        models=[] if view.check is None else view.check.models,
        now=whole.now,
    )


@router.post("/connections/{connection_id}/check")
async def check(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, connection_id: ConnectionId
) -> Response:
    """Has a worker check the connection."""
    session.caller.must_know(connection_id, front.settings)
    with front.a_wait():
        steps = front.core.check(connection_id, _PATIENCE_S)
        outcome = await front.while_there(request, front.ask(steps))
    return came_of_it(
        request,
        f"/connections/{connection_id}",
        "said_check.html",
        changes="refresh, checked",
        outcome=outcome,
        words=CHECKED[outcome.state],
    )


@router.post("/connections/{connection_id}/test")
async def send_test_message(
    request: Request, front: TheFront, session: TheSession, form: TheForm, connection_id: ConnectionId
) -> Response:
    """Sends one short message through the connection."""
    caller, model = session.caller, form.get("model") or None
    caller.must_know(connection_id, front.settings)
    with front.a_wait():
        steps = front.core.test_message(connection_id, _PATIENCE_S, model=model, tenant=caller.tenant)
        record = await front.while_there(request, front.ask(steps))
    return came_of_it(request, f"/jobs/{record.id}", "said_test.html", record=record)


@router.post("/connections/{connection_id}/pause")
async def pause(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, connection_id: ConnectionId
) -> Response:
    """Begins no more jobs of the connection."""
    _must_operate(front, session.caller, connection_id)
    await front.ask(front.core.pause(connection_id, "Paused by an operator, on the page."))
    return came_of_it(
        request,
        f"/connections/{connection_id}",
        "said.html",
        what=f"{connection_id} is paused.",
        more="What runs goes on; what waits stays in line until it is resumed.",
    )


@router.post("/connections/{connection_id}/resume")
async def resume(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, connection_id: ConnectionId
) -> Response:
    """Ends a pause."""
    _must_operate(front, session.caller, connection_id)
    ended = await front.ask(front.core.resume(connection_id))
    what = f"{connection_id} is resumed." if ended else f"{connection_id} was not paused."
    return came_of_it(request, f"/connections/{connection_id}", "said.html", what=what, more="")


def _must_operate(front: Front, caller: Caller, connection_id: str) -> None:
    """A pause is everybody's: only the operator's tokens make and end one. Raises `UnknownConnection`, `BadRequest`."""
    caller.must_know(connection_id, front.settings)
    if not caller.sees_all:
        raise BadRequest(
            f"Others may use connection {connection_id} too, and your token is not the operator's.",
            remedy="Ask the operator to pause or resume it.",
            status=403,
        )


def allowance_chart(allowance: Allowance) -> LimitChart:
    """What is known of an allowance, and how much of it is used."""
    return limit_chart(
        allowance.holds, allowance.used, set=allowance.set, learned=allowance.learned, found=allowance.found
    )
