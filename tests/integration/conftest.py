"""Fixtures: one installation with one worker for tests that leave it as they found it, and own ones for the others."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from installation import WRONG_KEY, Install, Installation


@pytest.fixture(scope="session")
def gzip_bomb() -> Iterator[str]:
    """The URL of a provider whose answer of 280 kB unpacks to 64 MB."""
    bomb = gzip.compress(bytes(64 << 20), compresslevel=1, mtime=0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(bomb)))
            self.end_headers()
            self.wfile.write(bomb)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def installation(gzip_bomb: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The session's installation: one worker that lives throughout. Job names must be unique to their test."""
    connections = {
        "impatient": {
            "source": "custom", "url": "simulator", "model": "demo",
            "timeout": {"connect": "0.4s", "total": "0.4s"}, "retry": {"max_attempts": 1},
        },
        "strict": {"source": "custom", "url": "simulator", "model": "demo", "post_processing": "strict"},
        "cooling": {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": "cooling"}},
        **{
            name: {"source": "openai", "url": "simulator", "model": "gpt-5-mini", "api_key": f"env:{key}"}
            for name, key in {
                "bad-key": "TEST_WRONG_KEY",
                "bad-key-again": "TEST_WRONG_KEY",
                "no-key": "TEST_NO_SUCH_KEY",
                "no-key-for-commands": "TEST_NO_SUCH_KEY",
            }.items()
        },
        **{
            name: {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": name}}
            for name in ("no-money", "no-money-for-a-while", "halted", "resting")
        },
        "limited": {
            "source": "custom", "url": "simulator", "model": "demo",
            "limits": {"scope": "limited", "requests_per_minute": 6000, "concurrency": 7},
        },
        "nobody-there": {
            "source": "custom", "url": "http://127.0.0.1:9", "model": "demo", "retry": {"max_attempts": 1},
        },
        "gzip-bomb": {"source": "custom", "url": gzip_bomb, "model": "demo"},
    }  # fmt: skip
    with Installation(
        tmp_path_factory.mktemp("shared"),
        connections=connections,
        environ={"TEST_WRONG_KEY": WRONG_KEY},
        bounds={"answer_bytes": "1MiB", "job_bytes": "64KiB"},
    ) as shared:
        shared.start_worker()
        yield shared


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Makes installations of the test's own, with the sections of config.yaml that it is given; without workers."""
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> Installation:
            return stack.enter_context(Installation(tmp_path_factory.mktemp("own"), **settings))

        yield make
