"""Claude's events put together to the message that it would have answered without streaming.

Source: Anthropic, Streaming messages; SDK, lib.streaming (how it accumulates them).
"""

from __future__ import annotations

from io import StringIO
from typing import Any

import orjson

from chatq_worker.providers.adapter import BrokenStream
from chatq_worker.providers.assembly import CUT_OFF, keep, object_in, part_of, place_of, written
from chatq_worker.providers.event_stream import Event


class MessageAssembly:
    """A message: its frame, then block after block in pieces, then why it ended. An error event takes its place.

    Events of other kinds (pings, and those to come) say nothing of the message.
    """

    def __init__(self) -> None:
        self.size = 0
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, _Block] = {}
        self._error: dict[str, Any] | None = None
        self._ended = False

    def add(self, event: Event) -> bool:
        data = object_in(event)
        match data.get("type") or event.name:
            case "content_block_delta":
                block = self._blocks.get(place_of(data))
                if block is None:
                    raise BrokenStream("a stream with an event that belongs nowhere")
                self.size += block.add(part_of(data.get("delta")))
                return False
            case "content_block_start":
                self._blocks[place_of(data)] = _Block(part_of(data.get("content_block")))
            case "message_start":
                self._message = part_of(data.get("message"))
            case "message_delta":
                self._change(data)
            case "message_stop":
                self._ended = True
            case "error":
                self._error = data
            case _:
                return False
        self.size += len(event.data)
        return self._ended or self._error is not None

    def whole(self) -> bytes:
        if self._error is not None:
            return written(self._error)
        if self._message is None or not self._ended:
            raise BrokenStream(CUT_OFF)
        content = [block.whole() for _, block in sorted(self._blocks.items())]
        return written({**self._message, "content": content})

    def _change(self, data: dict[str, Any]) -> None:
        """Why the message ended, and its usage: totals, of which those that are null say nothing new."""
        message = part_of(self._message)
        for name, value in data.items():
            if name == "delta":
                message |= part_of(value)
            elif name == "usage" and isinstance(value, dict):
                begun = message.get("usage")
                counted = {key: number for key, number in value.items() if number is not None}
                message["usage"] = {**(begun if isinstance(begun, dict) else {}), **counted}
            elif name != "type":
                message[name] = value


class _Block:
    """A block of content, as it began and with what came after."""

    def __init__(self, begun: dict[str, Any]) -> None:
        self._block = begun
        self._texts: dict[str, StringIO] = {}

    def add(self, delta: dict[str, Any]) -> int:
        """Take a piece; the bytes that it adds, about."""
        size = 0
        for name, value in delta.items():
            if name == "type":
                continue
            if isinstance(value, str):
                self._texts.setdefault(name, StringIO()).write(value)
                size += len(value)
            elif name == "citation":
                if not isinstance(self._block.get("citations"), list):
                    self._block["citations"] = []
                self._block["citations"].append(value)
                size += len(written(value))
            else:
                size += keep(self._block, name, value)
        return size

    def whole(self) -> dict[str, Any]:
        block = dict(self._block)
        for name, pieces in self._texts.items():
            text = pieces.getvalue()
            if name != "partial_json":
                begun = block.get(name)
                block[name] = (begun if isinstance(begun, str) else "") + text
            elif text:
                block["input"] = _json_or_text(text)
        return block


def _json_or_text(text: str) -> Any:
    """The arguments of a tool call. One that the answer's cap cut through stays the text that it is."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
