"""The simulator as a process of its own, for tests, demo and benchmarks that are not asynchronous."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import IO, Any, Self, cast
from urllib.parse import quote, urlencode, urlsplit

import orjson

_STOP_S = 10.0


class SimulatorError(RuntimeError):
    """The simulator did not start, or refused a control request; the message is its own."""


class SimulatorProcess:
    """Starts the simulator on a free port and stops it at the end of the `with` block, or with this process.

    `config`: as in `config.py`. `url`: the base URL while it runs. `log`: after it has stopped, what it wrote
    to its error output.

    Raises:
        SimulatorError: on entering, when it does not say that it is ready within `start_s` seconds.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, *, port: int = 0, start_s: float = 20.0
    ) -> None:
        self.url = ""
        self.log = ""
        self._config = dict(config or {})
        self._port = port
        self._start_s = start_s
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Self:
        # A file, not a pipe: nobody reads it while the simulator runs.
        self._errors = errors = cast(IO[bytes], tempfile.TemporaryFile())
        command = [sys.executable, "-m", "chatq_sandbox.simulator", "--port", str(self._port)]
        self._process = process = subprocess.Popen(
            [*command, "--config", "-", "--exit-with-parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Ctrl-C in the terminal is for whoever started this, who may still need its answers.
            start_new_session=True,
        )
        try:
            line = self._first_line(process)
        except BaseException:
            self.stop()  # Ctrl-C: without this block's end, nobody else would
            raise
        if not line:
            self.stop()
            raise SimulatorError(f"the simulator did not start: {self.log.strip() or 'it said nothing'}")
        self.url = str(orjson.loads(line)["url"])
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        stdin, stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(orjson.dumps(self._config))
        readable, _, _ = select.select([stdout], [], [], self._start_s)
        return stdout.readline() if readable else b""

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Stop it; a second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if self._errors is not None:
            with self._errors as errors:
                errors.seek(0)
                self.log = errors.read().decode("utf-8", "replace")

    def counts(self, job: str | None = None) -> dict[str, Any]:
        """The counts of one job, or `{"total", "jobs", "look_ups", "bugs"}`; names as in
        `counts.Tally`."""
        return cast(
            dict[str, Any], self.control("GET", "counts" if job is None else f"counts?job={quote(job)}")
        )

    def wait(self, *, job: str | None = None, timeout_s: float = 30.0, **goals: int) -> bool:
        """Wait until counts are reached, e.g. `wait(answered=3)`, `wait(in_flight=0)`; False when the time is
        over."""
        query: dict[str, object] = {**goals, "timeout_s": timeout_s}
        if job is not None:
            query["job"] = job
        return bool(self.control("GET", f"wait?{urlencode(query)}", timeout_s=timeout_s + 10)["reached"])

    def control(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0
    ) -> Any:
        """One request to the control plane, e.g. `control("POST", "keys", {"key": ..., "state": "revoked"})`.

        Raises:
            SimulatorError: when it is refused.
        """
        place = urlsplit(self.url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        try:
            content = None if body is None else orjson.dumps(dict(body))
            connection.request(method, f"/_sim/{path}", content)
            answer = connection.getresponse()
            result = orjson.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise SimulatorError(result["error"])
        return result
