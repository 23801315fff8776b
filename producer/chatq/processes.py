"""Child processes of one command: started together, ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Final, Self

KILL_AFTER_S: Final = 10.0
PARENT_VARIABLE: Final = "CHATQ_INTERNAL_PARENT"


class Children:
    """Starts Python modules as processes, and ends them all at the end of the `with` block, last first.

    Each runs in a session of its own, so that Ctrl-C reaches only the parent, which then ends them in order.
    """

    def __init__(self) -> None:
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `python -m module arguments...`. It ends by itself when this process dies (`follow_parent`)."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environ or {}), PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
        )
        self._processes.append((name, process))
        return process

    def start_and_hear(
        self, name: str, module: str, arguments: Sequence[str], *, standard_input: bytes
    ) -> bytes:
        """Start a process that reads its input and says in one line that it is ready; that line.

        Raises `RuntimeError` when it ends without a word; its own words are on stderr.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._processes.append((name, process))
        assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        assert process.stdout is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(standard_input)
        line = process.stdout.readline()
        process.stdout.close()
        if not line:
            raise RuntimeError(f"the {name} did not start")
        return line

    def first_ended(self) -> tuple[str, int] | None:
        """Name and exit code of one that has ended, if any has."""
        for name, process in self._processes:
            code = process.poll()
            if code is not None:
                return name, code
        return None

    def wait_for_any(self) -> tuple[str, int]:
        """Block until one of them ends; its name and exit code."""
        while (ended := self.first_ended()) is None:
            time.sleep(0.1)
        return ended

    def stop(self, *, grace_s: float = KILL_AFTER_S) -> None:
        """Tell each to end, and kill what has not after `grace_s` seconds."""
        while self._processes:
            _, process = self._processes.pop()
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(grace_s)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def follow_parent(environ: Mapping[str, str] = os.environ) -> None:
    """Called by a child: end (SIGTERM) when the process that started it is gone. Without a parent, nothing."""
    parent = environ.get(PARENT_VARIABLE)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="chatq-parent", daemon=True).start()


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Within the block SIGTERM ends this process as Ctrl-C does: in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
