"""A collector of traces: takes OTLP over HTTP on the loopback, and keeps every span.

It reads the protobuf of OTLP by itself, as far as the tests look: field numbers of `trace.proto`, `common.proto` and
`resource.proto` of opentelemetry-proto 1. What sends it, its own library of the other environment makes.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from installation import until

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Span:
    """A span as it was sent. Ids in hex; moments in ns since 1970."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    is_error: bool
    links: tuple[str, ...]
    """The traces that it is linked to."""


class TraceCollector:
    """Runs within the `with` block."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> list[Span]:
        """What has come so far."""
        return [span for body in list(self.bodies) for span in _spans(body)]

    def about(self, job_id: str, count: int) -> list[Span]:
        """The spans about a job, by their start, once there are so many."""

        def found() -> list[Span]:
            return [span for span in self.spans if span.attributes.get("chatq.job.id") == job_id]

        until(lambda: len(found()) >= count, f"{count} spans about {job_id}")
        return sorted(found(), key=lambda span: span.start_ns)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, wire_type = divmod(varint(), 8)
        if wire_type == _VARINT:
            yield number, varint()
            continue
        size = varint() if wire_type == _LENGTH else {_FIXED64: 8, _FIXED32: 4}[wire_type]
        piece = data[at : at + size]
        at += size
        yield number, piece if wire_type == _LENGTH else int.from_bytes(piece, "little")


def _all(data: bytes, number: int) -> list[Any]:
    return [value for found, value in _fields(data) if found == number]


def _one(data: bytes, number: int, default: Any) -> Any:
    return next(iter(_all(data, number)), default)


def _value(data: bytes) -> Any:
    """AnyValue: 1 string, 2 bool, 3 int, 5 array."""
    for number, value in _fields(data):
        if number == 1:
            assert isinstance(value, bytes)
            return value.decode()
        if number == 2:
            return bool(value)
        if number == 3:
            return value
        if number == 5:
            assert isinstance(value, bytes)
            return [_value(item) for item in _all(value, 1)]
    return None


def _attributes(pairs: list[bytes]) -> dict[str, Any]:
    return {_one(pair, 1, b"").decode(): _value(_one(pair, 2, b"")) for pair in pairs}


def _spans(body: bytes) -> Iterator[Span]:
    """ExportTraceServiceRequest: resource_spans, their scope_spans, their spans."""
    for resource_spans in _all(body, 1):
        service = _attributes(_all(_one(resource_spans, 1, b""), 1))["service.name"]
        for scope_spans in _all(resource_spans, 2):
            for span in _all(scope_spans, 2):
                yield Span(
                    service=service,
                    trace_id=_one(span, 1, b"").hex(),
                    span_id=_one(span, 2, b"").hex(),
                    parent_id=_one(span, 4, b"").hex(),
                    name=_one(span, 5, b"").decode(),
                    kind=KINDS[_one(span, 6, 1)],
                    start_ns=_one(span, 7, 0),
                    end_ns=_one(span, 8, 0),
                    attributes=_attributes(_all(span, 9)),
                    is_error=_one(_one(span, 15, b""), 3, 0) == 2,
                    links=tuple(_one(link, 1, b"").hex() for link in _all(span, 13)),
                )
