"""What limits a connection's calls, and how much of it is used now: the answer to `ChatQueue.limits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson
from pydantic import BaseModel, ConfigDict

from chatq.contract.record import Moment
from chatq.contract.spending import ConnectionSpending, read_spending
from chatq.contract.why import KINDS, ConnectionPause


class Allowance(BaseModel):
    """One allowance of a lane. `kind`: `requests`, `tokens`, `input_tokens`, `output_tokens` (a minute's), or
    `requests_day`."""

    model_config = ConfigDict(frozen=True)

    kind: str
    set: float | None = None
    """By config.yaml."""
    learned: float | None = None
    """From the provider's answers."""
    found: float | None = None
    """By trying, where the provider refuses and tells nothing."""
    holds: float | None = None
    """The one that is kept to; None: none is."""
    used: float | None = None
    """What is owed of it now: it goes down as time passes; for `requests_day`, what went since midnight UTC."""
    at_once: float | None = None
    """As much may go at once."""
    next_at: Moment | None = None
    """When the next call may go; for tokens, one of average size."""
    free_at: Moment | None = None
    """When nothing of it is used any more, if nothing goes until then."""

    @property
    def told_lower(self) -> bool:
        """Whether the provider tells less than config.yaml says."""
        return self.set is not None and self.learned is not None and self.learned < self.set


class LaneLimits(BaseModel):
    """What a provider counts together: an account's calls of one model, or of all (`model` is empty)."""

    model_config = ConfigDict(frozen=True)

    lane: str
    model: str
    allowances: list[Allowance]
    concurrency: int | None = None
    """By config.yaml; None: the workers' slots alone."""
    in_flight: int = 0
    ramp: int | None = None
    """After a breaker or a pause: as many calls may be in flight, more after each success. None: no such bound."""
    cooling_until: Moment | None = None
    breaker: str = "closed"
    next_probe_at: Moment | None = None
    bytes_per_token: float | None = None
    """Of prompts, as answers told; None until one did."""
    mean_prompt_tokens: float | None = None
    mean_answer_tokens: float | None = None


class ConnectionLimits(BaseModel):
    """The limits of a connection, for each of its lanes: first that of its default model, then those that work or of
    which something was learned in the last week."""

    model_config = ConfigDict(frozen=True)

    connection: str
    paused: ConnectionPause | None = None
    spending: ConnectionSpending
    lanes: list[LaneLimits]


def read_limits(
    connection: str, pause: bytes, spending: Mapping[str, str], lanes: Sequence[Mapping[str, str]]
) -> ConnectionLimits:
    """What the ledger found (`limits.lua`), typed."""
    return ConnectionLimits(
        connection=connection,
        paused=ConnectionPause(**orjson.loads(pause)) if pause else None,
        spending=read_spending(spending),
        lanes=[_lane(facts) for facts in lanes],
    )


def _lane(facts: Mapping[str, str]) -> LaneLimits:
    def number(name: str) -> float | None:
        return None if name not in facts else float(facts[name])

    def moment(name: str) -> datetime | None:
        return None if name not in facts else datetime.fromtimestamp(float(facts[name]) / 1000, UTC)

    def whole(name: str) -> int | None:
        return None if name not in facts else int(float(facts[name]))

    allowances = [
        Allowance(
            kind=kind,
            set=number(f"{kind}.set"),
            learned=number(f"{kind}.learned"),
            found=number(f"{kind}.found"),
            holds=number(f"{kind}.holds"),
            used=number(f"{kind}.used"),
            at_once=number(f"{kind}.burst"),
            next_at=moment(f"{kind}.next"),
            free_at=moment(f"{kind}.full"),
        )
        for kind in KINDS
        if any(name.startswith(f"{kind}.") for name in facts)
    ]
    return LaneLimits(
        lane=facts["lane"],
        model=facts["model"],
        allowances=allowances,
        concurrency=whole("concurrency"),
        in_flight=whole("inflight") or 0,
        ramp=whole("window"),
        cooling_until=moment("cool"),
        breaker=facts["breaker"],
        next_probe_at=moment("probe"),
        bytes_per_token=number("bytes"),
        mean_prompt_tokens=number("prompt"),
        mean_answer_tokens=number("answer"),
    )
