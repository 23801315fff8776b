"""Entries of a batch travel in chunks, each while the next is made ready."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Final

from chatq.ledger.ledger import Entry

CHUNK_JOBS: Final = 500
CHUNK_BYTES: Final = 1 << 20


class Chunk:
    """Entries that travel together: at most `CHUNK_JOBS`, and about `CHUNK_BYTES`."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._bytes = 0

    def add(self, entry: Entry) -> bool:
        """Add one; says whether the chunk is full."""
        self.entries.append(entry)
        self._bytes += len(entry.request)
        return len(self.entries) >= CHUNK_JOBS or self._bytes >= CHUNK_BYTES


class ChunksInFlight:
    """Sends chunks in order, one at a time, beside the thread that makes them ready; so the server writes one while
    that reads and checks the next.

    In a `with` block: whatever is raised in it, what was under way has come to its end, but for a Ctrl-C, which waits
    for nothing.
    """

    def __init__(self, send: Callable[[Sequence[Entry]], None]) -> None:
        self._send = send
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def send(self, entries: Sequence[Entry]) -> None:
        """Send a chunk after the one before. Raises what came of that."""
        self.wait()
        # A daemon, because the process may end while the backlog has no room for the chunk.
        self._thread = threading.Thread(target=self._run, args=(entries,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until all is sent. Raises what came of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, entries: Sequence[Entry]) -> None:
        try:
            self._send(entries)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> ChunksInFlight:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception):
            with contextlib.suppress(Exception):  # the first error is told
                self.wait()
