"""A folder that goes when its maker does, and the embedded server in it, however that process ends: also by SIGKILL."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from chatq.embedded import ServerInUse, stop

_LEAVE_S: Final = 15.0
"""Time for a worker to leave that nobody waits for any more."""
_KEEP: Final = "keep"
_WAKE: Final = "wake"


class Throwaway:
    """The folder at `path`, and what its keeper is to do when its maker is gone."""

    def __init__(self, path: Path, keeper: IO[bytes]) -> None:
        self.path = path
        self._keeper = keeper

    def keep(self) -> None:
        """Let the folder stay; its server is stopped all the same."""
        self._tell(_KEEP)

    def wake(self, process: int) -> None:
        """Send a process that is about to be suspended a SIGCONT: it could not end by itself."""
        self._tell(f"{_WAKE} {process}")

    def _tell(self, what: str) -> None:
        self._keeper.write(f"{what}\n".encode())
        self._keeper.flush()


@contextlib.contextmanager
def throwaway_folder(prefix: str, data: str) -> Iterator[Throwaway]:
    """A new folder for the time of the block. `data`: the name, in it, of an embedded server's folder."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), data],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    assert keeper.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
    try:
        yield Throwaway(folder, keeper.stdin)
    finally:
        keeper.communicate()


def main() -> int:
    """Wait until the maker is gone, which closes our standard input; then clean up after it."""
    folder, data = Path(sys.argv[1]), sys.argv[2]
    told = [line.split() for line in sys.stdin.read().splitlines()]
    for process in {int(words[1]) for words in told if words[0] == _WAKE}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    deadline = time.monotonic() + _LEAVE_S
    while True:
        try:
            # Not by force as long as a worker lives: it would start the server again.
            stop(folder / data, force=time.monotonic() > deadline)
            break
        except ServerInUse:
            pass
    if [_KEEP] not in told:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
