"""Fixtures: the environments of the programs that are not ours, which `make test-all` makes; fronts for clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import PROGRAMS, Browser, browser_program, use_environment
from foreign_client import ForeignClient
from front_process import FrontProcess
from installation import Installation

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / ".venv" / "foreign"


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


@pytest.fixture(scope="session")
def schemathesis_command() -> Path:
    """The command `st` of the environment with schemathesis."""
    return _program("schemathesis", "bin", "st")


@pytest.fixture(scope="session")
def node_command() -> Path:
    """Node.js."""
    return _program("node", "bin", "node")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder with OpenAI's client for Node."""
    return _program("node", "node_modules")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser. Skips where none is installed."""
    use_environment(_program("browser"))
    program = browser_program()
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(PROGRAMS)} is on the PATH")
    with Browser(program) as browser:
        yield browser


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A worker, a server, a simulator. Job names must be unique to their test."""
    demo = {"source": "custom", "url": "simulator", "model": "demo"}
    with Installation(
        tmp_path_factory.mktemp("served"), http={"port": 0}, connections={"demo": demo}
    ) as made:
        made.start_worker()
        yield made


@pytest.fixture(scope="session")
def front(served: Installation) -> Iterator[FrontProcess]:
    """A front without tokens."""
    with FrontProcess(served) as process:
        yield process


@pytest.fixture(scope="session")
def guarded(served: Installation) -> Iterator[FrontProcess]:
    """A front with the tokens of two tenants."""
    tokens = served.folder / "tokens.yaml"
    tokens.write_text(
        json.dumps([{"token": f"{tenant}-token-1", "tenant": tenant} for tenant in ("acme", "globex")])
    )
    tokens.chmod(0o600)
    with FrontProcess(served, environ={"CHATQ_HTTP__TOKENS_FILE": str(tokens)}) as process:
        yield process


@pytest.fixture(scope="session")
def openai_python(front: FrontProcess, sdk_python: Path) -> Iterator[ForeignClient]:
    """OpenAI's official client for Python."""
    with ForeignClient([str(sdk_python), str(HERE / "openai_python")], front.url) as client:
        yield client


@pytest.fixture(scope="session")
def openai_node(front: FrontProcess, node_command: Path, node_modules: Path) -> Iterator[ForeignClient]:
    """OpenAI's official client for Node."""
    command = [str(node_command), str(HERE / "openai_node" / "scenes.cjs")]
    with ForeignClient(command, front.url, environ={"NODE_PATH": str(node_modules)}) as client:
        yield client
