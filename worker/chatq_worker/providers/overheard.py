"""An assembly that is listened to: what each event adds to the answer is told, while the answer is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chatq_worker.providers.adapter import Assembly, Delta, Deltas
from chatq_worker.providers.event_stream import Event


class Overheard:
    """Puts an answer together as `assembly` does, and tells `hear` what `deltas` reads in each event that it takes."""

    def __init__(self, assembly: Assembly, deltas: Deltas, hear: Callable[[Sequence[Delta]], None]) -> None:
        self._assembly = assembly
        self._deltas = deltas
        self._hear = hear
        self.size = assembly.size

    def add(self, event: Event) -> bool:
        over = self._assembly.add(event)
        self.size = self._assembly.size
        if deltas := self._deltas.read(event):
            self._hear(deltas)
        return over

    def whole(self) -> bytes:
        body = self._assembly.whole()
        if deltas := self._deltas.end():
            self._hear(deltas)
        return body
