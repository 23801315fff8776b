"""How long a model takes to answer."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from statistics import NormalDist
from typing import ClassVar

from chatq_sandbox.randomness import Draws

_STANDARD_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every call takes `seconds`."""

    shape: ClassVar[str] = "fixed"
    seconds: float = 0.0

    def sample(self, draws: Draws) -> float:
        """Seconds until the answer begins."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Evenly spread over `low_s` .. `high_s`."""

    shape: ClassVar[str] = "uniform"
    low_s: float
    high_s: float

    def sample(self, draws: Draws) -> float:
        """Seconds until the answer begins."""
        return self.low_s + (self.high_s - self.low_s) * draws.uniform("latency")


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half of the calls are faster than `median_s`; `sigma` is the spread of the logarithm (0.5: the slowest
    per cent takes 3.2 times the median). `max_s` cuts the tail."""

    shape: ClassVar[str] = "lognormal"
    median_s: float
    sigma: float = 0.5
    max_s: float = 600.0

    def sample(self, draws: Draws) -> float:
        """Seconds until the answer begins."""
        drawn = max(draws.uniform("latency"), 1e-12)
        return min(self.median_s * exp(self.sigma * _STANDARD_NORMAL.inv_cdf(drawn)), self.max_s)


Latency = Fixed | Uniform | Lognormal
