"""What workers publish of their settings, and what callers make of it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatq.contract.config_problems import ConfigError
from chatq.contract.settings import Settings

FULL: dict[str, Any] = {
    "promptPlaceholder": "[Begin]",
    "redis": {"url": "redis://:secret-1@host", "broker_url": "amqp://u:secret-2@host", "key_prefix": "team"},
    "worker": {"lease": "10s", "slots": 7},
    "bounds": {"backlog": {"jobs": 10, "bytes": "1MiB"}, "job_bytes": "1KiB", "answer_bytes": "2KiB"},
    "results": {"keep": "1d"},
    "http": {"tokens_file": "/secret-3"},
    "connections": {
        "main": {
            "source": "openai",
            "model": "gpt-5-mini",
            "api_key": "env:SECRET_4",
            "post_processing": "strict",
            "timeout": {"connect": "1s", "total": "1m"},
            "limits": {"requests_per_minute": 5, "scope": "team"},
            "retry": {"max_attempts": 2, "max_elapsed": "5m", "on_worker_lost": "fail"},
            "params": {"max_tokens": 100, "user": "secret-5"},
            "fallback": ["own"],
            "budget": {"per_day_usd": 20},
            "price": {"input_per_million": 0.25, "output_per_million": 2},
        },
        "own": {
            "source": "custom",
            "url": "https://gateway.example.com/secret-6/v1",
            "include_headers": {"X-Team": "secret-7"},
            "include_body": {"token": "secret-8"},
        },
    },
}


def published() -> dict[str, Any]:
    return Settings.model_validate(FULL).public()


def test_what_is_published_is_what_callers_and_scripts_need() -> None:
    nothing_limited = {
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "requests_per_day": None,
        "concurrency": None,
        "scope": None,
    }
    assert published() == {
        "version": 1,
        "promptPlaceholder": "[Begin]",
        "redis": {"key_prefix": "team"},
        "worker": {"lease": 10.0},
        "bounds": {"backlog": {"jobs": 10, "bytes": 1048576}, "job_bytes": 1024, "answer_bytes": 2048},
        "results": {"keep": 86400.0},
        "connections": {
            "main": {
                "source": "openai",
                "model": "gpt-5-mini",
                "api": None,
                "post_processing": "strict",
                "bypass_status_check": False,
                "timeout": {"connect": 1.0, "total": 60.0},
                "limits": {**nothing_limited, "requests_per_minute": 5, "scope": "team"},
                "retry": {"max_attempts": 2, "max_elapsed": 300.0, "on_worker_lost": "fail"},
                "params": {"max_tokens": 100},
                "fallback": ["own"],
                "budget": {"per_day_usd": 20.0},
                "price": {"input_per_million": 0.25, "output_per_million": 2.0},
            },
            "own": {
                "source": "custom",
                "model": None,
                "api": None,
                "post_processing": "none",
                "bypass_status_check": False,
                "timeout": {"connect": 10.0, "total": 600.0},
                "limits": nothing_limited,
                "retry": {"max_attempts": 6, "max_elapsed": 3600.0, "on_worker_lost": "retry"},
                "params": {},
                "fallback": [],
                "budget": None,
                "price": None,
            },
        },
    }


def test_nothing_secret_is_published() -> None:
    assert "secret" not in json.dumps(published()).lower()


def test_a_caller_reads_what_was_published_through_json() -> None:
    read = Settings.from_public(json.loads(json.dumps(published())))

    assert read.public() == published()
    assert read.connections["main"].limits.requests_per_minute == 5


def test_what_is_not_published_has_its_default() -> None:
    read = Settings.from_public(published())

    assert (read.worker.slots, read.connections["own"].url, read.connections["main"].api_key) == (
        1000,
        None,
        None,
    )


def test_keys_that_a_newer_worker_added_are_passed_over() -> None:
    data = published()
    data["added"] = 1
    data["bounds"]["added"] = 1
    data["connections"]["main"]["added"] = 1
    data["connections"]["main"]["retry"]["added"] = 1

    assert Settings.from_public(data).public() == published()


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(2, "upgrade chatq here"), (0, "upgrade the workers"), (None, "upgrade the workers")],
)
def test_another_version_is_refused_with_what_to_upgrade(version: object, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        Settings.from_public({**published(), "version": version})


def test_a_value_that_this_version_does_not_know_is_named() -> None:
    data = published()
    data["connections"]["main"]["source"] = "a-new-one"

    with pytest.raises(ConfigError, match=r"connections\.main\.source: not understood by this version"):
        Settings.from_public(data)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_whatever_was_put_into_redis_is_read_or_refused(data: st.DataObject) -> None:
    tree = published()
    node: Any = tree
    while True:
        key = data.draw(st.sampled_from(sorted(node)))
        if not isinstance(node[key], dict) or not node[key] or data.draw(st.booleans()):
            node[key] = data.draw(_json)
            break
        node = node[key]

    with contextlib.suppress(ConfigError):
        Settings.from_public(tree)
