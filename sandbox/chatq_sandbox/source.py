"""One source as it stands: a dialect with its keys, limits, misbehaviours and settings, which change while it
runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from chatq_sandbox.config import SourceConfig
from chatq_sandbox.dialects.base import Dialect
from chatq_sandbox.exchange import ChatRequest
from chatq_sandbox.limits import Lane, Limits
from chatq_sandbox.misbehaviours import Misbehaviour
from chatq_sandbox.randomness import Draws

KeyState = Literal["valid", "revoked", "out_of_quota"]
KEY_STATES: tuple[KeyState, ...] = ("valid", "revoked", "out_of_quota")


class _Rule(NamedTuple):
    misbehaviour: Misbehaviour
    begins: float
    ends: float


class Source:
    """A mounted source. Times are the event loop's, in seconds."""

    def __init__(self, dialect: Dialect, config: SourceConfig, now: float) -> None:
        self.dialect = dialect
        self.config = config
        self.models: tuple[str, ...] = ()
        self._key_states: dict[str, KeyState] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._configured: list[_Rule] = []
        self._added: list[_Rule] = []
        self.configure(config, now)

    def configure(self, config: SourceConfig, now: float) -> None:
        """Take new settings. Buckets whose limits change start full; the others go on. Loading begins anew."""
        old, self.config = self.config, config
        self.models = self.dialect.default_models if config.models is None else config.models
        keys = config.keys
        if keys is None:
            keys = (f"sim-{self.dialect.source.partition('/')[0]}-key",) if self.dialect.needs_key else ()
        self.keys = frozenset(keys)
        self._limits = self._completed(config.limits or Limits())
        self._limits_by_model = {
            model: self._completed(limits) for model, limits in config.limits_by_model.items()
        }
        own_s = self.dialect.keep_alive_s
        self.keep_alive_s = own_s if config.keep_alive_s is None else config.keep_alive_s
        self._ready_at = now + config.loading_s
        self._configured = [_timed(rule, now) for rule in config.misbehaviours]
        if old.limits != config.limits or old.limits_by_model != config.limits_by_model:
            for lane in self._lanes.values():
                lane.set_limits(self.limits_of(lane.model))

    def reset(self) -> None:
        """Forget everything but the settings."""
        self._key_states.clear()
        self._lanes.clear()
        self._added.clear()

    def set_key(self, key: str, state: KeyState) -> None:
        """Revoke a key, take its quota away, or make it valid (also a new one)."""
        self._key_states[key] = state
        self.keys |= {key}

    def misbehave(self, rule: Misbehaviour, now: float) -> None:
        """Add a misbehaviour; it goes before the configured ones."""
        self._added.append(_timed(rule, now))

    def behave(self) -> None:
        """Take the added misbehaviours away again."""
        self._added.clear()

    def key_state(self, key: str | None) -> KeyState:
        """What the key is worth; an unknown one is as good as revoked."""
        if not self.keys:
            return "valid"
        return self._key_states.get(key or "", "valid") if key in self.keys else "revoked"

    def is_loading(self, now: float) -> bool:
        """Whether the model is not there yet."""
        return now < self._ready_at

    def limits_of(self, model: str) -> Limits:
        """The limits for one model: its own, those of what shares them with it, the source's."""
        by_model = self._limits_by_model
        if not by_model:
            return self._limits
        return by_model.get(model) or by_model.get(self.dialect.pool(model)) or self._limits

    def lane(self, key: str | None, model: str) -> Lane:
        """What this key asks of this model, and of those that share its limits. A model with limits of its own
        shares them with no other."""
        pool = model if model in self._limits_by_model else self.dialect.pool(model)
        name = (key or "", pool)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(pool)
            lane.set_limits(self.limits_of(pool))
        return lane

    def lanes(self) -> list[tuple[str, Lane]]:
        """Every lane with its key."""
        return [(key, lane) for (key, _), lane in self._lanes.items()]

    def misbehaviour_for(
        self, asked: tuple[Misbehaviour, ...], request: ChatRequest, call: int, draws: Draws, now: float
    ) -> Misbehaviour | None:
        """The first misbehaviour that this call meets: those its prompt asks for, then added, then configured
        ones."""
        for number, rule in enumerate(asked):
            if _meets(rule, f"asked:{number}", request, call, draws):
                return rule
        for place, rules in (("added", self._added), ("configured", self._configured)):
            for number, timed in enumerate(rules):
                rule = timed.misbehaviour
                if rule.what is not None and rule.what not in self.dialect.refusals:
                    continue
                if timed.begins <= now < timed.ends and _meets(
                    rule, f"{place}:{number}", request, call, draws
                ):
                    return rule
        return None

    def _completed(self, limits: Limits) -> Limits:
        dialect = self.dialect
        return replace(
            limits,
            bucket=limits.bucket or dialect.default_bucket,
            charge=limits.charge or dialect.default_charge,
            penalty_s=dialect.default_penalty_s if limits.penalty_s is None else limits.penalty_s,
        )


def _timed(rule: Misbehaviour, now: float) -> _Rule:
    begins = now + rule.from_s
    return _Rule(rule, begins, float("inf") if rule.for_s is None else begins + rule.for_s)


def _meets(rule: Misbehaviour, place: str, request: ChatRequest, call: int, draws: Draws) -> bool:
    if rule.first is not None and call > rule.first:
        return False
    if rule.model is not None and rule.model != request.model:
        return False
    return rule.share >= 1.0 or draws.uniform(f"misbehaviour:{place}") < rule.share
