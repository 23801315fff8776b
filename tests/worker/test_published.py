"""What the leading worker publishes: accounts and rules, and nothing of a key."""

from __future__ import annotations

from typing import Any

import pytest

from chatq.contract.settings import Settings
from chatq_worker.published import accounts, digest_of, key_fact, published, rules
from for_each import for_each


def settings(**connections: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {"connections": {name: {"source": "openai", **facts} for name, facts in connections.items()}}
    )


def test_connections_of_one_source_url_and_key_are_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_A", "sk-same")
    monkeypatch.setenv("KEY_B", "sk-same")
    monkeypatch.setenv("KEY_C", "sk-other")
    found = accounts(
        settings(
            a={"api_key": "env:KEY_A"},
            b={"api_key": "env:KEY_B"},
            c={"api_key": "env:KEY_C"},
            d={"api_key": "env:KEY_A", "url": "https://eu.api.openai.com/v1"},
        )
    )
    assert found == {"a": "a", "b": "a", "c": "c", "d": "d"}


def test_a_stated_scope_is_the_account() -> None:
    assert accounts(settings(a={"limits": {"scope": "team"}}, b={"limits": {"scope": "team"}})) == {
        "a": "@team",
        "b": "@team",
    }


def test_of_different_limits_of_one_account_the_lowest_holds() -> None:
    found = rules(settings(a={"limits": {"concurrency": 9}}, b={"limits": {"concurrency": 4}}, c={}))
    assert found["concurrency:a"] == 4


def test_nothing_of_a_key_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_A", "sk-canary-1234")
    made = settings(a={"api_key": "env:KEY_A"})
    assert b"sk-canary" not in published(made)
    assert "canary" not in str(rules(made))


@pytest.mark.parametrize(
    ("key", "fact"),
    [(None, "missing"), ("short-key", "set"), ("k" * 19, "set"), ("sk-0123456789abcdefgh", "...efgh")],
)
def test_of_a_key_only_its_end_is_told_and_only_of_a_long_one(
    key: str | None, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY_A", raising=False)
    if key is not None:
        monkeypatch.setenv("KEY_A", key)
    assert key_fact(settings(a={"api_key": "env:KEY_A"}).connections["a"]) == fact


def test_a_connection_that_names_no_key_has_none() -> None:
    assert key_fact(settings(a={}).connections["a"]) == "none"


@for_each(
    "change",
    [
        {"url": "http://other/v1"},
        {"params": {"seed": 2}},
        {"limits": {"concurrency": 3}},
        {"model": "m2"},
        {"exclude_body": ["a"]},
    ],
)
def test_other_settings_have_another_digest(change: dict[str, Any]) -> None:
    alike: dict[str, Any] = {"source": "custom", "url": "http://one/v1", "model": "m", "params": {"seed": 1}}
    assert digest_of(settings(a=alike)) == digest_of(settings(a=alike))
    assert digest_of(settings(a=alike)) != digest_of(settings(a={**alike, **change}))


def test_nothing_of_headers_and_bodies_is_in_the_digest() -> None:
    """People put keys there, and nothing made from a key is published."""
    alike: dict[str, Any] = {"source": "custom", "url": "http://one/v1", "model": "m"}
    secret = {**alike, "include_headers": {"x-token": "s3cret"}, "include_body": {"token": "s3cret"}}
    assert digest_of(settings(a=alike)) == digest_of(settings(a=secret))


def test_a_budget_is_published_in_billionths_of_a_dollar() -> None:
    found = rules(settings(a={"budget": {"per_day_usd": 2.5}}, b={}))
    assert (found["budget:a"], "budget:b" in found) == (2_500_000_000, False)
