"""Fixtures: one installation with one worker for tests that leave it as they found it, and own ones for the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from installation import WRONG_KEY, Install, Installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The session's installation: one worker that lives throughout. Job names must be unique to their test."""
    connections = {
        "impatient": {
            "source": "custom", "url": "simulator", "model": "demo",
            "timeout": {"connect": "0.4s", "total": "0.4s"}, "retry": {"max_attempts": 1},
        },
        "strict": {"source": "custom", "url": "simulator", "model": "demo", "post_processing": "strict"},
        "cooling": {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": "cooling"}},
        "bad-key": {
            "source": "openai", "url": "simulator", "model": "gpt-5-mini", "api_key": "env:TEST_WRONG_KEY",
        },
        "no-key": {
            "source": "openai", "url": "simulator", "model": "gpt-5-mini", "api_key": "env:TEST_NO_SUCH_KEY",
        },
        "nobody-there": {
            "source": "custom", "url": "http://127.0.0.1:9", "model": "demo", "retry": {"max_attempts": 1},
        },
    }  # fmt: skip
    with Installation(
        tmp_path_factory.mktemp("shared"),
        connections=connections,
        environ={"TEST_WRONG_KEY": WRONG_KEY},
        bounds={"answer_bytes": "1MiB", "job_bytes": "64KiB"},
    ) as shared:
        shared.start_worker()
        yield shared


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Makes installations of the test's own, with the sections of config.yaml that it is given; without workers."""
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Installation:
            return stack.enter_context(Installation(tmp_path_factory.mktemp("own"), **settings))

        yield make
