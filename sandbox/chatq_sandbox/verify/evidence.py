"""What is known at the end of a run: the plan, what was acknowledged, what stands in the server, what calls were seen.

Records are as callers read them, JSON decoded; counts as in the simulator's `counts.Tally`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatq_sandbox.verify.plan import Ends


@dataclass(frozen=True, slots=True)
class Change:
    """A final record that was read twice and was not the same."""

    job_id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened. `from_ms`, `over_ms`: ms since 1970, of the server's machine."""

    name: str
    from_ms: float
    over_ms: float


@dataclass(frozen=True, slots=True)
class BatchSeen:
    """A batch that was acknowledged: the ids that its list of results has, and the counts that it tells."""

    id: str
    listed: Sequence[str]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything. `ends`: by name of each planned job. `acknowledged`: names of jobs whose enqueue returned, with the
    id that it returned (in a batch: None). `records`: every final record in the server; `unfinished`: the state of
    every other job there, by id, and its name. `announced`: how often each id was. `calls`: by name.
    `left_over`: running and waiting jobs that the overview still counts. `complaints`: what was said of processes."""

    ends: Mapping[str, Ends]
    acknowledged: Mapping[str, str | None]
    records: Sequence[Mapping[str, Any]]
    unfinished: Mapping[str, tuple[str, str]]
    announced: Mapping[str, int]
    changes: Sequence[Change]
    calls: Mapping[str, Mapping[str, Any]]
    batches: Sequence[BatchSeen] = ()
    struck: Sequence[Struck] = ()
    left_over: int = 0
    complaints: Sequence[str] = ()
    tracebacks: Sequence[str] = ()
