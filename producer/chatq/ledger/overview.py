"""Workers and connections as the ledger sees them, as `overview.lua` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chatq.ledger.replies import named, text


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A live worker as it described itself.

    `stalled_ms`: for how long it has come to none of its messages although jobs were given to it; None when it does.
    """

    id: str
    facts: Mapping[str, Any]
    slots: int
    held: int
    lease_left_ms: int
    stalled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What goes on at a connection. `pause`: why it is paused, JSON. `served_by`: itself, or the fallback that stands
    in; None when it is paused and none does. Moments in ms. `spending`: names and values, see `spending_of` in
    `budgets.lua`."""

    queued: int
    running: int
    pause: bytes | None
    cooling_until_ms: int | None
    breaker: str
    next_probe_ms: int | None
    served_by: str | None
    spending: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overview:
    """Live workers, and the connections that were asked for.

    `overdue_ms`: for how long something has been due that the clock of the workers does: it lets jobs go.
    """

    workers: Sequence[WorkerFacts]
    connections: Mapping[str, ConnectionFacts]
    overdue_ms: int = 0
    jobs: int = 0
    """Jobs that wait or run, those of other connections too."""

    @property
    def elsewhere(self) -> int:
        """Those of other connections."""
        return self.jobs - sum(facts.queued + facts.running for facts in self.connections.values())

    def without_key(self, connection: str) -> list[str]:
        """The workers that cannot read the key of a connection."""
        return sorted(
            worker.id for worker in self.workers if connection in worker.facts.get("without_key", ())
        )

    def told(self, fact: str) -> list[str]:
        """What workers list as this fact about themselves, each item once."""
        return list(dict.fromkeys(item for worker in self.workers for item in worker.facts.get(fact, ())))


def read_overview(reply: Any, connections: Sequence[str]) -> Overview:
    head, count = 4, int(reply[3])
    workers = [
        WorkerFacts(
            id=text(reply[i]),
            facts=orjson.loads(reply[i + 1]),
            slots=int(reply[i + 2]),
            held=int(reply[i + 3]),
            lease_left_ms=int(reply[i + 4]),
            stalled_ms=int(reply[i + 5]) if reply[i + 5] else None,
        )
        for i in range(head, head + 6 * count, 6)
    ]
    rest = iter(reply[head + 6 * count :])
    facts = {
        name: ConnectionFacts(
            queued=int(next(rest)),
            running=int(next(rest)),
            pause=next(rest) or None,
            cooling_until_ms=int(next(rest) or 0) or None,
            breaker=text(next(rest)),
            next_probe_ms=int(next(rest) or 0) or None,
            served_by=text(next(rest)) or None,
            spending=named(next(rest)),
        )
        for name in connections
    }
    return Overview(workers, facts, overdue_ms=int(reply[1]), jobs=int(reply[2]))
