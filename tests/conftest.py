"""For every test folder: one real server for the session, how many examples hypothesis tries, what runs first."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import library_versions  # noqa: F401
import same_examples
from servers import RealServer

EXAMPLES = int(os.environ.get("CHATQ_TEST_EXAMPLES", "0"))
# Few and always the same examples; `CHATQ_TEST_EXAMPLES=2000 pytest --timeout 0 ...` looks for new ones. Nothing is
# judged by how long it took: that says more of the machine, on which other tests run meanwhile.
if not EXAMPLES:
    same_examples.draw_no_constants_of_our_code()
settings.register_profile(
    "chatq",
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("chatq")

# From here to `pytest_collection_finish`, what is made stays.
gc.disable()

_WAITS = {"deploy", "embedded", "flower", "integration", "readme", "sources", "verify", "worker"}
"""Folders of tests that start processes and wait for them."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of several processes each begins to collect elsewhere: what is not compiled yet is compiled by one of them."""
    number = os.environ.get("PYTEST_XDIST_WORKER")
    if number is None or session.config.args != session.config.getini("testpaths"):
        return
    files = Path(__file__).parent.rglob("test_*.py")
    parts = sorted({str(path if path.parent == Path(__file__).parent else path.parent) for path in files})
    first = len(parts) * int(number.removeprefix("gw")) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    session.config.args = parts[first:] + parts[:first]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at the end it would keep one process busy and the others idle."""
    items.sort(key=lambda item: (item.path.parent.name not in _WAITS, item.path))


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


def pytest_collection_finish() -> None:
    """Nothing collects what lives as long as the session: modules and tests. Looking through it costs much."""
    gc.collect()
    gc.freeze()
    gc.enable()
