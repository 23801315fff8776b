"""The table of models: which row fits, and how a name's version is read."""

from __future__ import annotations

import re

from provider_testing import MODELS, SOURCES

from chatq_worker.providers import merged_params
from chatq_worker.providers.model_rules import EFFORTS, TABLE, nearest_effort, rules_of, version_of
from for_each import for_each


@for_each(
    ("model", "version"),
    [
        ("claude-haiku-4-5-20251001", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-3-5-haiku-20241022", (3, 5)),
        ("claude-opus-5-5", (5, 5)),
        ("claude-instant-1.2", (1, 2)),
        ("gpt-5.2-2025-12-11", (5, 2)),
        ("gpt-5-2025-08-07", (5, 0)),
        ("gpt-4o-mini", (4, 0)),
        ("o4-mini-2025-04-16", (4, 0)),
        ("anthropic/claude-sonnet-4.6", (4, 6)),
        ("my-alias", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_in_a_models_name(model: str, version: tuple[int, int]) -> None:
    assert version_of(model) == version


def test_every_row_can_be_read_and_refers_to_efforts_that_exist() -> None:
    for rows in TABLE.values():
        for row in rows:
            re.compile(row.name)
            assert row.since < row.before
            assert set(row.rules.efforts) <= set(EFFORTS)
            assert list(row.rules.efforts) == sorted(row.rules.efforts, key=EFFORTS.index)


def test_a_gateways_prefix_does_not_hide_a_model() -> None:
    assert rules_of("claude", "anthropic/claude-opus-5-5") == rules_of("claude", "claude-opus-5-5")
    assert rules_of("openai", "openai/o3") == rules_of("openai", "o3")
    assert rules_of("openai", "GPT-5-Mini") == rules_of("openai", "gpt-5-mini")


@for_each("source", SOURCES)
def test_a_model_nobody_knows_gets_rules_all_the_same(source: str) -> None:
    assert rules_of(source, "no-such-model").refuses == frozenset()


@for_each("source", SOURCES)
def test_the_models_of_these_tests_refuse_nothing_they_should_not(source: str) -> None:
    assert "temperature" not in rules_of(source, MODELS[source]).refuses


@for_each(
    ("wanted", "accepted", "nearest"),
    [
        ("low", ("low", "high"), "low"),
        ("medium", ("low", "high"), "low"),
        ("max", ("low", "high"), "high"),
        ("none", ("low", "high"), "low"),
        ("minimal", ("none", "low"), "low"),
        ("low", ("none",), "none"),
        ("nonsense", ("low",), None),
        ("low", (), None),
    ],
)
def test_the_nearest_effort(wanted: str, accepted: tuple[str, ...], nearest: str | None) -> None:
    assert nearest_effort(wanted, accepted) == nearest


@for_each(
    ("defaults", "own", "merged"),
    [
        ({"temperature": 0.7}, {}, {"temperature": 0.7}),
        ({"temperature": 0.7}, {"temperature": 0.1}, {"temperature": 0.1}),
        ({"temperature": 0.7}, {"temperature": None}, {"temperature": None}),
        ({"max_tokens": 9}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 9}, {"seed": 1}, {"max_tokens": 9, "seed": 1}),
    ],
)
def test_a_jobs_own_parameters_win_whatever_a_cap_is_called(
    defaults: dict[str, object], own: dict[str, object], merged: dict[str, object]
) -> None:
    assert merged_params(defaults, own) == merged
