"""Processes forked from one that has imported our code: what takes most of a second is imported once a session.

They are what `python -m MODULE ARGUMENTS` is in all but two things: there is no fresh interpreter at the start, and no
orderly end of one. Tests about the start and the end of a process, or about what its command line and environment
show, start it in earnest.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatq.processes import PARENT_VARIABLE

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["chatq_worker.main", "chatq.client", "chatq.cli.connections", "chatq.cli.jobs", "chatq.cli.status"]
)


class ForkedProcess:
    """`python -m MODULE ARGUMENTS` in a session of its own, with the environment `environ`.

    `output`, `errors`: the files that it writes to, which may be one. `standard_input`: a file, default nothing.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        output: Path,
        errors: Path,
        standard_input: Path = Path(os.devnull),
    ) -> None:
        self._process = _FORKS.Process(
            target=_run,
            args=(module, list(arguments), dict(environ), folder, standard_input, output, errors),
            daemon=True,
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit code; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing, when it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    module: str,
    arguments: list[str],
    environ: dict[str, str],
    folder: Path,
    standard_input: Path,
    output: Path,
    errors: Path,
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    if PARENT_VARIABLE in environ:  # the process that forks ends with the one that asked it to
        os.environ[PARENT_VARIABLE] = str(os.getppid())
    os.dup2(os.open(standard_input, os.O_RDONLY), 0)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written if errors == output else os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
