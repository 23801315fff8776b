"""Which workers have a connection's key.

While another has it, one that has none says nothing against the connection: it hands on jobs, and others make checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from chatq.contract.live_settings import LiveSettings
from chatq.contract.settings import Settings
from chatq.ledger.ledger import Ledger
from chatq.ledger.overview import Overview
from chatq.ledger.server import AsyncServer
from chatq_worker.published import key_fact

WITHOUT_KEY: Final = "without_key"
"""The fact that a worker tells of itself: the connections whose key it cannot read."""


def without_key(settings: Settings) -> list[str]:
    """The connections that name a key which cannot be read here."""
    return [name for name, connection in settings.connections.items() if key_fact(connection) == "missing"]


class KeyHolders:
    """The workers that have keys, as one worker sees them."""

    def __init__(self, *, worker: str, settings: LiveSettings, ledger: Ledger, server: AsyncServer) -> None:
        self._worker = worker
        self._settings = settings
        self._ledger = ledger
        self._server = server

    async def are_others(self, connection: str) -> bool:
        """Whether this worker lacks the key of a connection, and another that lives has it. Waits for the server."""
        found = self._settings.current.connections.get(connection)
        if found is None or key_fact(found) != "missing":
            return False
        return any(worker != self._worker for worker in await self._of(connection))

    async def who_answers(self, connection: str, chosen: str) -> str:
        """Who is to answer a question about a connection: the chosen worker if it has the key, else one that has."""
        holders = await self._of(connection)
        return holders[0] if holders and chosen not in holders else chosen

    async def _of(self, connection: str) -> Sequence[str]:
        overview: Overview = await self._server.run(self._ledger.overview(()), patience_s=math.inf)
        return [
            worker.id for worker in overview.workers if connection not in worker.facts.get(WITHOUT_KEY, ())
        ]
