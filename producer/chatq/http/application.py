"""The application: all paths, and what stands around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Scope

from chatq.contract.errors import ChatQueueError
from chatq.contract.live_settings import LiveSettings
from chatq.contract.settings import Settings
from chatq.core import Core
from chatq.http import batches, completions, connections, files, health, jobs, metrics
from chatq.http.access import Access
from chatq.http.batch_store import BatchStore
from chatq.http.errors import BadRequest, error_body, error_response, json_response
from chatq.http.file_store import FileStore
from chatq.http.front import Front, Gone
from chatq.http.guard import Guard
from chatq.http.keeper_process import KeeperProcess
from chatq.http.page import routes as page
from chatq.http.page.visit import Desk
from chatq.http.shapes import Error, body_schemas
from chatq.ledger.locate import locator
from chatq.ledger.server import AsyncServer

_ROUTERS: Final[tuple[APIRouter, ...]] = (
    completions.router,
    files.router,
    batches.router,
    jobs.router,
    connections.router,
    health.router,
    metrics.router,
    page.router,
)
_DESCRIPTION: Final = """OpenAI's own shapes over a queue: `model` is a connection ID, or CONNECTION/MODEL. Errors are
OpenAI's, with our code and a remedy. `Authorization: Bearer TOKEN`, where tokens are set."""
_GONE: Final = 499
"""Nobody hears it; nginx's number for it, in logs."""


def application(settings: Settings, access: Access) -> tuple[ASGIApp, Front]:
    """The front over the queue of these settings, and what its paths share."""
    folder = Path(settings.http.folder)
    keeper = KeeperProcess(settings)
    live = LiveSettings(settings)
    front = Front(
        live=live,
        core=Core(settings=lambda: live.current, prefix=settings.redis.key_prefix),
        server=AsyncServer(locator(settings.redis)),
        access=access,
        files=FileStore(folder),
        batches=BatchStore(folder),
        tell_keeper=keeper.tell,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if front.batches.to_do():
            keeper.start()
        watching = asyncio.create_task(front.watch_settings(), name="chatq-settings")
        try:
            yield
        finally:
            watching.cancel()
            await keeper.close()
            await front.close()

    app = FastAPI(
        title="chatq",
        version=version("chatq"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": Error}, "5XX": {"model": Error}},
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.front = front
    app.state.desk = Desk.of(access)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(ChatQueueError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Gone, _gone)
    app.add_exception_handler(Exception, _fault)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return Guard(app, settings, open_to_all=access.open), front


async def _told(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ChatQueueError)  # noqa: S101 - as it is registered
    return error_response(error)


async def _invalid(_request: Request, error: Exception) -> Response:
    """A parameter of the path, the query or the headers that is not as it should be."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first: dict[str, Any] = error.errors()[0]
    name = str(first["loc"][-1])
    return error_response(
        BadRequest(f"{name}: {first['msg'].lower()}.", remedy="Correct the request.", param=name)
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Starlette names the methods of the first route of the path; each method has one of its own.
        headers["Allow"] = ", ".join(sorted(_methods(request.scope)))
    path = request.url.path[:200]
    message = {404: f"There is no path {path}.", 405: f"{path} does not take {request.method}."}.get(
        error.status_code
    )
    body = error_body(
        error.status_code,
        "not_found" if error.status_code == 404 else "invalid_request",
        message or str(error.detail),
        "GET /openapi.json lists the paths.",
    )
    return json_response(body, error.status_code, headers)


def _methods(scope: Scope) -> set[str]:
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return {
        method
        for route in routes
        if route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_GONE)


async def _fault(_request: Request, error: Exception) -> Response:
    body = error_body(500, "internal", f"A fault in chatq: {type(error).__name__}.", "Please report it.")
    return json_response(body, 500)


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the bodies that are read by ourselves, and the tokens."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(body_schemas())
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            if path not in ("/healthz", "/readyz"):
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
        app.openapi_schema = document
    return app.openapi_schema
