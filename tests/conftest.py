"""Fixtures for every test folder: one real server for the session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from servers import RealServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[RealServer]:
    """The session's real server. What other tests left in it may still be there: see `valkey_url`."""
    server = RealServer().start()
    yield server
    server.remove()


@pytest.fixture
def valkey_url(valkey: RealServer) -> str:
    """The URL of the session's real server, emptied."""
    with contextlib.closing(valkey.client()) as client:
        client.flushall()
    return valkey.url
