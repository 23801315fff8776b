"""What a trace tells of an attempt, from what was measured: by the ledger how it came to begin, by the worker the rest.

enqueue            by the caller
+- admit           from when on it might go, until it was admitted
+- attempt         until it was settled
   +- begin        its message to the worker, until it began
   +- chat MODEL   the call
   +- settle       its outcome is written down
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from chatq.ledger.call_facts import Spent
from chatq.ledger.replies import Begun, Walk
from chatq.traces import Traces, of_job
from chatq_worker.providers import Completion

_MS: Final = 1_000_000
_PROVIDERS: Final[Mapping[str, str]] = {"claude": "anthropic", "mistralai": "mistral_ai"}
"""Sources as OpenTelemetry names them, where it names them otherwise."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made, or may have been. Moments in ns since 1970."""

    source: str
    url: str
    start_ns: int
    end_ns: int
    http_status: int | None
    completion: Completion | None


def trace_attempt(
    traces: Traces,
    walk: Walk,
    job_id: str,
    begun: Begun,
    *,
    call: Call | None,
    settle_ns: int,
    state: str,
    error: str | None,
    spent: Spent | None,
) -> None:
    """Tell of an attempt that has just been settled. `settle_ns`: from when on it was; `error`: the code of what went
    wrong."""
    now_ns = time.time_ns()
    enqueued = traces.context(walk.traceparent)
    admitted_ns, begun_ns = walk.admitted_ms * _MS, walk.begun_ms * _MS
    about = {**of_job(job_id, begun.connection, begun.batch), "chatq.attempt": begun.attempt}
    traces.span(
        "admit", enqueued, about, kind="INTERNAL", start_ns=walk.waiting_since_ms * _MS, end_ns=admitted_ns
    )
    attempt = traces.span(
        "attempt",
        enqueued,
        {
            "messaging.system": "chatq",
            "messaging.operation.type": "process",
            "messaging.operation.name": "attempt",
            "messaging.destination.name": begun.connection,
            **about,
            "chatq.state": state,
        },
        kind="CONSUMER",
        start_ns=admitted_ns,
        error=error,
    )
    within = traces.below(attempt)
    traces.span("begin", within, about, kind="INTERNAL", start_ns=admitted_ns, end_ns=begun_ns)
    if call is not None:
        traces.span(
            f"chat {begun.model}",
            within,
            {**_of_call(call, begun.model, spent), **about},
            kind="CLIENT",
            start_ns=call.start_ns,
            end_ns=call.end_ns,
            error=error,
        )
    traces.span("settle", within, about, kind="INTERNAL", start_ns=settle_ns, end_ns=now_ns)
    attempt.end(max(admitted_ns, now_ns))


def _of_call(call: Call, model: str, spent: Spent | None) -> dict[str, str | int | list[str] | None]:
    """Source: OpenTelemetry's semantic conventions for generative AI; `gen_ai.system` is the older name."""
    provider = _PROVIDERS.get(call.source, call.source)
    place = urlsplit(call.url)
    told: dict[str, str | int | list[str] | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.system": provider,
        "gen_ai.request.model": model,
        "server.address": place.hostname,
        "server.port": place.port,
        "http.response.status_code": call.http_status,
    }
    if call.completion is not None:
        told |= {
            "gen_ai.response.model": call.completion.model,
            "gen_ai.response.finish_reasons": [call.completion.finish_reason],
        }
    if spent is not None:
        told |= {"gen_ai.usage.input_tokens": spent.prompt, "gen_ai.usage.output_tokens": spent.answer}
    return told
