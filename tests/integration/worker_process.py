"""A worker process of a test: started, signalled, waited for, and its log read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatq.processes import PARENT_VARIABLE
from forked import ForkedProcess

EXIT_S = 30.0


class WorkerProcess:
    """`python -m chatq_worker worker --config FILE OPTIONS`, its stderr in the file `log_path`.

    `fresh`: in an interpreter of its own; else see `forked.py`.
    """

    def __init__(
        self,
        config: Path,
        log_path: Path,
        environ: Mapping[str, str],
        *,
        fresh: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.log_path = log_path
        arguments = ["worker", "--config", str(config), *options]
        # It ends with this process, should that be killed.
        environ = {**environ, PARENT_VARIABLE: str(os.getpid())}
        self._process: subprocess.Popen[bytes] | ForkedProcess
        if fresh:
            with log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "chatq_worker", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environ,
                    start_new_session=True,
                )
        else:
            self._process = ForkedProcess(
                "chatq_worker",
                arguments,
                environ=environ,
                folder=Path.cwd(),
                output=log_path,
                errors=log_path,
            )
        self.expected_words: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait(EXIT_S)

    def wait(self, timeout_s: float = EXIT_S) -> int:
        """Its exit code."""
        return self._process.wait(timeout_s)

    def expect(self, *words: str) -> None:
        """Words of errors that the test provokes: lines that hold one are no fault."""
        self.expected_words += words

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def messages(self) -> list[str]:
        """The messages of its log lines, in order."""
        return [line["message"] for line in self._lines() if line["message"]]

    def about(self, job_id: str) -> list[dict[str, Any]]:
        """The lines of its log about a job, in order, without what every line has."""
        common = ("time", "level", "process", "logger", "job")
        return [
            {name: value for name, value in line.items() if name not in common}
            for line in self._lines()
            if line.get("job") == job_id
        ]

    def faults(self) -> list[str]:
        """Errors and tracebacks in its log, and whatever is no line of JSON."""
        return [
            str(line)
            for line in self._lines()
            if line["level"] in {"error", "critical"} or "traceback" in line
            if not any(word in str(line) for word in self.expected_words)
        ]

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for text in self.log.splitlines():
            # What Celery's signal handler writes past the logging.
            if not text or text.startswith("worker: "):
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                line = {"level": "error", "message": text}
            lines.append(line)
        return lines
