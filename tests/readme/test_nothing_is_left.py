"""`chatq up`, `chatq demo` and `chatq verify` leave no process behind, however they end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT
from processes_of import CHATQ, WAIT_S, left_of, press_ctrl_c, running, started_by

GONE_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the shipped config.yaml."""
    shutil.copy(ROOT / "config.yaml", tmp_path)
    return tmp_path


def tmpdir() -> Path:
    """This test's TMPDIR."""
    return Path(os.environ["TMPDIR"])


def demo_folders() -> set[Path]:
    """The throw-away folders of demos in it."""
    return set(tmpdir().glob("chatq-demo-*"))


def is_suspended(pid: int) -> bool:
    """Whether a process was sent SIGSTOP."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.startswith("T")


def until(condition: Callable[[], Any]) -> Any:
    """Look until it is true; its value."""
    deadline = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.fixture(autouse=True)
def own_tmpdir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("t")))


@pytest.mark.thorough
def test_ctrl_c_in_the_middle_of_the_demo_leaves_nothing(folder: Path) -> None:
    with running([CHATQ, "demo"], folder, until_said="enqueued 12 jobs") as demo:
        (data,) = demo_folders()
        started = started_by(demo.pid, data)
        assert len(started) >= 5  # demo, keeper, simulator, server, worker
        assert press_ctrl_c(demo) == 130
        assert left_of(started) == {}
    assert demo_folders() == set()


@pytest.mark.thorough
def test_ctrl_c_while_the_demo_starts_leaves_nothing(folder: Path) -> None:
    with running([CHATQ, "demo"], folder, until_said="starting: ") as demo:
        started = started_by(demo.pid, folder)
        assert press_ctrl_c(demo) == 130
        assert left_of(started, within_s=GONE_S) == {}
    assert demo_folders() == set()


@pytest.mark.thorough
def test_a_killed_demo_is_cleaned_up_after(folder: Path) -> None:
    with running([CHATQ, "demo"], folder, until_said="enqueued 12 jobs") as demo:
        (data,) = demo_folders()
        started = started_by(demo.pid, data)
        demo.kill()
        demo.wait(WAIT_S)
        assert left_of(started, within_s=GONE_S) == {}
    assert demo_folders() == set()


@pytest.mark.thorough
def test_ctrl_c_in_the_middle_of_a_verification_leaves_nothing_not_even_what_is_suspended(
    folder: Path,
) -> None:
    verify = [CHATQ, "verify", "--jobs", "20", "--workers", "1", "--fault", "worker suspended"]
    with running(verify, folder, until_said="") as process:
        (data,) = until(
            lambda: [place.parent for place in tmpdir().glob("chatq-verify-*/producer-0.acknowledged")]
        )
        started = started_by(process.pid, data)
        assert len(started) >= 6  # verify, keeper, simulator, server, worker, producer
        (worker,) = (pid for pid, command in started.items() if "chatq_worker worker" in command)
        until(lambda: is_suspended(worker))
        assert press_ctrl_c(process) == 130
        assert left_of(started) == {}
    assert list(tmpdir().glob("chatq-verify-*")) == []


@pytest.mark.thorough
def test_a_killed_verification_is_cleaned_up_after_and_what_is_suspended_goes_on_to_end(folder: Path) -> None:
    verify = [CHATQ, "verify", "--jobs", "20", "--workers", "1", "--fault", "worker suspended"]
    with running(verify, folder, until_said="") as process:
        (data,) = until(
            lambda: [place.parent for place in tmpdir().glob("chatq-verify-*/producer-0.acknowledged")]
        )
        started = started_by(process.pid, data)
        (worker,) = (pid for pid, command in started.items() if "chatq_worker worker" in command)
        until(lambda: is_suspended(worker))
        process.kill()
        process.wait(WAIT_S)
        assert left_of(started, within_s=GONE_S) == {}
    assert list(tmpdir().glob("chatq-verify-*")) == []


@pytest.mark.thorough
def test_the_children_of_a_killed_up_end_by_themselves_and_down_ends_the_server(folder: Path) -> None:
    with running([CHATQ, "up"], folder, until_said="chatq is up", FLOWER_PORT="0") as up:
        started = started_by(up.pid, folder)
        server = {pid: command for pid, command in started.items() if "valkey-server" in command}
        up.kill()
        up.wait(WAIT_S)
        children = {pid: command for pid, command in started.items() if pid not in server}
        assert left_of(children, within_s=GONE_S) == {}
        assert left_of(server) == server
        down = subprocess.run([CHATQ, "down"], cwd=folder, capture_output=True, text=True, check=False)
        assert (down.returncode, down.stderr) == (0, "stopped\n")
        assert left_of(server) == {}


@pytest.mark.thorough
def test_up_ends_all_when_a_part_of_it_ends(folder: Path) -> None:
    with running([CHATQ, "up"], folder, until_said="chatq is up", FLOWER_PORT="0") as up:
        started = started_by(up.pid, folder)
        (worker,) = (pid for pid, command in started.items() if "chatq_worker worker" in command)
        os.kill(worker, signal.SIGKILL)
        _, said = up.communicate(timeout=WAIT_S)
        assert up.returncode == 1
        assert "chatq up: worker ended with exit code -9; stopping the rest.\nNothing is lost." in said
        assert left_of(started) == {}


@pytest.mark.thorough
def test_a_second_up_says_what_is_in_its_way_and_leaves_the_first_alone_which_sigterm_ends(
    folder: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with running([CHATQ, "up"], folder, until_said="chatq is up", FLOWER_PORT=port) as first:
        started = started_by(first.pid, folder)
        second = subprocess.run(
            [CHATQ, "up"],
            cwd=folder,
            env={**os.environ, "FLOWER_PORT": port, "CHATQ_HTTP__PORT": "0"},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert second.returncode == 1
        assert f"Flower cannot listen at http://127.0.0.1:{port}: Address already in use." in second.stderr
        assert "Traceback" not in second.stderr
        assert "worker" not in second.stderr, "none was started before the ports were known to be free"
        assert started_by(first.pid, folder) == started
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=WAIT_S)
        assert first.returncode == 0
        assert left_of(started) == {}
