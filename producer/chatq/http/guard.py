"""What is refused before anything looks at it: foreign hosts, bodies that are too large or come too slowly, and what
a web page could make a browser send.

While no token is asked for, whoever reaches the port may spend money. So only hosts that are known are answered (a
name that was rebound to this address is not), and nothing that a page can send without the browser asking first: a body
has to be JSON, or the request to have an `Authorization` header, whatever it says. Our own page sends forms: those it
looks at itself, with tokens or without (`page/forms.py`).
Source: Fetch standard, "CORS-safelisted request-header" and "CORS-preflight fetch".
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Settings
from chatq.http.errors import BadRequest, error_response

logger = logging.getLogger(__name__)

BODY_S: Final = 30.0
"""A body that has not come by then must have come at `_SLOWEST` at least."""
_SLOWEST: Final = 10_000
"""Bytes a second."""
SEND_S: Final = 60.0
"""How long one who reads his answer may take nothing of it."""
_FRAME_BYTES: Final = 1 << 20
"""What may be around the file of an upload."""
_SPELLED_OUT: Final = 3
"""As in batch files: JSON can spell a character out."""
_UPLOADS: Final = "/v1/files"
_HEADERS: Final = {
    # Prompts and answers are kept by no browser and no proxy, and are never taken for a page, whatever is in them.
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""Of every answer that does not say something else itself."""
_PAGES: Final = frozenset({"login", "logout", "connections", "batches", "jobs"})
"""The first parts of the paths of our own page that take forms."""


class Guard:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, settings: Settings, *, open_to_all: bool) -> None:
        """`open_to_all`: no token is asked for."""
        self._app = app
        self._hosts = frozenset(settings.http.allow_hosts) if open_to_all else None
        self._longest = _SPELLED_OUT * int(settings.bounds.job_bytes)
        self._longest_upload = int(settings.http.upload_bytes) + _FRAME_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _headed(send)
        headers = Headers(scope=scope)
        longest = self._longest_upload if scope["path"].rstrip("/") == _UPLOADS else self._longest
        try:
            self._check(scope, headers, longest)
        except ChatQueueError as error:
            await error_response(error)(scope, receive, send)
            return
        try:
            await self._app(scope, _bounded(receive, longest), _impatient(send))
        except _NotReading:
            pass
        except Exception as error:
            # The application has answered that there is a fault. Only its kind and place are told: its text could hold
            # a part of a prompt.
            logger.error("fault in chatq: %s at %s", type(error).__name__, _where(error))

    def _check(self, scope: Scope, headers: Headers, longest: int) -> None:
        if self._hosts is not None:
            host = _host(headers.get("host", ""))
            if host not in self._hosts:
                raise BadRequest(
                    f"This front does not answer for the host {host[:100]!r}.",
                    remedy="Without tokens it answers for http.allow_hosts only; ask it by one of them, or set tokens.",
                    status=403,
                )
            is_page = scope["path"].removeprefix("/").partition("/")[0] in _PAGES
            if scope["method"] not in {"GET", "HEAD", "OPTIONS"} and not is_page:
                _not_from_a_page(headers)
        length = headers.get("content-length", "")
        if length.isdigit() and len(length) < 20 and int(length) > longest:
            raise _too_large(longest)


def _not_from_a_page(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    is_plain = has_body and kind != "application/json"
    is_bare = not has_body and "origin" in headers
    if (is_plain or is_bare) and "authorization" not in headers:
        raise BadRequest(
            f"A body of type {kind[:100] or 'unknown'} is taken without tokens only with an Authorization header.",
            remedy="Send Content-Type: application/json; for an upload any Authorization: Bearer VALUE.",
            status=415,
        )


def _where(error: BaseException) -> str:
    """File and line of an error, without its text."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{Path(last.filename).name}:{last.lineno}"


def _host(header: str) -> str:
    """The host of a `Host` header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()


def _too_large(longest: int) -> BadRequest:
    """The body has more bytes than are taken."""
    return BadRequest(
        f"The request's body has more than {longest:,} bytes.",
        remedy="Send less at once; or raise bounds.job_bytes, for uploads http.upload_bytes, in config.yaml.",
        status=413,
    )


def _bounded(receive: Receive, longest: int) -> Receive:
    """Raises `BadRequest` in the reader, for a body that is too large or does not come."""
    taken, done = 0, False
    started_s = asyncio.get_running_loop().time()

    async def next_message() -> Message:
        nonlocal taken, done
        if done:  # what comes now is the client's leave
            return await receive()
        try:
            async with asyncio.timeout_at(started_s + BODY_S + taken / _SLOWEST):
                message = await receive()
        except TimeoutError:
            raise BadRequest(
                "The request's body did not come.", remedy="Send it again, faster.", status=408
            ) from None
        taken += len(message.get("body", b""))
        done = not message.get("more_body", False)
        if taken > longest:
            raise _too_large(longest)
        return message

    return next_message


def _headed(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers


def _impatient(send: Send) -> Send:
    """Gives up on who does not read: uvicorn waits for room, and holds what was not taken."""

    async def in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await send(message)
        except TimeoutError:
            raise _NotReading from None

    return in_time


class _NotReading(OSError):
    """The client takes nothing of its answer."""
