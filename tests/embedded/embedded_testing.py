"""What the embedded server's tests look at: processes, sockets, logs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis

from chatq import embedded
from chatq.embedded.address import socket_path

MakeFolder = Callable[..., Path]


def end_server(folder: Path) -> None:
    """Kill what the server's own files name; a test may have stopped it, or taken its socket away."""
    try:
        process = int((folder / "server.pid").read_text())
    except (OSError, ValueError):
        return
    if process_exists(process) and os.fspath(folder.resolve()) in command_line(process):
        os.kill(process, signal.SIGKILL)
        # The lock is free when the kernel has closed the server's files.
        embedded.stop(folder)


def command_line(process: int) -> str:
    shown = subprocess.run(
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(process)], capture_output=True, check=False
    )
    return os.fsdecode(shown.stdout)


def process_exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def process_of(url: str) -> int:
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def starts(folder: Path) -> int:
    """How many servers have ever begun to run for `folder`."""
    return (folder / "server.log").read_text().count("is starting")


def socket_of(folder: Path) -> Path:
    return socket_path(folder.resolve())


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    """Another Python process, with pipes; `code` sees `arguments` in sys.argv."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def tool(name: str) -> str | None:
    """A program of this machine, although the tests' PATH is empty."""
    return shutil.which(name, path=os.defpath + ":/usr/sbin:/sbin")
