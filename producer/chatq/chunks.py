"""Entries of a batch travel in chunks, each while the next is made ready."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from chatq.ledger.call import Call
from chatq.ledger.entry import Entry
from chatq.ledger.server import Sent, Server
from chatq.steps import Steps, drive, resumed

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
    """Sends chunks in order, one at a time, and does not wait for a reply before the next is made ready; so the server
    writes one while this thread reads and checks the next. (A thread that waits would have to take turns with it.)

    In a `with` block: whatever is raised in it, what was under way has come to its end, but for a Ctrl-C, which waits
    for nothing.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._under_way: tuple[Steps[None], Sent[Any]] | None = None

    def send(self, steps: Steps[None]) -> None:
        """Send a chunk after the one before. Raises what came of that."""
        first = next(steps)
        assert isinstance(first, Call)  # noqa: S101 - nothing is waited for before something was asked
        self.wait()
        self._under_way = steps, self._server.send(first)

    def wait(self) -> None:
        """Wait until all is written. Raises what came of it."""
        if self._under_way is not None:
            (steps, sent), self._under_way = self._under_way, None
            drive(resumed(steps, sent.reply()), self._server)

    def __enter__(self) -> ChunksInFlight:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception):
            with contextlib.suppress(Exception):  # the first error is told
                self.wait()
        elif self._under_way is not None:
            self._under_way[1].abandon()
