"""The settlements of the last seconds, kept in case the server forgets them.

A Redis whose AOF is synced every second loses up to two seconds when it dies. The jobs in them would be called and
paid for again; settling them again costs nothing, because the ledger knows a settlement that it has seen.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from chatq.ledger.call import Call
from chatq.ledger.replies import Settled

KEEP_S: Final = 5.0
KEEP_BYTES: Final = 64 << 20


class RecentSettlements:
    """Remembers calls for `KEEP_S` seconds, at most `KEEP_BYTES` of them."""

    def __init__(self) -> None:
        self._calls: deque[tuple[float, int, Call[Settled]]] = deque()
        self._bytes = 0

    def remember(self, call: Call[Settled]) -> None:
        """Add a call that the server has answered."""
        size = call.size()
        self._calls.append((time.monotonic(), size, call))
        self._bytes += size
        while self._calls and (self._calls[0][0] < time.monotonic() - KEEP_S or self._bytes > KEEP_BYTES):
            self._bytes -= self._calls.popleft()[1]

    def calls(self) -> list[Call[Settled]]:
        """What is remembered, oldest first."""
        return [call for _, _, call in self._calls]
