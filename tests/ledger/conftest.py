"""A ledger on each kind of server: the real one, and, in `make test-all`, fakeredis as used in callers' own tests."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis
from ledger_driver import LedgerDriver

from servers import RealServer


@pytest.fixture(params=["valkey", pytest.param("fakeredis", marks=pytest.mark.thorough)])
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
