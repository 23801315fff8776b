"""Processes forked from one that has imported our code: what takes most of a second is imported once a session.

They are what `python -m MODULE ARGUMENTS` is in all but two things: there is no fresh interpreter at the start, also
where a command becomes another one, and no orderly end of one. Tests about the start and the end of a process, or about
what its command line and environment show, start it in earnest.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Self

import orjson

from chatq.processes import PARENT_VARIABLE
from chatq_sandbox.process import SimulatorProcess

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["forked_modules"])
_SERVER: Any = forkserver._forkserver  # type: ignore[attr-defined]
_START_S = 30.0


def start_fork_server() -> None:
    """Does nothing when it runs. It finds `forked_modules.py` by its PYTHONPATH alone."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    try:
        _SERVER.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _use_that_of_the_parent() -> None:
    """A process that is forked uses the fork server of who forked it. It is not its child, so none to wait for."""
    if _SERVER._forkserver_pid is not None:
        _SERVER.ensure_running = lambda: None


os.register_at_fork(after_in_child=_use_that_of_the_parent)


class ForkedProcess:
    """`python -m MODULE ARGUMENTS` in a session of its own, with the environment `environ`.

    `-c` in the place of a module: the first of the arguments is a program.
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
        start_fork_server()
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing, when it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    module: str,
    *arguments: str,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    standard_input: str = "",
    timeout_s: float = 30.0,
) -> subprocess.CompletedProcess[str]:
    """What a `ForkedProcess` says and how it ends."""
    with tempfile.TemporaryDirectory() as place:
        given, output, errors = (Path(place, name) for name in ("in", "out", "err"))
        given.write_text(standard_input)
        process = ForkedProcess(
            module,
            arguments,
            environ=environ,
            folder=folder or Path.cwd(),
            output=output,
            errors=errors,
            standard_input=given,
        )
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


class ForkedSimulator(SimulatorProcess):
    """The simulator. Its end and its log are the subject of test_simulator_process.py: it is killed, and keeps none."""

    _forked: ForkedProcess | None = None

    def __enter__(self) -> Self:
        with tempfile.TemporaryDirectory() as place:
            config, output, errors = (Path(place, name) for name in ("in", "out", "err"))
            config.write_bytes(orjson.dumps(self._config))
            self._forked = ForkedProcess(
                "chatq_sandbox.simulator",
                ["--port", str(self._port), "--config", "-", "--exit-with-parent"],
                environ=os.environ,
                folder=Path.cwd(),
                output=output,
                errors=errors,
                standard_input=config,
            )
            deadline = time.monotonic() + _START_S
            while not (output.exists() and output.read_bytes().endswith(b"\n")):
                assert self._forked.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, "the simulator did not start"
                time.sleep(0.005)
            self.url = orjson.loads(output.read_bytes())["url"]
        return self

    def stop(self) -> None:
        if self._forked is not None:
            self._forked.kill()
            self._forked.wait(_START_S)


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
    os.execv = _become  # type: ignore[assignment]
    try:
        while True:
            try:
                return _run_here(module, arguments)
            except _Becoming as other:
                module, arguments = other.args
    except Exception:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        sys.exit(1)


def _run_here(module: str, arguments: list[str]) -> None:
    if module == "-c":
        program, *arguments = arguments
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


class _Becoming(BaseException):
    """A command becomes another module's process: module, arguments."""


def _become(_: str, words: list[str]) -> None:
    python, option, module, *arguments = words
    assert (python, option) == (sys.executable, "-m"), words
    raise _Becoming(module, arguments)
