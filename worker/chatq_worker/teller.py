"""Telling the caller of a running job its answer while it grows.

Whoever reads the stream adds to it and never waits: the first deltas go out at once, those that come while a call of
the ledger is under way, or was a moment ago, are gathered for the next. While Redis is away or takes no more, they
gather on. What was told is always the beginning of the answer; the record has all of it, so what is never told is no
loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from chatq.contract.errors import ServerError
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq_worker.providers import Delta

GATHER_S: Final = 0.04
"""Between two calls of the ledger for one job."""
END_S: Final = 1.0
"""How long the last of it is waited for. The record follows, and has it too."""
_AT_ONCE: Final = 1000
"""Deltas in one call."""


class Teller:
    """Tells the deltas of one job, under its token. What would be more than `most_bytes` of them is not told."""

    def __init__(
        self,
        server: AsyncServer,
        ledger: Ledger,
        job_id: str,
        token: str,
        *,
        most_bytes: int,
        gather_s: float = GATHER_S,
    ) -> None:
        self._server = server
        self._ledger = ledger
        self._job_id = job_id
        self._token = token
        self._bytes_left = most_bytes
        self._gather_s = gather_s
        self._waiting: list[_Piece] = []
        self._told = 0
        self._silent = False
        self._ends = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.spoke = False
        """Whether the caller may have been told something."""

    def add(self, deltas: Sequence[Delta]) -> None:
        """Tell these too, soon."""
        if self._silent:
            return
        for delta in deltas:
            if not self._waiting or not self._waiting[-1].takes(delta):
                self._waiting.append(_Piece(delta))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def end(self, *, whole: bool) -> None:
        """Tell the last of it, if the answer is `whole`; else what was not told yet is not told any more."""
        if not whole:
            self._waiting.clear()
        self._ends.set()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=END_S)
            self._task.cancel()
            await asyncio.wait([self._task])
        self._silent = True

    async def _tell(self) -> None:
        try:
            while self._waiting and not self._silent:
                pieces, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                self._silent = not await self._told_these([piece.written() for piece in pieces])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ends.wait(), self._gather_s)
        except ServerError:  # not one that passes, or this worker stops
            self._silent = True
        self._waiting = [] if self._silent else self._waiting

    async def _told_these(self, deltas: list[bytes]) -> bool:
        """Whether they were told, and more may be."""
        self._bytes_left -= sum(map(len, deltas))
        if self._bytes_left < 0:
            return False
        self.spoke = True
        call = self._ledger.tell(self._job_id, self._token, self._told, deltas)
        self._told += len(deltas)
        return await self._server.run(call, patience_s=math.inf)


class _Piece:
    """A delta, and those behind it that only go on with its text."""

    def __init__(self, delta: Delta) -> None:
        self._delta = delta
        self._text = _text_in(delta)
        self._more: list[str] = []

    def takes(self, delta: Delta) -> bool:
        """Take a delta into this one, if it goes on with the same text."""
        text = _text_in(delta)
        if text is None or self._text is None or text[:2] != self._text[:2]:
            return False
        self._more.append(text[2])
        return True

    def written(self) -> bytes:
        """As the ledger takes it: a list of choices."""
        if not self._more or self._text is None:
            return orjson.dumps([self._delta])
        index, name, begun = self._text
        return orjson.dumps([{"index": index, "delta": {name: "".join([begun, *self._more])}}])


def _text_in(delta: Delta) -> tuple[int, str, str] | None:
    """(index, name, text) of a delta that is a piece of text; None of another."""
    said: Mapping[str, Any] = delta["delta"]
    [(name, text)] = said.items()
    return (delta["index"], name, text) if isinstance(text, str) else None
