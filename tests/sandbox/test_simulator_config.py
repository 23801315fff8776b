from __future__ import annotations

from typing import Any

import pytest

from chatq_sandbox.config import ConfigError, Limits, SimulatorConfig, merged
from chatq_sandbox.latency import Fixed, Lognormal, Uniform
from chatq_sandbox.misbehaviours import Misbehaviour
from for_each import for_each

KNOWN = {"openai": ("slow_down",), "custom": ()}


def read(data: Any) -> SimulatorConfig:
    return SimulatorConfig.from_mapping(data, KNOWN)


def test_nothing_configured_is_a_configuration() -> None:
    assert read({}) == SimulatorConfig()
    assert read(None) == SimulatorConfig()


def test_a_source_takes_what_it_does_not_say_from_the_defaults() -> None:
    config = read(
        {
            "defaults": {"latency": 2, "limits": {"concurrency": 5, "bucket": "minute"}},
            "sources": {"openai": {"limits": {"requests_per_minute": 9}}},
        }
    )
    openai = config.source("openai")
    assert openai.latency == Fixed(2.0)
    assert openai.limits == Limits(requests_per_minute=9, concurrency=5, bucket="minute")
    assert config.source("custom").limits == Limits(concurrency=5, bucket="minute")


@for_each(
    ("value", "expected"),
    [
        (0.5, Fixed(0.5)),
        ({"fixed": 3}, Fixed(3.0)),
        ({"uniform": [0.1, 2]}, Uniform(0.1, 2.0)),
        ({"lognormal": {"median_s": 0.8}}, Lognormal(0.8, 0.5, 600.0)),
    ],
)
def test_the_ways_to_state_a_latency(value: Any, expected: object) -> None:
    assert read({"defaults": {"latency": value}}).defaults.latency == expected


def test_a_misbehaviour_with_all_its_conditions() -> None:
    item = {"name": "server_error", "value": 503, "first": 2, "share": 0.1, "from_s": 1, "for_s": 5}
    config = read({"defaults": {"misbehaviours": [item]}})
    assert config.defaults.misbehaviours == (Misbehaviour("server_error", 503.0, 2, 0.1, None, 1.0, 5.0),)


@for_each(
    ("data", "problem"),
    [
        ({"sead": 1}, "configuration: unknown key 'sead'; did you mean 'seed'?"),
        ({"sources": {"openia": {}}}, "sources: unknown source 'openia'; did you mean 'openai'?"),
        (
            {"sources": {"openai": {"limits": {"request_per_minute": 1}}}},
            "sources.openai.limits: unknown key 'request_per_minute'; did you mean 'requests_per_minute'?",
        ),
        (
            {"defaults": {"limits": {"requests_per_minute": 0}}},
            "defaults.limits.requests_per_minute: expected a whole number from 1, got 0",
        ),
        (
            {"defaults": {"limits": {"bucket": "hour"}}},
            "defaults.limits.bucket: unknown value 'hour'; known: minute, second, window",
        ),
        (
            {"defaults": {"latency": {"uniform": [2, 1]}}},
            "defaults.latency.uniform: expected [low, high] with 0 <= low <= high, got [2, 1]",
        ),
        (
            {"defaults": {"latency": {"fixed": 1, "uniform": [1, 2]}}},
            "defaults.latency: expected seconds, or exactly one of fixed, uniform, lognormal",
        ),
        (
            {"defaults": {"misbehaviours": [{"name": "silense"}]}},
            "defaults.misbehaviours[0].name: unknown value 'silense'; did you mean 'silence'?",
        ),
        (
            {"defaults": {"misbehaviours": [{"name": "server_error", "value": 200}]}},
            "defaults.misbehaviours[0].value: server_error takes a status from 500 to 599, got 200",
        ),
        (
            {"sources": {"openai": {"misbehaviours": [{"name": "refuse", "what": "slow_don"}]}}},
            "misbehaviours[0].what: refuse takes the refusal's name, got 'slow_don'; did you mean 'slow_down'?",
        ),
        (
            {"sources": {"custom": {"misbehaviours": [{"name": "refuse", "what": "slow_down"}]}}},
            "refuse takes the refusal's name, got 'slow_down'; this source has none",
        ),
        (
            {"defaults": {"misbehaviours": [{"name": "silence", "what": "slow_down"}]}},
            "silence takes no name, got 'slow_down'",
        ),
        (
            {"defaults": {"look_up_error": 200}},
            "defaults.look_up_error: expected a whole number from 400, got 200",
        ),
        ({"defaults": {"keys": ["k"]}}, "defaults: unknown key 'keys'"),
        ({"sources": {"openai": {"keys": "k"}}}, "sources.openai.keys: expected a list of texts"),
        ([], "configuration: expected a mapping"),
    ],
)
def test_a_wrong_configuration_says_where_and_what_was_expected(data: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(data)
    assert problem in str(caught.value)


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"seed": "x", "defaults": {"answers": {"tokens": 0}}, "typo": 1})
    assert len(caught.value.problems) == 3


def test_a_change_is_laid_over_the_configuration_and_null_takes_away() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merged(base, {"a": {"b": None, "e": 3}, "d": [2]}) == {"a": {"c": 2, "e": 3}, "d": [2]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}
