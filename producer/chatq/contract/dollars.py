"""US dollars for people to read, in the one form that they have everywhere. What nobody knows is `unknown`, never 0."""

from __future__ import annotations

import math
from typing import Final

UNKNOWN: Final = "unknown"


def dollars(usd: float | None) -> str:
    """`$0.00`, `$12.50`, `$0.0371`: two decimals at the least and four at the most; of what is smaller two digits,
    `$0.000098`. None: nobody knows."""
    if usd is None:
        return UNKNOWN
    if 0 < usd < 0.0001:
        return f"${usd:.{1 - math.floor(math.log10(usd))}f}"
    whole = f"{usd:,.4f}"
    return "$" + (whole[:-2] if whole.endswith("00") else whole.removesuffix("0"))


def cost(known_usd: float | None, uncosted: int) -> str:
    """What answers cost. `known_usd`: those whose cost is known, None: of none; `uncosted`: the number of the others.

    >>> cost(0.5, 2), cost(None, 2), cost(None, 0)
    ('$0.50 + 2 unknown', 'unknown', '$0.00')
    """
    if not uncosted:
        return dollars(known_usd or 0.0)
    return UNKNOWN if known_usd is None else f"{dollars(known_usd)} + {uncosted:,} {UNKNOWN}"
