"""All paths of the page. None is in the OpenAPI document: they are for browsers.

What changes something is a form that is sent with POST (`forms.py`). Without JavaScript it leads to the page that
shows what came of it; htmx is given what came of it as a part of the page."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from chatq.http.errors import NotFound
from chatq.http.page import batch_routes, connection_routes, job_routes, login_routes
from chatq.http.page.page_route import PageRoute
from chatq.http.page.static_files import static_files

_KEEP_S: Final = 31_536_000
"""For so long a browser may keep a file: its address changes with what is in it."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)
for part in (login_routes, connection_routes, batch_routes, job_routes):
    router.include_router(part.router)


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    """A file that is the same for everybody. Needs no login."""
    found = static_files().get(name)
    if found is None:
        raise NotFound("There is no such file.", remedy="Reload the page.")
    return Response(
        found.body,
        headers={"content-type": found.kind, "cache-control": f"public, max-age={_KEEP_S}, immutable"},
    )
