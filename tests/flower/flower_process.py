"""Flower of a test: `chatq flower` on a free port, asked over HTTP."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from installation import WAIT_S, Installation, until

from forked import ForkedProcess

_CHATQ = str(Path(sys.executable).with_name("chatq"))


class FlowerProcess:
    """Started on entering, ended on leaving. `variables`: of its environment. `fresh`: see `WorkerProcess`."""

    def __init__(
        self, installation: Installation, *arguments: str, fresh: bool = False, **variables: str
    ) -> None:
        self._arguments = ["flower", "--config", str(installation.config), "--port", "0", *arguments]
        self._fresh = fresh
        # Every warning of Python's is shown, and so found in `errors`.
        self._environ = {**installation.environ, "PYTHONWARNINGS": "default", **variables}
        self._folder = installation.folder
        # Not a pipe, which holds it up when nobody reads it.
        self._log = installation.folder / f"flower-{secrets.token_hex(4)}.log"
        self._output = self._log.with_suffix(".out")
        self.url = ""

    def __enter__(self) -> Self:
        self._process: subprocess.Popen[bytes] | ForkedProcess
        if self._fresh:
            with self._output.open("wb") as output, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [_CHATQ, *self._arguments], cwd=self._folder, env=self._environ, stdout=output, stderr=log
                )
        else:
            self._process = ForkedProcess(
                "chatq",
                self._arguments,
                environ=self._environ,
                folder=self._folder,
                output=self._output,
                errors=self._log,
            )
        self.url = until(self._said_where, "Flower to start").split()[-1]
        return self

    def _said_where(self) -> str:
        """The line with its address, once it is there."""
        assert self._process.poll() is None, self.errors
        said = self._output.read_text() if self._output.exists() else ""
        return said if said.startswith("Flower shows the jobs at http://") and said.endswith("\n") else ""

    @property
    def errors(self) -> str:
        """What it has said on stderr."""
        return self._log.read_text()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(WAIT_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        self._process.send_signal(number)
        return self._process.wait(WAIT_S)

    def text(self, path: str) -> str:
        """What it answers at a path."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=WAIT_S) as answer:
            body: bytes = answer.read()
        return body.decode()

    def post(self, path: str) -> None:
        """Ask for something at a path."""
        with urllib.request.urlopen(f"{self.url}{path}", data=b"", timeout=WAIT_S) as answer:
            assert answer.status == 200

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every row of its API, by task id."""
        rows: dict[str, dict[str, Any]] = json.loads(self.text("/api/tasks"))
        return rows

    def row(self, job_id: str, state: str) -> dict[str, Any]:
        """The row of a job, once it is in that state of Celery's."""

        def there() -> dict[str, Any] | None:
            row = self.rows().get(job_id)
            return row if row is not None and row["state"] == state else None

        row: dict[str, Any] = until(there, f"Flower to show {job_id} as {state}")
        return row
