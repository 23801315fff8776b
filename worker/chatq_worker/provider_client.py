"""The one file that talks to providers: a request in, a whole answer out.

httpx over the aiohttp transport, because httpx's own connection pool is quadratic in its connections. Redirects are
refused (they would carry the key elsewhere), TLS is verified, the answer's size is bounded while it is unpacked, so
that neither a large answer nor a small one that unpacks to a large one can fill the worker's memory.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from typing import Final, Protocol

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from chatq.contract.connection import Timeout
from chatq_worker.failures import CallFailed
from chatq_worker.providers import Answer, Request

_CONNECTIONS: Final = 100_000
"""More than any worker has slots; None would mean the transport's own 100. The ledger limits calls, not this."""
_KEEP_ALIVE_S: Final = 60.0
_USER_AGENT: Final = "chatq"
_NOTHING: Final = httpx.ByteStream(b"")
_GZIP: Final = 16 + zlib.MAX_WBITS


class ProviderClient(Protocol):
    """Sends requests to providers."""

    async def send(self, request: Request, timeout: Timeout) -> Answer:
        """Make the call. Raises `CallFailed` when no whole answer came within `timeout`."""


class HttpProviderClient:
    """One HTTP client for one event loop. `answer_bytes`: the largest answer accepted."""

    def __init__(self, *, answer_bytes: int) -> None:
        self._answer_bytes = answer_bytes
        limits = httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S)
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(limits=limits), follow_redirects=False, trust_env=False
        )

    async def send(self, request: Request, timeout: Timeout) -> Answer:
        """Make the call. Raises `CallFailed` when no whole answer came within `timeout`."""
        try:
            async with asyncio.timeout(timeout.total):
                return await self._exchange(request, timeout)
        except TimeoutError:
            raise CallFailed(
                "timeout", f"The provider did not answer within {timeout.total:g} s (timeout.total)."
            ) from None

    async def _exchange(self, request: Request, timeout: Timeout) -> Answer:
        response: httpx.Response | None = None
        try:
            async with self._client.stream(
                request.method,
                request.url,
                headers={"user-agent": _USER_AGENT, "accept-encoding": "gzip", **request.headers},
                content=request.body,
                timeout=httpx.Timeout(timeout.total, connect=timeout.connect, pool=None),
            ) as response:
                body = _Body(response, self._answer_bytes)
                async for chunk in response.aiter_raw():
                    body.add(chunk)
                return Answer(response.status_code, response.headers, body.whole())
        except httpx.HTTPError as error:
            raise _failure(_untied(error), timeout, answered=response is not None) from None
        finally:
            # httpx ties response and stream into a ring, with the request and its prompt in it. Untied it is gone at
            # once, not at some later collection of the garbage.
            if response is not None:
                response.stream = _NOTHING

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class _Body:
    """The body of an answer as it comes in, unpacked, never longer than `most` bytes.

    httpx's own decoders unpack a whole piece at once, and 16 kB can hold 16 MB.
    """

    def __init__(self, response: httpx.Response, most: int) -> None:
        self._status = response.status_code
        self._most = most
        self._body = bytearray()
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise self._bad("compressed in a way that was not asked for")
        self._unpacker = zlib.decompressobj(_GZIP) if encoding.endswith("gzip") else None

    def add(self, chunk: bytes) -> None:
        """Take the next piece. Raises `CallFailed` when the answer is too large, or not compressed as it says."""
        if self._unpacker is None:
            self._body += chunk
        elif not self._unpacker.eof:  # what follows the end of the data is padding
            try:
                self._body += self._unpacker.decompress(chunk, self._most + 1 - len(self._body))
            except zlib.error:
                raise self._bad("not compressed as it says") from None
        if len(self._body) > self._most:
            raise CallFailed(
                "answer_too_large",
                f"The provider's answer is larger than {self._most:,} bytes (bounds.answer_bytes).",
                http_status=self._status,
            )

    def whole(self) -> bytes:
        """The whole body, when nothing more comes. Raises `CallFailed` when its compression ended too early."""
        if self._unpacker is not None and self._body and not self._unpacker.eof:
            raise self._bad("cut off in the middle of its compressed data")
        return bytes(self._body)

    def _bad(self, what: str) -> CallFailed:
        return CallFailed("bad_answer", f"The provider's answer is {what}.", http_status=self._status)


def _untied(error: httpx.HTTPError) -> httpx.HTTPError:
    """The error, parted like those behind it from its traceback, which makes a ring of aiohttp's stream and error."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__
    return error


def _failure(error: httpx.HTTPError, timeout: Timeout, *, answered: bool) -> CallFailed:
    """What an error of the HTTP client means. `answered`: whether the head of an answer had come."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _not_connected(error, timeout)
    if isinstance(error, httpx.TimeoutException):
        return CallFailed("timeout", "The provider was silent for too long.")
    when = "in the middle of its answer" if answered else "before it answered"
    return CallFailed("connect_error", f"The provider broke off {when}: {_reason(error)}.")


def _not_connected(error: httpx.TransportError, timeout: Timeout) -> CallFailed:
    """What an error of the connection means.

    The aiohttp transport gives every one of them the same name, also a connection that broke after the request went
    out; only its cause tells.
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return CallFailed(
            "connect_error",
            f"The provider cannot be reached: no address is known for {cause.host} ({_reason(cause)}).",
            remedy="Check the host's name in the connection's url, and this machine's DNS and network.",
            sent=False,
        )
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return CallFailed(
            "connect_error",
            f"The provider's TLS certificate is not accepted: {_certificate_fault(cause)}.",
            remedy="Check the host's name in the connection's url; for a server whose certificate is your own set "
            "SSL_CERT_FILE for the workers, and restart them.",
            sent=False,
        )
    if isinstance(cause, aiohttp.ClientConnectorSSLError):
        return CallFailed(
            "connect_error",
            f"No TLS connection to the provider could be made: {_reason(cause)}.",
            remedy="Check the connection's url: does its server speak http:// rather than https://?",
            sent=False,
        )
    if isinstance(cause, aiohttp.ClientConnectorError):
        return CallFailed("connect_error", f"The provider cannot be reached: {_reason(cause)}.", sent=False)
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return CallFailed(
            "connect_error",
            f"The provider did not accept a connection within {timeout.connect:g} s (timeout.connect).",
            sent=False,
        )
    return CallFailed("connect_error", f"The provider broke off before it answered: {_reason(error)}.")


def _certificate_fault(error: aiohttp.ClientConnectorCertificateError) -> str:
    fault = error.certificate_error
    return fault.verify_message if isinstance(fault, ssl.SSLCertVerificationError) else type(fault).__name__


def _reason(error: Exception) -> str:
    """The error in a few words, without anything of the request."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError):
        # The event loop's own text repeats the address. Look-ups of names have numbers below zero, TLS its own.
        if cause.errno is not None and cause.errno > 0 and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno)
        return cause.strerror or type(cause).__name__
    return type(cause).__name__
