"""A job made ready for the ledger, and the flow that it is served in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import orjson

from chatq.contract.job import Job
from chatq.contract.token_estimate import longest_answer, prompt_size, weight

FLOW_SEPARATOR: Final = "\x1f"
_FIELD_SEPARATOR: Final = "\x1e"
_NO_PARAMS: Final[Mapping[str, Any]] = {}


@dataclass(slots=True)  # not frozen, as `CheckedJob` is not
class Entry:
    """A job made ready for the ledger. It holds texts and no part of the job: of a large batch hundreds are held at a
    time, and Python's collector of garbage looks through every object that holds others.
    """

    id: str
    connection: str
    model: str
    """The model it will ask for: its own, else its connection's, else empty."""
    tenant: str | None
    priority: int
    job_format: int
    idempotency_key: str | None
    custom_id: str | None
    when: str
    """What `enqueue.lua` takes between the id and the flow."""
    kept: str
    """What it takes between the flow and the trace."""
    request: bytes
    traceparent: str = ""
    """Where its trace goes on: W3C Trace Context; empty when it is not traced."""

    @classmethod
    def of(
        cls, job: Job, job_id: str, request: bytes, model: str, params: Mapping[str, Any] = _NO_PARAMS
    ) -> Self:
        """`params`: its connection's, as far as they say how long an answer may be; the job's own win."""
        idempotency = ""
        if job.idempotency_key:
            idempotency = f"tenant:{job.tenant or ''}{FLOW_SEPARATOR}{job.idempotency_key}"
        size, cap = prompt_size(job), longest_answer({**params, **job.params} if params else job.params)
        lasts = "" if job.expires_in is None else str(int(job.expires_in * 1000))
        kept = (
            idempotency,
            orjson.dumps(job.custom_id).decode() if job.custom_id else "",
            job.digest(request),
            str(len(request)),
            str(weight(size, cap)),
            str(size),
            str(cap) if cap else "",
            job.metadata_json().decode() if job.metadata else "",
        )
        return cls(
            job_id,
            job.connection,
            model,
            job.tenant,
            job.priority,
            job.format,
            job.idempotency_key,
            job.custom_id,
            f"{job.due()}{_FIELD_SEPARATOR}{lasts}",
            _FIELD_SEPARATOR.join(kept),
            request,
        )

    def flow(self, batch_id: str) -> str:
        """The flow that it is served in: see `prelude.lua`."""
        return _flow(self.priority, self.connection, self.model, batch_id, self.tenant, self.job_format)

    def argument(self, batch_id: str) -> bytes:
        """It as `enqueue.lua` takes it."""
        fields = (self.id, self.when, self.flow(batch_id), self.kept, self.traceparent, "")
        return _FIELD_SEPARATOR.join(fields).encode() + self.request


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
    """The model and the batch that a flow serves; see `Entry.flow`."""
    _, _, model, group, *_ = flow.split(FLOW_SEPARATOR)
    kind, _, name = group.partition(":")
    return model, name if kind == "batch" else ""
