"""What Claude's events add to the answer, in OpenAI's words. Source: Anthropic, Streaming messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from chatq_worker.providers.adapter import Delta
from chatq_worker.providers.assembly import object_in, part_of, place_of
from chatq_worker.providers.chat_completion_deltas import delta_of
from chatq_worker.providers.event_stream import Event

_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "text": ("text", "content"),
    "thinking": ("thinking", "reasoning_content"),
}
"""Blocks whose text is told: the key under which it stands, and OpenAI's."""


class MessageDeltas:
    """Reads the deltas of a message. Arguments of calls are told as they come; the whole has them without blanks."""

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}

    def read(self, event: Event) -> list[Delta]:
        data = object_in(event)
        return [delta_of(0, said) for said in self._read(data, str(data.get("type") or event.name))]

    def end(self) -> list[Delta]:
        return []

    def _read(self, data: Mapping[str, Any], kind: str) -> Iterator[dict[str, Any]]:
        match kind:
            case "content_block_start":
                yield from self._begin(place_of(data), part_of(data.get("content_block")))
            case "content_block_delta":
                yield from self._go_on(place_of(data), part_of(data.get("delta")))
            case "content_block_stop":
                call = self._calls.get(place_of(data))
                if call is not None and not call.told:
                    yield call.said(call.whole)
            case "message_delta":
                details = part_of(data.get("delta") or {}).get("stop_details")
                explanation = details.get("explanation") if isinstance(details, Mapping) else None
                if isinstance(explanation, str) and explanation:
                    yield {"refusal": explanation}

    def _begin(self, place: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind = self._kinds[place] = str(block.get("type"))
        if kind == "tool_use":
            call = self._calls[place] = _Call(len(self._calls), block)
            yield call.begun()
        else:
            yield from self._text(kind, block)

    def _go_on(self, place: int, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        piece, call = delta.get("partial_json"), self._calls.get(place)
        if call is None:
            yield from self._text(self._kinds.get(place, ""), delta)
        elif isinstance(piece, str) and piece:
            yield call.said(piece)

    def _text(self, kind: str, part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name, told_as = _TEXTS.get(kind, ("", ""))
        text = part.get(name)
        if isinstance(text, str) and text:
            yield {told_as: text}


class _Call:
    """One call of a tool. `whole`: its arguments where none come in pieces."""

    def __init__(self, place: int, block: Mapping[str, Any]) -> None:
        self._place = place
        self._block = block
        self.whole = orjson.dumps(block.get("input") or {}).decode()
        self.told = False

    def begun(self) -> dict[str, Any]:
        """Who is called."""
        function = {"name": str(self._block.get("name") or ""), "arguments": ""}
        call = {"index": self._place, "id": str(self._block.get("id") or ""), "type": "function"}
        return {"tool_calls": [{**call, "function": function}]}

    def said(self, arguments: str) -> dict[str, Any]:
        """A piece of its arguments."""
        self.told = True
        return {"tool_calls": [{"index": self._place, "function": {"arguments": arguments}}]}
