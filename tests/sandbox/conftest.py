from __future__ import annotations

from collections.abc import Iterator

import pytest
from simulator_testing import Client

from chatq_sandbox.process import SimulatorProcess


@pytest.fixture(scope="session")
def _running() -> Iterator[SimulatorProcess]:
    with SimulatorProcess() as simulator:
        yield simulator
    assert simulator.log == ""


@pytest.fixture
def simulator(_running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """A simulator with nothing configured and nothing counted."""
    _running.control("PUT", "config", {})
    yield _running
    assert _running.control("POST", "reset") == {"bugs": 0}


@pytest.fixture
def client(simulator: SimulatorProcess) -> Client:
    return Client(simulator)
