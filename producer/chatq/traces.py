"""Traces for OpenTelemetry: where `OTEL_EXPORTER_OTLP_ENDPOINT` says where to, and nowhere else.

A job is one trace over all processes: `enqueue` by its caller (or within the trace that the caller has), below it
`admit` for the time in line, and an `attempt` for each of them with `begin`, the call and `settle`. What a trace goes
on from is kept with the job, as W3C's `traceparent`. Spans hold names, codes and counts: no prompt, no answer, no key.

A job that was enqueued without a trace, or that the sampler left out, costs a worker nothing. Without the variable
nothing of OpenTelemetry is imported.
Source: W3C Trace Context; OpenTelemetry's environment variables and semantic conventions.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final, Literal

from chatq.contract.redaction import scrubbed_name
from chatq.ledger.entry import Entry
from chatq.ledger.replies import Enqueued

logger = logging.getLogger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_S: Final = 3.0
"""How long a process that ends may take to send its last spans."""

Value = str | int | float | bool | Sequence[str] | None
Kind = Literal["INTERNAL", "PRODUCER", "CONSUMER", "CLIENT"]

_started: list[Traces | None] = []


def traces(service: str = "chatq") -> Traces | None:
    """What this process tells of jobs; None: nothing. `service`: its name, where OTEL_SERVICE_NAME gives none; the
    first call's holds."""
    if not _started:
        _started.append(_start(service))
    return _started[0]


def _start(service: str) -> Traces | None:
    named = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if named is None or _is("OTEL_SDK_DISABLED", "true") or _is("OTEL_TRACES_EXPORTER", "none"):
        return None
    try:
        return Traces(_provider(service))
    except ModuleNotFoundError as error:
        logger.warning(
            "no traces are sent: %s is set, and %s is not installed. Install it: pip install 'chatq[otel]'",
            named,
            error.name,
        )
        return None


def _is(variable: str, value: str) -> bool:
    return os.environ.get(variable, "").lower() == value


def _provider(service: str) -> Any:
    """That of the program that uses us, where it has one, with whatever it sends its spans by; else one of our own."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What is given here would win over the variables.
    has_name = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(resource=Resource.create({} if has_name else {"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Makes spans with OpenTelemetry's provider of this process."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._nothing = Context()
        self._propagator = TraceContextTextMapPropagator()
        self._provider = provider
        self._tracer = provider.get_tracer("chatq", version("chatq"))

    def context(self, traceparent: str) -> Any:
        """Where a trace goes on; nowhere for what is no `traceparent`."""
        return self._propagator.extract({"traceparent": traceparent}, context=self._nothing)

    def traceparent(self, span: Any) -> str:
        """Where a trace goes on from a span; empty when it is not recorded."""
        if not span.get_span_context().trace_flags.sampled:
            return ""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._api.set_span_in_context(span, self._nothing))
        return carrier["traceparent"]

    def span(
        self,
        name: str,
        context: Any,
        attributes: Mapping[str, Value],
        *,
        kind: Kind,
        start_ns: int,
        end_ns: int | None = None,
        links: Iterable[Any] = (),
        error: str | None = None,
    ) -> Any:
        """A span from one moment to another (ns since 1970), ended unless `end_ns` is None. `error`: the code of what
        went wrong. Attributes that are None or empty are left out."""
        given = {
            name: scrubbed_name(value) if isinstance(value, str) else value
            for name, value in attributes.items()
            if value is not None and value != ""
        }
        span = self._tracer.start_span(
            name, context, self._api.SpanKind[kind], given, links=tuple(links), start_time=start_ns
        )
        if error is not None:
            self.fail(span, error)
        if end_ns is not None:
            span.end(max(start_ns, end_ns))
        return span

    def fail(self, span: Any, error: str) -> None:
        """What the span is of went wrong, with this code."""
        span.set_attribute("error.type", error)
        span.set_status(self._api.StatusCode.ERROR)

    def below(self, span: Any) -> Any:
        """The context of what is a part of a span."""
        return self._api.set_span_in_context(span, self._nothing)

    def enqueue(self, entries: Sequence[Entry], batch_id: str, parent: str) -> Enqueueing:
        """Jobs are about to be enqueued. `parent`: the `traceparent` of who asked for it; empty: the span that the
        caller is in, if any.

        The jobs of a batch are a trace each, linked to it: in one, a million of them could not be looked at.
        """
        span = self._api.get_current_span()
        context = self.context(parent) if parent else self.below(span)
        links: list[Any] = []
        if batch_id:
            of_caller = self._api.get_current_span(context).get_span_context()
            links = [self._api.Link(of_caller)] if of_caller.is_valid else []
            context = self._nothing
        start_ns = time.time_ns()
        spans = [
            self.span(
                "enqueue",
                context,
                {
                    "messaging.system": "chatq",
                    "messaging.operation.type": "send",
                    "messaging.operation.name": "enqueue",
                    "messaging.destination.name": entry.connection,
                    **of_job(entry.id, entry.connection, batch_id),
                },
                kind="PRODUCER",
                start_ns=start_ns,
                links=links,
            )
            for entry in entries
        ]
        return Enqueueing(self, entries, spans)

    def flush(self) -> None:
        """Send what is left, before the process ends; no longer than `_FLUSH_S`."""
        thread = threading.Thread(target=self._provider.force_flush, daemon=True, name="chatq-traces")
        thread.start()
        thread.join(_FLUSH_S)


def of_job(job_id: str, connection: str, batch: str) -> dict[str, Value]:
    """The attributes of every span about a job."""
    return {
        "messaging.message.id": job_id,
        "chatq.job.id": job_id,
        "chatq.connection": connection,
        "chatq.batch.id": batch,
    }


class Enqueueing:
    """Jobs on their way into the ledger. `entries`: with where their traces go on."""

    def __init__(self, traces: Traces, entries: Sequence[Entry], spans: Sequence[Any]) -> None:
        self._traces = traces
        self._spans = spans
        self.entries = [
            replace(entry, traceparent=traces.traceparent(span))
            for entry, span in zip(entries, spans, strict=True)
        ]

    def done(self, enqueued: Enqueued) -> None:
        """What became of them."""
        if enqueued.refused is not None:
            self.failed("backlog_full" if enqueued.refused == "full" else "unknown_batch")
            return
        for span, (status, job_id) in zip(self._spans, enqueued.jobs, strict=True):
            if status == "conflict":
                self._traces.fail(span, "job_conflict")
            elif status == "same":
                # Its own trace began when it was enqueued first.
                span.set_attributes(
                    {"chatq.job.known": True, "chatq.job.id": job_id, "messaging.message.id": job_id}
                )
            span.end()

    def failed(self, code: str) -> None:
        """None of them is known to be enqueued."""
        for span in self._spans:
            self._traces.fail(span, code)
            span.end()
