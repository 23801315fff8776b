"""The chunks of a chat completion put together to what would have been answered without streaming.

Source: OpenAI API reference, the chat completion chunk object; Fireworks SDK (types.chat).
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any, ClassVar, Final

from chatq_worker.providers.adapter import BrokenStream
from chatq_worker.providers.assembly import CUT_OFF, keep, object_in, part_of, place_of, written
from chatq_worker.providers.call_places import CallPlaces
from chatq_worker.providers.event_stream import Event
from chatq_worker.providers.openai_shape import thoughts_of

DONE: Final = b"[DONE]"
_TEXTS: Final = frozenset({"reasoning_content", "reasoning", "refusal"})


class ChatCompletionAssembly:
    """A completion: choices in pieces, each by its index, and usage near the end. An error takes its place.

    What is null in a chunk says nothing.
    """

    says_done: ClassVar[bool] = True
    """Whether a stream without `[DONE]` at its end was cut off."""

    def __init__(self) -> None:
        self.size = 0
        self._frame: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._error: dict[str, Any] | None = None
        self._ended = False

    def add(self, event: Event) -> bool:
        if event.data.strip() == DONE:
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
        for position, choice in enumerate(choices if isinstance(choices, list) else [choices]):
            place = place_of(part_of(choice), position)
            self.size += self._choices.setdefault(place, _Choice()).add(choice)
        return False

    def whole(self) -> bytes:
        if self._error is not None:
            return written(self._error)
        if not self._ended and (self.says_done or not self._all_finished()):
            raise BrokenStream(CUT_OFF)
        choices = [{"index": place, **choice.whole()} for place, choice in sorted(self._choices.items())]
        return written({**self._frame, "object": "chat.completion", "choices": choices})

    def _all_finished(self) -> bool:
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())


class GatewayAssembly(ChatCompletionAssembly):
    """A completion of a server that may not say `[DONE]`: it is whole when each choice has said why it ended."""

    says_done = False


class _Choice:
    """One choice, as far as it has come."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._content = _Content()
        self._texts: dict[str, StringIO] = {}
        self._places = CallPlaces()
        self._calls: dict[int, _Call] = {}
        self._logprobs: dict[str, Any] = {}
        self._rest: dict[str, Any] = {}

    def add(self, choice: Mapping[str, Any]) -> int:
        """Take a piece; the bytes that it adds, about."""
        size = 0
        for name, value in choice.items():
            if value is None or name == "index" or (name == "message" and "delta" in choice):
                continue  # Perplexity's chunks also have the message so far
            if name == "delta":
                size += self._add_delta(part_of(value))
            elif name == "logprobs":
                size += self._add_logprobs(part_of(value))
            else:
                size += keep(self._rest, name, value)
        return size

    @property
    def finished(self) -> bool:
        """Whether it has said why it ended."""
        return "finish_reason" in self._rest

    def whole(self) -> dict[str, Any]:
        texts = {name: pieces.getvalue() for name, pieces in self._texts.items()}
        message = {"role": "assistant", "content": self._content.whole(), **self._message, **texts}
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        logprobs = {"logprobs": self._logprobs} if self._logprobs else {}
        return {"message": message, "finish_reason": None, **self._rest, **logprobs}

    def _add_delta(self, delta: Mapping[str, Any]) -> int:
        size = 0
        for name, value in delta.items():
            if name == "content" and isinstance(value, str | list):
                size += self._content.add(value)
            elif name in _TEXTS and isinstance(value, str):
                self._texts.setdefault(name, StringIO()).write(value)
                size += len(value)
            elif name == "tool_calls" and isinstance(value, list):
                for call in value:
                    place = self._places.of(part_of(call))
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


class _Content:
    """A content: a text, or (Mistral, when it thinks) a list of chunks, of which neighbours of one kind are one."""

    def __init__(self) -> None:
        self._came = self._is_list = False
        self._chunks: list[_Chunk] = []

    def add(self, content: str | list[Any]) -> int:
        """Take a piece; the bytes that it adds, about."""
        self._came = True
        if isinstance(content, str):
            return self._write({"type": "text"}, content)
        self._is_list = True
        return sum(map(self._add_chunk, content))

    def whole(self) -> str | list[Any] | None:
        if self._is_list:
            return [chunk.whole() for chunk in self._chunks]
        return "".join(chunk.text.getvalue() for chunk in self._chunks) if self._came else None

    def _add_chunk(self, chunk: Any) -> int:
        kind = chunk.get("type") if isinstance(chunk, dict) else None
        if kind == "text" and isinstance(chunk.get("text"), str):
            return self._write(chunk, chunk["text"])
        if kind == "thinking":
            return self._write(chunk, "".join(thoughts_of(chunk)))
        self._chunks.append(_Chunk(chunk))
        return len(written(chunk))

    def _write(self, chunk: dict[str, Any], text: str) -> int:
        if not text:
            return 0
        size = 0
        if not self._chunks or self._chunks[-1].kind != chunk["type"]:
            self._chunks.append(_Chunk(chunk, chunk["type"]))
            size = len(written(chunk)) - len(text) if self._is_list else 0
        return size + self._chunks[-1].text.write(text)


class _Chunk:
    """A chunk of a content. `kind`: text or thinking, which grow; empty for one that came as it is."""

    def __init__(self, begun: Any, kind: str = "") -> None:
        self._begun = begun
        self.kind = kind
        self.text = StringIO()

    def whole(self) -> Any:
        text = self.text.getvalue()
        if self.kind == "text":
            return {**self._begun, "text": text}
        if self.kind == "thinking":
            return {**self._begun, "thinking": [{"type": "text", "text": text}]}
        return self._begun


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
            if name == "arguments" and value is not None:
                size += self._arguments.write(value if isinstance(value, str) else written(value).decode())
            elif value is not None and value != "":
                size += keep(self._function, name, value)
        return size
