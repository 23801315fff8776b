"""Fixture: the installation in which tests plant what operators get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from doctor_world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()
