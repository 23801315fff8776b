"""The commands of docker-compose.yml, run on this machine: the server, a worker on it, Flower behind its login."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from compose_server import LOGIN, PASSWORD, TOKEN, ComposeServer

from chatq_sandbox.process import SimulatorProcess
from forked import ForkedSimulator
from servers import free_port

BIN = Path(sys.executable).parent
WAIT_S = 30


@pytest.fixture(scope="module")
def simulator() -> Iterator[ForkedSimulator]:
    with ForkedSimulator({"sources": {"custom": {"models": ["demo"]}}}) as running:
        yield running


@pytest.fixture(scope="module")
def config(simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("etc") / "config.yaml"
    connections = {"sim": {"source": "custom", "url": f"{simulator.url}/custom/v1", "model": "demo"}}
    path.write_text(json.dumps({"connections": connections}))
    return path


def environ_of(compose: dict[str, Any], service: str, server: ComposeServer, config: Path) -> dict[str, str]:
    """The environment that the compose file gives a service, with this machine's places."""
    given: Mapping[str, str] = compose["services"][service]["environment"]
    here = {name: value.replace("@redis:6379", f"@127.0.0.1:{server.port}") for name, value in given.items()}
    return {**here, "CHATQ_CONFIG": str(config), "PATH": f"{BIN}:{os.environ['PATH']}"} | {
        name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ
    }


@contextmanager
def running(command: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in `log`; killed when the test leaves it."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environ, cwd=log.parent, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(command: list[str], environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_the_server_takes_every_option_as_written(server: ComposeServer) -> None:
    with server.client() as client:
        options = client.config_get(
            "appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "hide-user-data-from-log"
        )
    assert options == {
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory": str(2 << 30),
        "maxmemory-policy": "noeviction",
        "hide-user-data-from-log": "yes",
    }


def test_the_server_answers_nobody_without_the_password(server: ComposeServer) -> None:
    with server.client(password=None) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the process list as Linux has it")
def test_the_password_is_not_in_the_process_list(server: ComposeServer) -> None:
    assert PASSWORD not in Path(f"/proc/{server.process.pid}/cmdline").read_text()


@pytest.mark.thorough
def test_a_worker_on_it_runs_a_job_reports_its_health_and_ends_when_told(
    compose: dict[str, Any], server: ComposeServer, config: Path, tmp_path: Path
) -> None:
    service = compose["services"]["worker"]
    environ = environ_of(compose, "worker", server, config)
    check, *health = service["healthcheck"]["test"]
    assert check == "CMD"
    log = tmp_path / "worker.log"
    with running(["chatq", *service["command"]], environ, log) as worker:
        submitted = run(["chatq", "submit", "sim", "hello", "--wait", "--timeout", "20"], environ, tmp_path)
        assert submitted.returncode == 0, submitted.stderr + log.read_text()
        assert submitted.stdout.startswith("answer to ")
        assert run(health, environ, tmp_path).returncode == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WAIT_S) == 0
    sick = run(health, environ, tmp_path)
    assert (sick.returncode, sick.stderr.splitlines()[0]) == (
        1,
        f"chatq health: No worker of {socket.gethostname()} holds a lease.",
    )
    assert PASSWORD not in log.read_text()


@pytest.mark.thorough
def test_a_worker_with_a_wrong_password_says_so_and_ends(
    compose: dict[str, Any], server: ComposeServer, config: Path, tmp_path: Path
) -> None:
    environ = environ_of(compose, "worker", server, config)
    environ["CHATQ_REDIS_URL"] = environ["CHATQ_REDIS_URL"].replace(PASSWORD, "wrong-canary")
    ended = run(["chatq", "worker"], environ, tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "refused the login" in ended.stderr
    assert "wrong-canary" not in ended.stderr


@pytest.mark.thorough
def test_flower_is_behind_its_login_and_reports_its_health_without_it(
    compose: dict[str, Any], server: ComposeServer, config: Path, tmp_path: Path
) -> None:
    service = compose["services"]["flower"]
    environ = environ_of(compose, "flower", server, config)
    port = str(free_port())
    with subprocess.Popen(
        ["chatq", *service["command"], "--port", port],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as flower:
        try:
            assert flower.stdout is not None
            assert flower.stdout.readline() == f"Flower shows the jobs at http://0.0.0.0:{port}\n"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/tasks", timeout=WAIT_S)
            with refused.value:
                assert refused.value.code == 401
            login = {"Authorization": f"Basic {base64.b64encode(LOGIN.encode()).decode()}"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/tasks", headers=login)
            with urllib.request.urlopen(request, timeout=WAIT_S) as page:
                assert page.status == 200
            health = [word.replace(":5555", f":{port}") for word in service["healthcheck"]["test"][1:]]
            assert run(health, environ, tmp_path).returncode == 0
        finally:
            flower.terminate()
        assert flower.wait(WAIT_S) == 0


@pytest.mark.thorough
def test_the_front_answers_who_has_a_token_and_reports_its_health_without(
    compose: dict[str, Any], server: ComposeServer, config: Path, tmp_path: Path
) -> None:
    service = compose["services"]["front"]
    environ = environ_of(compose, "front", server, config)
    environ["CHATQ_HTTP__FOLDER"] = str(tmp_path / "front")
    with subprocess.Popen(
        ["chatq", *service["command"], "--port", "0"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as front:
        try:
            assert front.stdout is not None
            port = front.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2]
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=WAIT_S)
            with refused.value:
                assert refused.value.code == 401
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/models", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                assert answer.status == 200
            health = [word.replace(":8400", f":{port}") for word in service["healthcheck"]["test"][1:]]
            assert run(health, environ, tmp_path).returncode == 0
        finally:
            front.terminate()
        assert front.wait(WAIT_S) == 0
