"""Child processes of one command: started together, ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

from chatq.contract.errors import ChatQueueError

KILL_AFTER_S: Final = 10.0
TELL_AFTER_S: Final = 3.0
PARENT_VARIABLE: Final = "CHATQ_INTERNAL_PARENT"
_POLL_S: Final = 0.02
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildNotStarted(ChatQueueError):
    """A child process ended before it was ready; what was wrong, it said itself."""

    code = "child_not_started"


class Children:
    """Starts Python modules as processes, and ends them all at the end of the `with` block.

    Each runs in a session of its own, so that Ctrl-C reaches only this process, which ends them in order. Within the
    block the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt. Those that come while children are ending are
    for these: the first of them asks once more (a worker then hands its jobs back at once), the next kills.
    """

    def __init__(self) -> None:
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._before: dict[signal.Signals, Any] = {}
        self._signals = 0
        self._raised = False
        self._held = False

    def start(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environ: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `python -m module arguments...`. It ends by itself when this process dies (`follow_parent`)."""
        with self._holding_signals():
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environ or {}), PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
            )
            self._processes.append((name, process))
        return process

    def start_and_hear(
        self, name: str, module: str, arguments: Sequence[str], *, standard_input: bytes = b""
    ) -> Callable[[], str]:
        """Start a process that says in one line of its output that it is ready; what waits for that line.

        It raises `ChildNotStarted` when the process ends without a word.
        """
        process = self.start(name, module, arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(standard_input)

        def hear() -> str:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            with process.stdout:
                line = process.stdout.readline()
            if not line:
                raise ChildNotStarted(
                    f"{name[0].upper()}{name[1:]} did not start.", remedy="What was wrong is said above."
                )
            return line.decode().rstrip("\n")

        return hear

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

    def stop(
        self,
        *names: str,
        grace_s: float = KILL_AFTER_S,
        on_wait: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """End those of these names (without names: all), all at once; kill what has not after `grace_s` seconds.

        `on_wait` is called once, with the names of those that still live after `TELL_AFTER_S` seconds.
        """
        with self._holding_signals():
            chosen = [entry for entry in self._processes if not names or entry[0] in names]
            for _, process in chosen:
                process.terminate()
            started = time.monotonic()
            signals_before, asked_again = self._signals, False
            while alive := [entry for entry in chosen if entry[1].poll() is None]:
                waited_s = time.monotonic() - started
                impatience = self._signals - signals_before
                for _, process in alive:
                    if impatience > 1 or waited_s > grace_s:
                        process.kill()
                    elif impatience == 1 and not asked_again:
                        process.terminate()
                asked_again = impatience > 0
                if on_wait is not None and waited_s > TELL_AFTER_S:
                    on_wait([name for name, _ in alive])
                    on_wait = None
                time.sleep(_POLL_S)
            self._processes = [entry for entry in self._processes if entry not in chosen]

    @contextlib.contextmanager
    def _holding_signals(self) -> Iterator[None]:
        """Raise nothing in the middle: a process that was started and not noted, or not waited for, would be left."""
        outermost, self._held = not self._held, True
        try:
            yield
        finally:
            if outermost:
                self._held = False
        self._raise_first()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._raise_first()

    def _raise_first(self) -> None:
        if self._signals and not self._raised and not self._held:
            self._raised = True
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            # What is ignored stays so: nohup, or the background of a script.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)


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
