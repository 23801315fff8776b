"""What stands around every answer of the page: headers that keep browsers strict, beside the guard's, and errors told
to a person."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from chatq.contract.errors import ChatQueueError
from chatq.http.access import Unauthorized
from chatq.http.errors import BadRequest, retry_header, status_of
from chatq.http.page.rendering import page
from chatq.http.page.session import COOKIE, Session

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    # Not `no-referrer`: under that browsers do not tell the origin of forms, by which we know our own.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}


class PageRoute(APIRoute):
    """A path of the page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await answer(request)
            except Unauthorized:
                response = _to_login(request)
            except RequestValidationError:
                response = _told(
                    request, BadRequest("There is no such thing.", remedy="Check the address.", status=404)
                )
            except ChatQueueError as error:
                response = _told(request, error)
            session: Session | None = getattr(request.state, "session", None)
            if session is not None and session.is_new:
                give_cookie(request, response, session.cookie, for_s=None)
            response.headers.update(_HEADERS)
            return response

        return guarded


def by_script(request: Request) -> bool:
    """Whether htmx asks: it puts a part into the page that is there."""
    return "hx-request" in request.headers


def secure(request: Request) -> bool:
    """Whether the browser speaks https, perhaps to a proxy before us. Only the browser's own cookie depends on it, so
    it may be believed."""
    origin = request.headers.get("origin", "")
    forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
    return origin.startswith("https:") or forwarded == "https"


def give_cookie(request: Request, response: Response, value: str, *, for_s: int | None) -> None:
    """For this site alone, out of reach of scripts, and never sent with what another site makes the browser ask.
    `for_s`: None: until the browser is closed."""
    response.set_cookie(
        COOKIE, value, max_age=for_s, path="/", secure=secure(request), httponly=True, samesite="strict"
    )


def _to_login(request: Request) -> Response:
    if by_script(request):
        return Response(status_code=401, headers={"hx-redirect": "/login"})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = f"?next={quote(asked, safe='')}" if request.method == "GET" and asked != "/" else ""
    return RedirectResponse(f"/login{wanted}", 303)


def _told(request: Request, error: ChatQueueError) -> Response:
    if by_script(request):
        response = page("said_error.html", status_of(error), error=error)
    else:
        session = getattr(request.state, "session", None)
        response = page("error.html", status_of(error), session=session, error=error)
    response.headers.update(retry_header(error))
    return response
