"""What a worker knows of a call and tells the ledger: what it used and cost, how long it took, and what the answer said
of limits. As texts they are what the scripts read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["", "ok", "limited", "transient", "account", "missing", "request", "astray"]
"""What a call tells of its lane and connection; empty: nothing; `astray`: its worker cannot run it, another may."""


@dataclass(frozen=True, slots=True)
class TokensUsed:
    """Tokens of a call that ended: `input` and `output` as its source counts them against its limits, `prompt` and
    `answer` as the answer tells them."""

    input: int
    output: int
    prompt: int
    answer: int

    def __str__(self) -> str:
        return f"{self.input}:{self.output}:{self.prompt}:{self.answer}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a success used, in tokens, and cost, in US dollars; None: nobody knows."""

    prompt: int
    answer: int
    cost_usd: float | None

    def __str__(self) -> str:
        cost = "-" if self.cost_usd is None else billionths(self.cost_usd)
        return f"{self.prompt}:{self.answer}:{cost}"


@dataclass(frozen=True, slots=True)
class CallTook:
    """Seconds: of a call, and those that it had to wait before it to keep its lane's pace."""

    call_s: float
    paced_s: float

    def __str__(self) -> str:
        return f"{milliseconds(self.call_s)}:{milliseconds(self.paced_s)}"


@dataclass(frozen=True, slots=True)
class CallPrice:
    """US dollars: for each call, and for a million tokens of prompts and of answers. Budgets reserve by it."""

    call: float
    input_per_million: float
    output_per_million: float

    def __str__(self) -> str:
        # In billionths of a dollar, for a call and for a token.
        parts = (self.call * 1e9, self.input_per_million * 1e3, self.output_per_million * 1e3)
        return ":".join(f"{part:.6f}" for part in parts)


UNKNOWN_PRICE: Final = "-"
"""What `Ledger.price` gives when nobody knows it."""
MAYBE_CHARGED: Final = "?"
"""In place of `Spent`: the call may have been charged, and nobody knows how much."""
NOT_CALLED: Final = "-"
"""In place of `TokensUsed`: no call was made, so what was reserved is given back."""


@dataclass(frozen=True, slots=True)
class LimitTold:
    """What an answer tells of one allowance: `limit` in `window_s`, `remaining` now, all of it again in `reset_s`."""

    kind: str
    limit: int | None
    remaining: int | None
    window_s: float
    reset_s: float | None

    def __str__(self) -> str:
        parts = (self.limit, self.remaining, int(self.window_s * 1000), milliseconds(self.reset_s) or None)
        return " ".join([self.kind, *("-" if part is None else str(part) for part in parts)])


def billionths(usd: float) -> int:
    """Dollars as the ledger counts them."""
    return round(usd * 1e9)


def milliseconds(seconds: float | None) -> str:
    """Seconds as scripts take them; empty for None."""
    return "" if seconds is None else str(max(0, int(seconds * 1000)))
