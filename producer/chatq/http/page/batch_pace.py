"""How fast batches go: by what was seen of them when somebody looked.

Nothing is asked for it, and it is forgotten with the front: then the time since the batch began tells.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

_WINDOW_S: Final = 120.0
_APART_S: Final = 2.0
_SHORTEST_S: Final = 5.0
_BATCHES: Final = 500


class BatchPace:
    """Remembers how many jobs of a batch were done when, for two minutes, of 500 batches."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()

    def rate(self, batch_id: str, done: int, now_s: float, began_s: float | None) -> float | None:
        """Jobs a second, of the last two minutes if it was looked at long enough ago, else since it began; None: that
        cannot be said."""
        seen = self._seen.setdefault(batch_id, deque())
        self._seen.move_to_end(batch_id)
        if len(self._seen) > _BATCHES:
            self._seen.popitem(last=False)
        while seen and now_s - seen[0][0] > _WINDOW_S:
            seen.popleft()
        if not seen or now_s - seen[-1][0] >= _APART_S:
            seen.append((now_s, done))
        first_s, before = seen[0]
        if now_s - first_s >= _SHORTEST_S:
            return max(0, done - before) / (now_s - first_s)
        if began_s is not None and now_s - began_s >= 1:
            return done / (now_s - began_s)
        return None
