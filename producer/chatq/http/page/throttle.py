"""How often somebody may try to log in: after a few wrong tokens in a row, one address waits.

Tokens are long, so this is no more than a second bound; it holds for one front. Behind a proxy all have one address,
and wait together."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

from chatq.http.errors import TooManyTries

TRIES: Final = 10
"""Wrong tokens from one address before it waits."""
EACH_S: Final = 6.0
"""One more try in so many seconds."""
_ADDRESSES: Final = 10_000
"""As many are remembered; the longest silent ones are forgotten."""


class Throttle:
    """Counts failures by address, as a bucket that empties with time."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()
        """When nothing of an address's failures is held against it any more."""

    def check(self, address: str, now_s: float) -> None:
        """Raises `TooManyTries`."""
        excess_s = self._until.get(address, 0) - now_s - (TRIES - 1) * EACH_S
        if excess_s > 0:
            raise TooManyTries(math.ceil(excess_s))

    def failed(self, address: str, now_s: float) -> None:
        """A wrong token came from there."""
        self._until[address] = max(now_s, self._until.get(address, 0)) + EACH_S
        self._until.move_to_end(address)
        if len(self._until) > _ADDRESSES:
            self._until.popitem(last=False)
