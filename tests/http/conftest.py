"""One installation with an HTTP front for the whole folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from front_process import FrontProcess
from installation import Installation


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A worker, a server, a simulator. Job names must be unique to their test."""
    with Installation(
        tmp_path_factory.mktemp("http"), http={"port": 0}, bounds={"job_bytes": "256KiB"}
    ) as made:
        made.start_worker()
        yield made


@pytest.fixture(scope="session")
def front(installed: Installation) -> Iterator[FrontProcess]:
    """A front without tokens."""
    with FrontProcess(installed) as process:
        yield process
