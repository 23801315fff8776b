"""The simulator's settings: typed, with their defaults, checked whole before anything starts.

A file (YAML or JSON) or a mapping of the same shape; durations are seconds:

    seed: 7
    defaults:                      # for every source that does not say otherwise
      latency: {lognormal: {median_s: 0.8, sigma: 0.5}}
    sources:
      openai:
        keys: [sk-one, sk-two]
        limits: {requests_per_minute: 500, tokens_per_minute: 200000, bucket: second}
        limits_by_model: {gpt-5-mini: {requests_per_minute: 100}}
        misbehaviours: [{name: server_error, share: 0.05}]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from chatq_sandbox.latency import Fixed, Latency, Lognormal, Uniform
from chatq_sandbox.limits import BucketShape, Charge, Limits
from chatq_sandbox.misbehaviours import KINDS, Misbehaviour, check_value, check_what
from chatq_sandbox.section import ConfigError, Section, nearest

__all__ = ["Answers", "ConfigError", "Limits", "SimulatorConfig", "SourceConfig", "merged"]

_AT_ONCE = Fixed(0.0)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the models say. `tokens`: length of an answer (its header is never cut by it). `reasoning_tokens`:
    length of the reasoning of models that reason. `stream_s`: how long a streamed answer takes from first to
    last piece."""

    tokens: int = 32
    reasoning_tokens: int = 16
    stream_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One mounted source. `keys`: the valid ones; None: the single key `sim-SOURCE-key` (custom sources: no
    key needed); an empty list: no key needed. `models`: None: the dialect's own list. `loading_s`: everything is
    refused for so long while the model loads. `look_up_error`: the status with which model lists and other
    requests that ask no model fail; None: they are answered. `keep_alive_s`: how often a waiting client is sent
    something blank; 0: never; None: as the source does it."""

    keys: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    limits: Limits | None = None
    limits_by_model: Mapping[str, Limits] = field(default_factory=dict)
    latency: Latency = _AT_ONCE
    answers: Answers = Answers()
    misbehaviours: tuple[Misbehaviour, ...] = ()
    loading_s: float = 0.0
    look_up_error: int | None = None
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """Everything. A source that is not named runs with `defaults`. `remember_requests`: how many of the
    latest requests `/_sim/requests` can show. `request_bytes`: a larger body is a 413."""

    seed: int = 0
    defaults: SourceConfig = SourceConfig()
    sources: Mapping[str, SourceConfig] = field(default_factory=dict)
    remember_requests: int = 0
    request_bytes: int = 64 * 1024 * 1024

    @classmethod
    def from_mapping(cls, data: object, known_sources: Mapping[str, Collection[str]]) -> SimulatorConfig:
        """Read a configuration. `known_sources`: the refusals that each source can be asked for, by its name.

        Raises:
            ConfigError: with every problem, one a line.
        """
        problems: list[str] = []
        every_refusal = tuple(sorted({name for names in known_sources.values() for name in names}))
        section = Section({} if data is None else data, "", problems)
        seed = section.integer("seed", 0, low=-(2**63))
        defaults = _source(
            Section(section.any("defaults") or {}, "defaults", problems),
            SourceConfig(),
            every_refusal,
            own=False,
        )
        sources = {}
        named = Section(section.any("sources") or {}, "sources", problems)
        for name in named.names():
            if name not in known_sources:
                named.wrong("", f"unknown source {name!r}; {nearest(name, tuple(known_sources))}")
                continue
            sources[name] = _source(
                Section(named.any(name) or {}, f"sources.{name}", problems),
                defaults,
                known_sources[name],
                own=True,
            )
        config = cls(
            seed=seed,
            defaults=defaults,
            sources=sources,
            remember_requests=section.integer("remember_requests", 0),
            request_bytes=section.integer("request_bytes", 64 * 1024 * 1024, low=1024),
        )
        section.done()
        if problems:
            raise ConfigError(problems)
        return config

    def source(self, name: str) -> SourceConfig:
        """The settings of one source."""
        return self.sources.get(name, self.defaults)


def merged(base: object, change: object) -> Any:
    """`change` laid over `base` as a JSON merge patch (RFC 7396): null takes a key away."""
    if not isinstance(change, Mapping):
        return change
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _source(section: Section, base: SourceConfig, refusals: Collection[str], *, own: bool) -> SourceConfig:
    def inner(key: str) -> Section:
        return Section(section.any(key), f"{section.where}.{key}", section.problems)

    config = base
    if own:
        config = replace(config, keys=section.texts("keys", None), models=section.texts("models", None))
        if section.has("limits_by_model"):
            models = inner("limits_by_model")
            by_model = {
                model: _limits(
                    Section(models.any(model), f"{models.where}.{model}", section.problems), Limits()
                )
                for model in models.names()
            }
            config = replace(config, limits_by_model=by_model)
    if section.has("limits"):
        config = replace(config, limits=_limits(inner("limits"), base.limits or Limits()))
    if section.has("latency"):
        config = replace(config, latency=_latency(section, section.any("latency")))
    if section.has("answers"):
        answers = inner("answers")
        config = replace(
            config,
            answers=Answers(
                tokens=answers.integer("tokens", base.answers.tokens, low=1),
                reasoning_tokens=answers.integer("reasoning_tokens", base.answers.reasoning_tokens),
                stream_s=answers.number("stream_s", base.answers.stream_s),
            ),
        )
        answers.done()
    if section.has("misbehaviours"):
        rules = _misbehaviours(section, section.any("misbehaviours"), refusals)
        config = replace(config, misbehaviours=rules)
    config = replace(
        config,
        loading_s=section.number("loading_s", base.loading_s),
        look_up_error=section.maybe_integer("look_up_error", base.look_up_error, low=400, high=599),
        keep_alive_s=section.maybe_number("keep_alive_s", base.keep_alive_s),
    )
    section.done()
    return config


def _limits(section: Section, base: Limits) -> Limits:
    limits = Limits(
        requests_per_minute=section.maybe_integer("requests_per_minute", base.requests_per_minute, low=1),
        tokens_per_minute=section.maybe_integer("tokens_per_minute", base.tokens_per_minute, low=1),
        input_tokens_per_minute=section.maybe_integer(
            "input_tokens_per_minute", base.input_tokens_per_minute, low=1
        ),
        output_tokens_per_minute=section.maybe_integer(
            "output_tokens_per_minute", base.output_tokens_per_minute, low=1
        ),
        requests_per_month=section.maybe_integer("requests_per_month", base.requests_per_month, low=1),
        tokens_per_month=section.maybe_integer("tokens_per_month", base.tokens_per_month, low=1),
        concurrency=section.maybe_integer("concurrency", base.concurrency, low=1),
        headers=section.flag("headers", base.headers),
        bucket=cast(BucketShape | None, section.maybe_one_of("bucket", base.bucket, get_args(BucketShape))),
        charge=cast(Charge | None, section.maybe_one_of("charge", base.charge, get_args(Charge))),
        penalty_s=section.maybe_number("penalty_s", base.penalty_s),
    )
    section.done()
    return limits


def _latency(section: Section, value: object) -> Latency:
    if isinstance(value, int | float):
        return Fixed(section.number("latency", 0.0, high=86400))
    shapes = Section(value, f"{section.where}.latency", section.problems)
    latency: Latency = Fixed(0.0)
    if shapes.has("fixed"):
        latency = Fixed(shapes.number("fixed", 0.0, high=86400))
    elif shapes.has("uniform"):
        bounds = shapes.any("uniform")
        if (
            isinstance(bounds, list | tuple)
            and len(bounds) == 2
            and all(isinstance(b, int | float) for b in bounds)
        ):
            low_s, high_s = bounds
            if not 0 <= low_s <= high_s:
                shapes.wrong("uniform", f"expected [low, high] with 0 <= low <= high, got {bounds!r}")
            latency = Uniform(float(low_s), float(high_s))
        else:
            shapes.wrong("uniform", f"expected [low, high] in seconds, got {bounds!r}")
    elif shapes.has("lognormal"):
        inner = Section(shapes.any("lognormal"), f"{shapes.where}.lognormal", section.problems)
        latency = Lognormal(
            median_s=inner.number("median_s", 1.0, low=1e-6),
            sigma=inner.number("sigma", 0.5, high=5),
            max_s=inner.number("max_s", 600.0, low=1e-6),
        )
        inner.done()
    for shape in (Fixed.shape, Uniform.shape, Lognormal.shape):
        shapes.any(shape)
    shapes.done()
    if len(shapes.names()) != 1:
        shapes.wrong("", "expected seconds, or exactly one of fixed, uniform, lognormal")
    return latency


def _misbehaviours(section: Section, value: object, refusals: Collection[str]) -> tuple[Misbehaviour, ...]:
    if not isinstance(value, list | tuple):
        section.wrong("misbehaviours", "expected a list of {name: ...}")
        return ()
    rules = []
    for number, item in enumerate(value):
        where = f"{section.where}.misbehaviours[{number}]"
        rule = read_misbehaviour(item, where, section.problems, refusals)
        if rule is not None:
            rules.append(rule)
    return tuple(rules)


def read_misbehaviour(
    data: object, where: str, problems: list[str], refusals: Collection[str]
) -> Misbehaviour | None:
    """One misbehaviour from `{name, value?, what?, first?, share?, model?, from_s?, for_s?}`; None when it is
    wrong. `refusals`: those that can be asked for."""
    section = Section(data, where, problems)
    before = len(problems)
    name = section.one_of("name", "", tuple(KINDS))
    value = section.number("value", 0.0) if section.has("value") else None
    section.any("value")
    model, what = section.any("model"), section.any("what")
    rule = Misbehaviour(
        name=name,
        value=value,
        first=section.maybe_integer("first", None, low=1),
        share=section.number("share", 1.0, high=1.0),
        model=None if model is None else str(model),
        from_s=section.number("from_s", 0.0),
        for_s=section.number("for_s", 0.0, low=1e-3) if section.has("for_s") else None,
        what=None if what is None else str(what),
    )
    section.any("for_s")
    section.done()
    if len(problems) > before:
        return None
    problem = check_value(rule)
    if problem:
        section.wrong("value", problem)
        return None
    problem = check_what(rule, refusals)
    if problem:
        section.wrong("what", problem)
        return None
    return rule
