"""What a caller can ask, as steps: see `steps.py`. In `client/` are the two classes that run them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from chatq.contract.record import rfc3339
from chatq.contract.spending import read_spending
from chatq.contract.status import StatusState
from chatq.core.batches import Batches
from chatq.core.connections import Connections
from chatq.ledger.overview import Overview
from chatq.ledger.readiness import hindrances, is_ready
from chatq.steps import Steps


class Core(Batches, Connections):
    """The caller's questions to the ledger.

    `settings`: those that hold, or what tells those that hold now; with None the connections are those that the workers
    have published.
    """

    def overview(self) -> Steps[dict[str, Any]]:
        """The status of the whole, as the interface says. Beyond that, `ready`: whether jobs that may go do go,
        `hindrances`: what keeps them from it, and `elsewhere`: how many jobs wait for connections that the settings do
        not have; and of each connection: `next_probe_at` (of an open breaker), `served_by` (itself, or the
        fallback that stands in; None when it is paused and none does), `without_key` (the workers that cannot read its
        key), and `spending`: see `contract/spending.py`."""
        settings = yield from self.settings()
        names = list(settings.connections)
        overview: Overview = yield self.ledger.overview(names)
        outcomes = yield self.ledger.statuses(names)
        states = {
            name: orjson.loads(outcome)["state"] if outcome else str(StatusState.UNKNOWN)
            for name, outcome in zip(names, outcomes, strict=True)
        }
        return {
            "ready": is_ready(overview),
            "hindrances": [hindrance._asdict() for hindrance in hindrances(overview)],
            "workers": len(overview.workers),
            "slots": sum(worker.slots for worker in overview.workers),
            "running": sum(facts.running for facts in overview.connections.values()),
            "waiting": sum(facts.queued for facts in overview.connections.values()),
            "elsewhere": overview.elsewhere,
            "config_problems": overview.told("config_problems"),
            "needs_restart": overview.told("needs_restart"),
            "connections": {
                name: {
                    "source": settings.connections[name].source,
                    "waiting": facts.queued,
                    "running": facts.running,
                    "paused": None if facts.pause is None else orjson.loads(facts.pause),
                    "cooling_until": _moment(facts.cooling_until_ms),
                    "breaker": facts.breaker,
                    "next_probe_at": _moment(facts.next_probe_ms),
                    "served_by": facts.served_by,
                    "status": states[name],
                    "without_key": overview.without_key(name),
                    "spending": read_spending(facts.spending).model_dump(mode="json"),
                }
                for name, facts in overview.connections.items()
            },
        }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(datetime.fromtimestamp(ms / 1000, UTC))
