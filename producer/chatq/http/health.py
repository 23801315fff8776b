"""`/healthz`, `/readyz` and `/v1/status`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from chatq.contract.errors import ChatQueueError
from chatq.http.errors import json_response
from chatq.http.front import TheCaller, TheFront
from chatq.http.shapes import Health, Readiness, WholeStatus

router = APIRouter(tags=["status"])


@router.get("/healthz", responses={200: {"model": Health}})
async def healthz() -> Response:
    """This process answers. Needs no token."""
    return json_response({"status": "ok"})


@router.get("/readyz", responses={200: {"model": Readiness}, 503: {"model": Readiness}})
async def readyz(front: TheFront) -> Response:
    """Whether jobs that may go do go; else 503, and what keeps them from it. Needs no token."""
    told: list[dict[str, Any]]
    if front.closing.is_set():
        ready, told = False, [{"message": "This front is shutting down.", "remedy": ""}]
    else:
        try:
            overview = await front.ask(front.core.overview())
            ready, told = overview["ready"], overview["hindrances"]
        except ChatQueueError as error:
            ready, told = False, [{"message": error.message, "remedy": error.remedy}]
    return json_response({"ready": ready, "hindrances": told}, 200 if ready else 503)


@router.get("/v1/status", responses={200: {"model": WholeStatus}})
async def status(front: TheFront, caller: TheCaller) -> Response:
    """The status of the whole, as `chatq status --json`; of connections those that the token may use."""
    overview = await front.ask(front.core.overview())
    if not caller.sees_all:
        mine = {name: facts for name, facts in overview["connections"].items() if caller.may_use(name)}
        overview = {
            "ready": overview["ready"],
            "workers": overview["workers"],
            "slots": overview["slots"],
            "running": sum(facts["running"] for facts in mine.values()),
            "waiting": sum(facts["waiting"] for facts in mine.values()),
            "connections": mine,
        }
    return json_response(overview)
