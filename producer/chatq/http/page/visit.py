"""What the page's paths are given: who visits, the form that came, and what one front remembers for the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from chatq.http.access import Access
from chatq.http.page.batch_pace import BatchPace
from chatq.http.page.forms import own_form
from chatq.http.page.page_route import by_script
from chatq.http.page.rendering import page
from chatq.http.page.session import COOKIE, Session, Sessions
from chatq.http.page.throttle import Throttle


@dataclass(slots=True)
class Desk:
    """What one front remembers for the page."""

    sessions: Sessions
    throttle: Throttle = field(default_factory=Throttle)
    pace: BatchPace = field(default_factory=BatchPace)

    @classmethod
    def of(cls, access: Access) -> Desk:
        return cls(Sessions(access))


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


# Coroutines, because FastAPI calls anything else in a thread.
async def _desk_of(request: Request) -> Desk:
    return desk_of(request)


async def _session_of(request: Request) -> Session:
    """Who visits. Raises `Unauthorized`."""
    session = desk_of(request).sessions.session(request.cookies.get(COOKIE, ""), time.time())
    request.state.session = session
    return session


TheDesk = Annotated[Desk, Depends(_desk_of)]
TheSession = Annotated[Session, Depends(_session_of)]


async def _form_of(request: Request, session: TheSession) -> Mapping[str, str]:
    """Raises `BadRequest` for a form that the page did not send in this session."""
    return await own_form(request, session)


TheForm = Annotated[Mapping[str, str], Depends(_form_of)]


def came_of_it(
    request: Request, to: str, template: str, *, changes: str = "refresh", **facts: Any
) -> Response:
    """What a form led to: to htmx a part of the page that says so, with the events that have others looked at again;
    else the page at `to`, which shows it."""
    if not by_script(request):
        return RedirectResponse(to, 303)
    response = page(template, **facts)
    response.headers["hx-trigger"] = changes
    return response
