"""The one file that talks to providers: a request in, a whole answer out, also where it comes as a stream.

aiohttp itself: a client on top of it takes more time for a call than the call (docs/decisions/0023). Redirects are
refused (they would carry the key elsewhere), cookies are not kept, TLS is verified, the answer's size is bounded while
it is unpacked, so that neither a large answer nor a small one that unpacks to a large one can fill the worker's memory.

A stream is put together as it comes, by what its request names; whoever is to see it earlier has to listen there.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Final, Protocol

import aiohttp
import certifi

from chatq.contract.connection import Timeout
from chatq_worker.failures import CallFailed
from chatq_worker.providers import Answer, Assembly, BrokenStream, Request
from chatq_worker.providers.error_answers import bad_answer
from chatq_worker.providers.event_stream import EventParser

_KEEP_ALIVE_S: Final = 60.0
_USER_AGENT: Final = "chatq"
_GZIP: Final = 16 + zlib.MAX_WBITS
_UNPACKED_AT_ONCE: Final = 65_536
_EVENT_STREAM: Final = "text/event-stream"
_STREAM_BYTES: Final = 16
"""How many bytes of a stream may come for each that an answer may have: an event of 130 bytes brings a word."""
STREAM_SILENCE_S: Final = 180.0
"""A stream in which nothing comes for so long, not even a ping or a comment, has died unnoticed."""


class ProviderClient(Protocol):
    """Sends requests to providers."""

    async def send(self, request: Request, timeout: Timeout) -> Answer:
        """Make the call. Raises `CallFailed` when no whole answer came within `timeout`."""


class HttpProviderClient:
    """One HTTP client for one event loop. `answer_bytes()`: the largest answer accepted, asked at each call."""

    def __init__(
        self, *, answer_bytes: Callable[[], int], stream_silence_s: float = STREAM_SILENCE_S
    ) -> None:
        self._answer_bytes = answer_bytes
        self._stream_silence_s = stream_silence_s
        self._session: aiohttp.ClientSession | None = None

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
        if self._session is None:
            self._session = _session()
        head: Answer | None = None
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers={"user-agent": _USER_AGENT, "accept-encoding": "gzip", **request.headers},
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=timeout.connect, sock_read=timeout.total),
            ) as response:
                head = Answer(response.status, _headers(response), b"")
                if request.assembly is not None and _is_stream(head):
                    return await self._assembled(
                        head, response.content, request.assembly(), self._answer_bytes()
                    )
                return await _whole(head, response.content, self._answer_bytes())
        except aiohttp.ClientError as error:
            raise _failure(_untied(error), timeout, answered=head is not None) from None

    async def _assembled(
        self, head: Answer, content: aiohttp.StreamReader, assembly: Assembly, most: int
    ) -> Answer:
        """The answer that a stream makes. What may come after its last event is not waited for."""
        try:
            await self._fill(assembly, head, content, most)
            body = assembly.whole()
        except BrokenStream as broken:
            raise bad_answer(head, str(broken)) from None
        if len(body) > most:
            raise _too_large(head, most)
        return replace(head, body=body)

    async def _fill(self, assembly: Assembly, head: Answer, content: aiohttp.StreamReader, most: int) -> None:
        """Give `assembly` the events, as long as what is kept of them, there and here, is not too much."""
        unpacker, parser, taken = _Unpacker(head), EventParser(), 0
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._stream_silence_s) as silence:
                async for packed in content.iter_any():
                    silence.reschedule(now() + self._stream_silence_s)
                    for piece in unpacker.feed(packed):
                        if any(map(assembly.add, parser.feed(piece))):
                            return
                        taken += len(piece)
                        kept = parser.held + assembly.size
                        if kept > most or taken > _STREAM_BYTES * most:
                            raise _too_large(head, most)
        except TimeoutError:
            raise CallFailed(
                "timeout",
                f"The provider fell silent for {self._stream_silence_s:g} s in the middle of its answer.",
                http_status=head.status,
            ) from None
        unpacker.end()
        any(map(assembly.add, parser.end()))

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


def _session() -> aiohttp.ClientSession:
    # No limit of connections, because the ledger limits calls.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S, ssl=authorities())
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    )


def authorities() -> ssl.SSLContext:
    """Whose certificates are accepted: of the files that OpenSSL's variables name, else of certifi's authorities."""
    return _read_authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _read_authorities(*named: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if any(named) else certifi.where())


def _headers(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        if not value.isascii():  # what is not UTF-8 comes as lone surrogates, which no JSON can carry
            value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _whole(head: Answer, content: aiohttp.StreamReader, most: int) -> Answer:
    unpacker, body = _Unpacker(head), bytearray()
    async for packed in content.iter_any():
        for piece in unpacker.feed(packed):
            body += piece
            if len(body) > most:
                raise _too_large(head, most)
    unpacker.end()
    return replace(head, body=bytes(body))


def _too_large(head: Answer, most: int) -> CallFailed:
    return CallFailed(
        "answer_too_large",
        f"The provider's answer is larger than {most:,} bytes (bounds.answer_bytes).",
        http_status=head.status,
    )


def _is_stream(head: Answer) -> bool:
    kind = head.headers.get("content-type", "")
    return 200 <= head.status < 300 and kind.partition(";")[0].strip().lower() == _EVENT_STREAM


class _Unpacker:
    """Takes the compression off a body, in pieces that are never large.

    aiohttp's own decoders unpack a whole piece at once, and 16 kB can hold 16 MB.
    """

    def __init__(self, head: Answer) -> None:
        self._head = head
        encoding = head.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise self._bad("compressed in a way that was not asked for")
        self._gzip = zlib.decompressobj(_GZIP) if encoding.endswith("gzip") else None
        self._begun = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What the next piece holds. Raises `CallFailed` when it is not compressed as the answer says."""
        if self._gzip is None:
            yield packed
            return
        self._begun = self._begun or bool(packed)
        while not self._gzip.eof:  # what follows the end of the data is padding
            try:
                piece = self._gzip.decompress(packed, _UNPACKED_AT_ONCE)
            except zlib.error:
                raise self._bad("not compressed as it says") from None
            packed = self._gzip.unconsumed_tail
            if piece:
                yield piece
            if not packed and len(piece) < _UNPACKED_AT_ONCE:
                return

    def end(self) -> None:
        """Nothing more comes. Raises `CallFailed` when the compression ended too early."""
        if self._begun and self._gzip is not None and not self._gzip.eof:
            raise self._bad("cut off in the middle of its compressed data")

    def _bad(self, what: str) -> CallFailed:
        return bad_answer(self._head, what)


def _untied(error: aiohttp.ClientError) -> aiohttp.ClientError:
    """The error, parted like those behind it from its traceback, which makes a ring of aiohttp's stream and error."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__
    return error


def _failure(error: aiohttp.ClientError, timeout: Timeout, *, answered: bool) -> CallFailed:
    """What an error of the HTTP client means. `answered`: whether the head of an answer had come."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return CallFailed(
            "connect_error",
            f"The provider cannot be reached: no address is known for {error.host} ({_reason(error)}).",
            remedy="Check the host's name in the connection's url, and this machine's DNS and network.",
            sent=False,
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CallFailed(
            "connect_error",
            f"The provider's TLS certificate is not accepted: {_certificate_fault(error)}.",
            remedy="Check the host's name in the connection's url; for a server whose certificate is your own set "
            "SSL_CERT_FILE for the workers, and restart them.",
            sent=False,
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return CallFailed(
            "connect_error",
            f"No TLS connection to the provider could be made: {_reason(error)}.",
            remedy="Check the connection's url: does its server speak http:// rather than https://?",
            sent=False,
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return CallFailed("connect_error", f"The provider cannot be reached: {_reason(error)}.", sent=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return CallFailed(
            "connect_error",
            f"The provider did not accept a connection within {timeout.connect:g} s (timeout.connect).",
            sent=False,
        )
    if isinstance(error, aiohttp.ServerTimeoutError):
        return CallFailed("timeout", "The provider was silent for too long.")
    when = "in the middle of its answer" if answered else "before it answered"
    return CallFailed(
        "connect_error",
        f"The provider broke off {when}: {_reason(error)}.",
        remedy="See the provider's status page, or the log of its server; then enqueue the job again.",
    )


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
    return _IN_WORDS.get(type(cause).__name__, type(cause).__name__)


_IN_WORDS: Final = {
    "ServerDisconnectedError": "it closed the connection",
    "TransferEncodingError": "the end of the answer is missing",
    "ContentLengthError": "the answer is shorter than it said",
}
"""What aiohttp's errors without a text mean."""
