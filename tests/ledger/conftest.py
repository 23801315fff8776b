"""A ledger on each kind of server: the real one, and fakeredis as used in callers' own tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import fakeredis
import pytest
import redis
from ledger_driver import LedgerDriver

from servers import RealServer

_ON_BOTH = {
    f"test_ledger_{name}"
    for name in (
        "batches",
        "deltas",
        "budgets",
        "enqueue",
        "fairness",
        "memory",
        "records",
        "server",
        "settle",
        "slots",
        "workers",
    )
}
"""Modules whose tests also run on fakeredis: what callers' own tests do with it. Every rule runs on the real server,
and with CHATQ_TEST_EXAMPLES on both; the property test always does."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The kinds of server that a test runs on."""
    if "client" in metafunc.fixturenames:
        both = metafunc.module.__name__ in _ON_BOTH or "CHATQ_TEST_EXAMPLES" in os.environ
        metafunc.parametrize("client", ["valkey", "fakeredis"] if both else ["valkey"], indirect=True)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A redis-py client of an empty server."""
    if request.param == "valkey":
        server: RealServer = request.getfixturevalue("valkey")
        made = server.client()
    else:
        made = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    yield made
    made.close()


@pytest.fixture
def ledger(client: redis.Redis) -> LedgerDriver:
    """An empty ledger whose clock stands still."""
    return LedgerDriver(client)


@pytest.fixture
def real_ledger(valkey: RealServer) -> Iterator[LedgerDriver]:
    """An empty ledger on the real server only, for what takes many calls."""
    made = valkey.client()
    yield LedgerDriver(made)
    made.close()
