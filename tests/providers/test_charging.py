"""How the sources charge calls against their limits."""

from __future__ import annotations

import re

import pytest
from provider_testing import MODELS, SOURCES

from chatq_worker.providers.charging import TABLE, Charge, Charging, Refill, charging_of
from for_each import for_each


def sources_where(**facts: object) -> set[str]:
    """The sources whose model in these tests is charged so."""
    return {
        source
        for source in SOURCES
        if all(getattr(charging_of(source, MODELS[source]), name) == value for name, value in facts.items())
    }


def test_openai_charges_max_tokens_at_the_door_and_gives_nothing_back() -> None:
    assert sources_where(answer=Charge.RESERVED) == {"openai"}


def test_claude_charges_the_answer_as_it_is_made() -> None:
    assert charging_of("claude", "claude-opus-5-5").answer is Charge.USED


def test_claude_and_fireworks_count_input_and_output_apart() -> None:
    assert sources_where(input_and_output_apart=True) == {"claude", "fireworks"}


@for_each(
    ("model", "counts"),
    [
        ("claude-opus-5-5", False),
        ("claude-haiku-4-5-20251001", False),
        ("claude-3-5-haiku-20241022", True),
        ("claude-3-haiku-20240307", True),
        ("claude-3-5-sonnet-20241022", False),
        ("my-alias", False),
    ],
)
def test_claudes_cached_input_counts_with_its_old_haikus_only(model: str, counts: bool) -> None:
    assert charging_of("claude", model).cached_input_counts is counts


def test_failed_calls_count_with_openai_and_electron_hub() -> None:
    assert sources_where(failed_calls_count=True) == {"openai", "electronhub"}


def test_electron_hub_has_a_sliding_window_and_bans_who_exceeds_it_for_three_minutes() -> None:
    assert sources_where(refill=Refill.SLIDING) == {"electronhub"}
    assert charging_of("electronhub", "gpt-4o").ban_s == 180.0
    assert sources_where(ban_s=0.0) == set(SOURCES) - {"electronhub"}


@pytest.mark.parametrize("source", ["custom", "no-such-source"])
def test_a_source_without_documents_is_charged_for_what_it_uses(source: str) -> None:
    assert charging_of(source, "any") == Charging(
        answer=Charge.USED, refill=Refill.CONTINUOUS, cached_input_counts=True, ban_s=0.0
    )


@for_each("source", [source for source in SOURCES if source != "custom"])
def test_every_source_has_a_row_for_any_model_and_says_what_its_documents_name(source: str) -> None:
    assert TABLE[source][-1].name == ""
    assert all(re.compile(row.name) and row.rules.documented for row in TABLE[source])
