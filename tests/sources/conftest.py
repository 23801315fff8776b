"""One installation for the whole folder: every source, one worker, one embedded server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from source_installation import SourceInstallation


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceInstallation]:
    """Every source, and one worker that lives throughout. Job names must be unique to their test."""
    with SourceInstallation(tmp_path_factory.mktemp("sources")) as installation:
        installation.start_worker()
        yield installation
