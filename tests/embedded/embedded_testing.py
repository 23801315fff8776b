"""What the embedded server's tests look at: processes, sockets, logs."""

from __future__ import annotations

import contextlib
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
from chatq.embedded.folder import folder_lock

MakeFolder = Callable[..., Path]


def end_server(folder: Path) -> None:
    """Kill every server of `folder`: a test may have suspended it, taken its socket away, or made two."""
    if not (folder / "server.lock").exists():
        return
    servers = servers_of(folder)
    for process in servers:
        os.kill(process, signal.SIGKILL)
    if servers:
        embedded.stop(folder)  # returns when the lock is free


def servers_of(folder: Path) -> list[int]:
    proc = Path("/proc")
    if not proc.exists():  # not Linux: believe the pid file if a server holds the lock
        with folder_lock(folder) as lock:
            return [] if lock is not None else [int((folder / "server.pid").read_text())]
    argument = b"--dir\0" + os.fsencode(folder.resolve()) + b"\0"
    found = []
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if argument in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


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
