"""The command line, and the process helper."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
import pytest
from simulator_testing import send

from chatq_sandbox.process import SimulatorError, SimulatorProcess
from forked import run

COMMAND = [sys.executable, "-m", "chatq_sandbox.simulator"]


@pytest.mark.parametrize("wanted", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)])
def test_it_prints_one_ready_line_and_stops_cleanly_on_a_signal(wanted: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--seed", "7"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        assert ready.keys() == {"url", "pid", "seed"}
        assert ready["seed"] == 7
        assert send(ready["url"], "GET", "/_sim/health").json == {"status": "ok"}
        process.send_signal(wanted)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, b"", b"")


def test_a_file_configures_it(tmp_path: Path) -> None:
    path = tmp_path / "simulator.yaml"
    path.write_text("seed: 3\nsources: {openai: {models: [only]}}\n")
    with subprocess.Popen([*COMMAND, "--config", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        assert ready["seed"] == 3
        models = send(ready["url"], "GET", "/v1/models", headers={"authorization": "Bearer sim-openai-key"})
        assert [row["id"] for row in models.json["data"]] == ["only"]
        process.terminate()


@pytest.mark.parametrize(
    ("config", "arguments", "problem"),
    [
        ("seeds: 1", [], "{path}: configuration: unknown key 'seeds'; did you mean 'seed'?"),
        ("[1]", [], "--config {path}: expected a mapping at the top"),
        ("a: [", [], "--config {path}: not YAML: "),
        ("{}", ["--port", "70000"], "--port: expected 0 to 65535, got 70000"),
        ("{}", ["--host", "203.0.113.1"], "203.0.113.1"),
        ("{}", ["--sed", "1"], "unrecognized arguments: --sed 1"),
    ],
)
def test_wrong_use_is_one_clear_error_and_exit_code_2(
    tmp_path: Path, config: str, arguments: list[str], problem: str
) -> None:
    path = tmp_path / "simulator.yaml"
    path.write_text(config)
    ran = run("chatq_sandbox.simulator", "--config", str(path), *arguments)
    assert ran.returncode == 2
    assert problem.format(path=path) in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.thorough
def test_it_stops_when_its_parent_dies() -> None:
    parent = textwrap.dedent("""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-m", "chatq_sandbox.simulator", "--exit-with-parent"])
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        # The child holds the pipe's other end: it is readable (at its end) when the child has gone.
        readable, _, _ = select.select([process.stdout], [], [], 10)
        assert readable
        assert process.stdout.read() == b""


def test_the_helper_gives_the_url_counts_and_control() -> None:
    with SimulatorProcess({"seed": 5}) as simulator:
        assert simulator.url.startswith("http://127.0.0.1:")
        assert simulator.counts()["total"]["received"] == 0
        assert simulator.control("GET", "config") == {"seed": 5}
    assert simulator.pid is None
    simulator.stop()


def test_the_helper_says_why_it_did_not_start() -> None:
    with pytest.raises(SimulatorError, match="unknown key 'seeds'"), SimulatorProcess({"seeds": 1}):
        pass
