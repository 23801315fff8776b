"""The chunks of a chat completion put together to what would have been answered without streaming.

Source: OpenAI API reference, the chat completion chunk object; Fireworks SDK (types.chat).
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any, Final

from chatq_worker.providers.adapter import BrokenStream
from chatq_worker.providers.assembly import CUT_OFF, keep, object_in, part_of, place_of, written
from chatq_worker.providers.event_stream import Event

_DONE: Final = b"[DONE]"
_TEXTS: Final = frozenset({"content", "reasoning_content", "reasoning", "refusal"})


class ChatCompletionAssembly:
    """A completion: choices in pieces, each by its index, and usage near the end. An error takes its place.

    What is null in a chunk says nothing.
    """

    def __init__(self) -> None:
        self.size = 0
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._error: dict[str, Any] | None = None
        self._ended = False

    def add(self, event: Event) -> bool:
        if event.data.strip() == _DONE:
            self._ended = True
            return True
        chunk = object_in(event)
        choices = chunk.get("choices") or []
        if chunk.get("error") and not choices:
            self._error = chunk
            self.size += len(event.data)
            return True
        for name, value in chunk.items():
            if value is not None:
                self.size += keep(self._frame, name, None if name == "choices" else value)
        for choice in choices if isinstance(choices, list) else [choices]:
            place = place_of(part_of(choice))
            self.size += self._choices.setdefault(place, _Choice()).add(choice)
        return False

    def whole(self) -> bytes:
        if self._error is not None:
            return written(self._error)
        if not self._ended:
            raise BrokenStream(CUT_OFF)
        choices = [{"index": place, **choice.whole()} for place, choice in sorted(self._choices.items())]
        return written({**self._frame, "object": "chat.completion", "choices": choices})


class _Choice:
    """One choice, as far as it has come."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._texts: dict[str, StringIO] = {}
        self._calls: dict[int, _Call] = {}
        self._logprobs: dict[str, Any] = {}
        self._rest: dict[str, Any] = {}

    def add(self, choice: Mapping[str, Any]) -> int:
        """Take a piece; the bytes that it adds, about."""
        size = 0
        for name, value in choice.items():
            if value is None or name == "index":
                continue
            if name == "delta":
                size += self._add_delta(part_of(value))
            elif name == "logprobs":
                size += self._add_logprobs(part_of(value))
            else:
                size += keep(self._rest, name, value)
        return size

    def whole(self) -> dict[str, Any]:
        texts = {name: pieces.getvalue() for name, pieces in self._texts.items()}
        message = {"role": "assistant", "content": None, **self._message, **texts}
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        logprobs = {"logprobs": self._logprobs} if self._logprobs else {}
        return {"message": message, "finish_reason": None, **self._rest, **logprobs}

    def _add_delta(self, delta: Mapping[str, Any]) -> int:
        size = 0
        for name, value in delta.items():
            if name in _TEXTS and isinstance(value, str):
                self._texts.setdefault(name, StringIO()).write(value)
                size += len(value)
            elif name == "tool_calls" and isinstance(value, list):
                for call in value:
                    place = place_of(part_of(call))
                    size += self._calls.setdefault(place, _Call()).add(call)
            elif value is not None:
                size += keep(self._message, name, value)
        return size

    def _add_logprobs(self, logprobs: Mapping[str, Any]) -> int:
        size = 0
        for name, value in logprobs.items():
            known = self._logprobs.get(name)
            if isinstance(known, list) and isinstance(value, list):
                known.extend(value)
                size += len(written(value))
            else:
                size += keep(self._logprobs, name, value)
        return size


class _Call:
    """One call of a tool: who is called comes first, the arguments follow in pieces."""

    def __init__(self) -> None:
        self._call: dict[str, Any] = {}
        self._function: dict[str, Any] = {}
        self._arguments = StringIO()

    def add(self, call: Mapping[str, Any]) -> int:
        """Take a piece; the bytes that it adds, about."""
        size = 0
        for name, value in call.items():
            if name == "function":
                self._call.setdefault(name, None)
                size += self._add_function(part_of(value))
            elif value is not None and value != "":
                size += keep(self._call, name, value)
        return size

    def whole(self) -> dict[str, Any]:
        return {**self._call, "function": {**self._function, "arguments": self._arguments.getvalue()}}

    def _add_function(self, function: Mapping[str, Any]) -> int:
        size = 0
        for name, value in function.items():
            if name == "arguments" and isinstance(value, str):
                self._arguments.write(value)
                size += len(value)
            elif value is not None and value != "":
                size += keep(self._function, name, value)
        return size
