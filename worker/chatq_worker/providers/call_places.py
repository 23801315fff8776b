"""Which call of a tool a piece of a stream is about.

OpenAI's chunks say so by `index`. Some servers leave it out, and some give each of several calls the first one's
(Gemini's OpenAI shape); a name with another id is then the next call. An id alone says nothing: older versions of vLLM
make up a new one for each piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatq_worker.providers.assembly import place_of


class CallPlaces:
    """The places of the calls of one message, in the order in which they begin."""

    def __init__(self) -> None:
        self._by_index: dict[int | None, int] = {}
        self._ids: list[Any] = []

    def of(self, call: Mapping[str, Any]) -> int:
        """The place of the call that this piece is about. Raises `BrokenStream` for an index that is none."""
        index = None if call.get("index") is None else place_of(call)
        place, function = self._by_index.get(index), call.get("function")
        named = isinstance(function, Mapping) and bool(function.get("name"))
        if place is None or (named and call.get("id") and call["id"] != self._ids[place]):
            place = self._by_index[index] = len(self._ids)
            self._ids.append(call.get("id"))
        return place
