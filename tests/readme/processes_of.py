"""Which processes a command has started, and which of them are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CHATQ = str(Path(sys.executable).with_name("chatq"))
WAIT_S = 40.0
"""How long an end is waited for. Far more than any takes: the machine may be busy."""


class _Process(NamedTuple):
    pid: int
    parent: int
    state: str
    command: str


def _all() -> list[_Process]:
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 3) for line in listed.stdout.splitlines())
    return [_Process(int(row[0]), int(row[1]), row[2], row[3]) for row in rows if len(row) == 4]


def started_by(pid: int, folder: Path) -> dict[int, str]:
    """What lives of a process and its children, and whatever names the folder: pid and command.

    The folder, because the embedded server is nobody's child.
    """
    alive = [process for process in _all() if not process.state.startswith("Z")]
    ours = {pid}
    while more := {process.pid for process in alive if process.parent in ours} - ours:
        ours |= more
    return {
        process.pid: process.command
        for process in alive
        if process.pid in ours or str(folder) in process.command
    }


def left_of(started: Mapping[int, str], within_s: float = 0.0) -> dict[int, str]:
    """Those that still live, `within_s` seconds later at the latest."""
    deadline = time.monotonic() + within_s
    while True:
        alive = {process.pid: process.command for process in _all() if not process.state.startswith("Z")}
        left = {pid: command for pid, command in started.items() if alive.get(pid) == command}
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.05)


@contextmanager
def running(
    command: list[str], folder: Path, *, until_said: str, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A command as a terminal runs it, in a process group of its own; from when its stderr has said `until_said`."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "CHATQ_HTTP__PORT": "0", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while until_said not in said:
                line = process.stderr.readline()
                assert line, f"{command} ended with {process.wait()}: {said}"
                said += line
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def press_ctrl_c(process: subprocess.Popen[str]) -> int:
    """SIGINT to the process group, as a terminal sends it; the exit code."""
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    return process.returncode
