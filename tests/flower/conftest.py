"""Fixtures: Flower as a process on an installation of real parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "integration"))

from flower_process import FlowerProcess
from installation import Installation

CONNECTIONS = {
    "resting": {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": "resting"}},
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Server and simulator; no worker yet."""
    with Installation(tmp_path_factory.mktemp("flower"), connections=CONNECTIONS) as installation:
        yield installation


@pytest.fixture(scope="module")
def flower(installation: Installation) -> Iterator[FlowerProcess]:
    """Flower with its API open, that may do more than show; and then a worker."""
    with FlowerProcess(installation, "--no-read-only", FLOWER_UNAUTHENTICATED_API="1") as flower:
        installation.start_worker()
        yield flower
