"""Fixtures: the environments of the programs that are not ours. `make test-all` makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

ENVIRONMENTS = Path(__file__).parent.parent / ".venv" / "foreign"


def _program(*parts: str) -> Path:
    path = ENVIRONMENTS.joinpath(*parts)
    assert path.exists(), f"{path} is missing: run the tests with make test-all, which installs it"
    return path


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    """The Python of the environment with the official SDKs."""
    return _program("sdks", "bin", "python")


@pytest.fixture(scope="session")
def litellm_command() -> Path:
    """The command `litellm` of the environment with the proxy."""
    return _program("litellm", "bin", "litellm")
