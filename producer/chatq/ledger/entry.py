"""A job made ready for the ledger, and the flow that it is served in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from chatq.contract.job import Job
from chatq.contract.token_estimate import longest_answer, prompt_size, weight

FLOW_SEPARATOR: Final = "\x1f"
_FIELD_SEPARATOR: Final = "\x1e"


@dataclass(slots=True)  # not frozen, as `CheckedJob` is not
class Entry:
    """A job made ready for the ledger."""

    job: Job
    id: str
    request: bytes
    model: str
    """The model it will ask for: its own, else its connection's, else empty."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Its connection's parameters, as far as they say how long an answer may be; the job's own win."""
    traceparent: str = ""
    """Where its trace goes on: W3C Trace Context; empty when it is not traced."""

    def argument(self, batch_id: str) -> bytes:
        """It as `enqueue.lua` takes it."""
        job = self.job
        idempotency = ""
        if job.idempotency_key:
            idempotency = f"tenant:{job.tenant or ''}{FLOW_SEPARATOR}{job.idempotency_key}"
        params = {**self.params, **job.params} if self.params else job.params
        size, cap = prompt_size(job), longest_answer(params)
        fields = (
            self.id,
            flow_of(job, self.model, batch_id),
            job.due(),
            "" if job.expires_in is None else str(int(job.expires_in * 1000)),
            idempotency,
            orjson.dumps(job.custom_id).decode() if job.custom_id else "",
            job.digest(self.request),
            str(len(self.request)),
            str(weight(size, cap)),
            str(size),
            str(cap) if cap else "",
            job.metadata_json().decode() if job.metadata else "",
            self.traceparent,
            "",
        )
        return _FIELD_SEPARATOR.join(fields).encode() + self.request


def flow_of(job: Job, model: str, batch_id: str) -> str:
    """The flow that a job is served in: see `prelude.lua`."""
    return _flow(job.priority, job.connection, model, batch_id, job.tenant, job.format)


@lru_cache(maxsize=1024)
def _flow(
    priority: int, connection: str, model: str, batch_id: str, tenant: str | None, job_format: int
) -> str:
    group = f"batch:{batch_id}" if batch_id else f"tenant:{tenant}" if tenant else "single"
    parts = [str(priority), connection, model, group]
    if job_format > 1:
        parts.append(f"format:{job_format}")
    return FLOW_SEPARATOR.join(parts)


@lru_cache(1000)
def served_by(flow: str) -> tuple[str, str]:
    """The model and the batch that a flow serves; see `flow_of`."""
    _, _, model, group, *_ = flow.split(FLOW_SEPARATOR)
    kind, _, name = group.partition(":")
    return model, name if kind == "batch" else ""
