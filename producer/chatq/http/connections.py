"""`/v1/connections` and `/v1/models`: what there is to ask, and whether it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from chatq.contract.record import JobRecord
from chatq.contract.status import StatusOutcome
from chatq.http.access import Caller
from chatq.http.errors import NotFound, json_response
from chatq.http.front import Front, TheCaller, TheFront
from chatq.http.jobs import record_response
from chatq.http.shapes import ConnectionList, Model, ModelList

LONGEST_CHECK_S = 300.0

ConnectionId = Annotated[str, Path(max_length=128)]

router = APIRouter()


@router.get("/v1/connections", tags=["connections"], responses={200: {"model": ConnectionList}})
async def list_connections(front: TheFront, caller: TheCaller) -> Response:
    """The connections, as `chatq status` has them, each with its `id` and default `model`."""
    overview = await front.ask(front.core.overview())
    data = [
        {"id": name, "object": "connection", "model": front.settings.connections[name].model, **facts}
        for name, facts in overview["connections"].items()
        if caller.may_use(name)
    ]
    return json_response({"object": "list", "data": data})


@router.post(
    "/v1/connections/{connection_id}/check", tags=["connections"], responses={200: {"model": StatusOutcome}}
)
async def check_connection(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    connection_id: ConnectionId,
    timeout: Annotated[float, Query(ge=1, le=LONGEST_CHECK_S, allow_inf_nan=False)] = 30,
) -> Response:
    """Have a worker check a connection; the outcome."""
    caller.must_know(connection_id, front.settings)
    with front.a_wait():
        outcome = await front.while_there(request, front.ask(front.core.check(connection_id, timeout)))
    return json_response(outcome.model_dump(mode="json"))


@router.post(
    "/v1/connections/{connection_id}/test", tags=["connections"], responses={200: {"model": JobRecord}}
)
async def send_test_message(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    connection_id: ConnectionId,
    timeout: Annotated[float, Query(ge=1, le=LONGEST_CHECK_S, allow_inf_nan=False)] = 120,
) -> Response:
    """Send one short message as a job like any other; its final record."""
    caller.must_know(connection_id, front.settings)
    with front.a_wait():
        steps = front.core.test_message(connection_id, timeout, tenant=caller.tenant)
        record = await front.while_there(request, front.ask(steps))
    return record_response(record)


@router.get("/v1/models", tags=["models"], responses={200: {"model": ModelList}})
async def list_models(front: TheFront, caller: TheCaller) -> Response:
    """What a request may name as its `model`: each connection, and `CONNECTION/MODEL` for each model that its last
    check found."""
    return json_response({"object": "list", "data": await _models(front, caller)})


@router.get("/v1/models/{model_id:path}", tags=["models"], responses={200: {"model": Model}})
async def get_model(front: TheFront, caller: TheCaller, model_id: str) -> Response:
    """One of them."""
    for model in await _models(front, caller):
        if model["id"] == model_id:
            return json_response(model)
    raise NotFound(f"There is no model {model_id!r:.200}.", remedy="GET /v1/models lists them.")


async def _models(front: Front, caller: Caller) -> list[dict[str, Any]]:
    connections = caller.settings(front.settings).connections
    outcomes = await front.server.run(front.core.ledger.statuses(list(connections)))
    found = []
    for (name, connection), outcome in zip(connections.items(), outcomes, strict=True):
        checked = orjson.loads(outcome) if outcome else {}
        moment = checked.get("checked_at")
        created = int(datetime.fromisoformat(moment).timestamp()) if moment else 0
        for model in ("", *checked.get("models", ())):
            model_id = f"{name}/{model}" if model else name
            found.append(
                {"id": model_id, "object": "model", "created": created, "owned_by": connection.source}
            )
    return found
