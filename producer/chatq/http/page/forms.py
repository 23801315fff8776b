"""What is taken of a form: only one that the page itself sent, in the session that it was made for.

Two proofs, each of which would do: the browser says that the request comes from this very site (`Sec-Fetch-Site`, or
the `Origin` where it says no such thing), and the form carries a token that only the page of this session has.
Source: Fetch Metadata Request Headers; OWASP, "Cross-Site Request Forgery Prevention"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from starlette.datastructures import Headers

from chatq.http.errors import BadRequest
from chatq.http.front import body_of
from chatq.http.page.session import Session

FIELD: Final = "form_token"
_LONGEST: Final = 16_384
_MOST_FIELDS: Final = 20
_RELOAD: Final = "Reload the page, and press the button again."


async def own_form(request: Request, session: Session) -> Mapping[str, str]:
    """The fields of a form of this session. Raises `BadRequest` (403) for any other."""
    fields = await form_from_here(request)
    if not session.made(fields.get(FIELD, "")):
        raise BadRequest(
            "This form is of another session, or of before a restart.", remedy=_RELOAD, status=403
        )
    return fields


async def form_from_here(request: Request) -> Mapping[str, str]:
    """The fields of a form that this site sent. Raises `BadRequest`."""
    if not comes_from_here(request.headers):
        raise BadRequest("This form was not sent by the page itself.", remedy=_RELOAD, status=403)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("That is no form of the page.", remedy=_RELOAD, status=415)
    body = bytearray()
    async for piece in body_of(request):
        body += piece
        if len(body) > _LONGEST:
            raise BadRequest("The form is too long.", remedy=_RELOAD, status=413)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise BadRequest("The form cannot be read.", remedy=_RELOAD) from None


def comes_from_here(headers: Headers) -> bool:
    """Whether the browser says that the request was made by a page of this site.

    `Sec-Fetch-Site` is sent where the page is https, or on this machine. Elsewhere there is the `Origin`, which has to
    be the host that was asked.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(headers.get("origin", "")).netloc
    except ValueError:
        return False
    return bool(origin) and origin.lower() == headers.get("host", "").lower()
