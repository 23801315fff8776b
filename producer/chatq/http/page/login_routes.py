"""`/login` and `/logout`: a token for a session, and back."""

from __future__ import annotations

import re
import time
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from chatq.http.page.forms import form_from_here
from chatq.http.page.page_route import PageRoute, give_cookie
from chatq.http.page.rendering import page
from chatq.http.page.session import COOKIE, SESSION_S
from chatq.http.page.visit import TheDesk, TheForm

_OWN_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")
"""A path of this site, which no browser takes for the address of another."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/login")
async def login_form(desk: TheDesk, next: str = "/") -> Response:  # noqa: A002 - as the address has it
    """Asks for a token."""
    if desk.sessions.open:
        return RedirectResponse("/", 303)
    return page("login.html", session=None, next=own_path(next), wrong=False)


@router.post("/login")
async def log_in(request: Request, desk: TheDesk) -> Response:
    """Makes a session, and leads to where its holder wanted to go."""
    form = await form_from_here(request)
    if desk.sessions.open:
        return RedirectResponse("/", 303)
    address, now_s = request.client.host if request.client else "", time.time()
    desk.throttle.check(address, now_s)
    wanted = own_path(form.get("next", "/"))
    cookie = desk.sessions.log_in(form.get("token", "").strip(), now_s)
    if cookie is None:
        desk.throttle.failed(address, now_s)
        return page("login.html", 401, session=None, next=wanted, wrong=True)
    response = RedirectResponse(wanted, 303)
    give_cookie(request, response, cookie, for_s=SESSION_S)
    return response


@router.post("/logout")
async def log_out(_form: TheForm) -> Response:
    """Takes the cookie away."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def own_path(wanted: str) -> str:
    """Where to go after the login: a path of this site, else its start."""
    return wanted if _OWN_PATH.fullmatch(wanted) else "/"
