"""What the chunks of a chat completion add to the answer, in OpenAI's own words.

What servers write otherwise is told as `openai_shape.py` reads it in the whole: reasoning under other names, in chunks
of the content, or in a <think> block before the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from chatq_worker.providers.adapter import Delta
from chatq_worker.providers.assembly import object_in, part_of, place_of
from chatq_worker.providers.call_places import CallPlaces
from chatq_worker.providers.chat_completion_stream import DONE
from chatq_worker.providers.event_stream import Event
from chatq_worker.providers.openai_shape import REASONING, content_of
from chatq_worker.providers.think_block import ThinkBlock


class ChatCompletionDeltas:
    """Reads the deltas of a chat completion. `thinks_aloud`: a leading <think> block in the text is reasoning."""

    def __init__(self, *, thinks_aloud: bool = False) -> None:
        self._thinks_aloud = thinks_aloud
        self._choices: dict[int, _Choice] = {}

    def read(self, event: Event) -> list[Delta]:
        if event.data.strip() == DONE:
            return []
        found: list[Delta] = []
        choices = object_in(event).get("choices") or []
        for position, choice in enumerate(choices if isinstance(choices, list) else [choices]):
            place = place_of(part_of(choice), position)
            if place not in self._choices:
                self._choices[place] = _Choice(ThinkBlock() if self._thinks_aloud else None)
            delta = choice.get("delta")
            if isinstance(delta, Mapping):
                found += [delta_of(place, said) for said in self._choices[place].read(delta)]
        return found

    def end(self) -> list[Delta]:
        return [
            delta_of(place, said) for place, choice in sorted(self._choices.items()) for said in choice.end()
        ]


def delta_of(place: int, said: Mapping[str, Any]) -> Delta:
    """A piece of a choice."""
    return {"index": place, "delta": said}


class _Choice:
    """One choice, as far as it was told."""

    def __init__(self, block: ThinkBlock | None) -> None:
        self._block = block
        """Takes the text while a block of thoughts may be in it."""
        self._reasoning: str | None = None
        """Where the reasoning stands."""
        self._places = CallPlaces()
        self._named: set[tuple[int, str]] = set()
        """What was told of calls beside their arguments."""

    def read(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        text, thought, _ = content_of(delta.get("content"))
        thoughts = {"content": thought, **{name: delta.get(name) for name in REASONING}}
        for name in (*REASONING, "content"):
            value = thoughts[name]
            if isinstance(value, str) and value and self._reasoning in (None, name):
                self._reasoning = name
                yield {"reasoning_content": value}
        if text:
            yield from self._read_text(text)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            yield {"refusal": refusal}
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            said = self._read_call(part_of(call))
            if len(said) > 1:
                yield {"tool_calls": [said]}

    def end(self) -> Iterator[dict[str, Any]]:
        if self._block is not None:
            yield from _parts(*self._block.end())

    def _read_text(self, text: str) -> Iterator[dict[str, Any]]:
        if self._block is not None and self._block.undecided and self._reasoning is not None:
            # The reasoning stands elsewhere, so a block is text.
            text, self._block = self._block.end()[1] + text, None
        if self._block is None:
            yield {"content": text}
        else:
            yield from _parts(*self._block.feed(text))

    def _read_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        place, function = self._places.of(call), call.get("function")
        function = function if isinstance(function, Mapping) else {}
        said: dict[str, Any] = {"index": place}
        if call_id := self._first(place, "id", call.get("id")):
            said |= {"id": call_id, "type": "function"}
        inner: dict[str, Any] = {}
        if called := self._first(place, "name", function.get("name")):
            inner |= {"name": called, "arguments": ""}
        arguments = function.get("arguments")
        if arguments not in (None, ""):
            inner["arguments"] = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        return {**said, "function": inner} if inner else said

    def _first(self, place: int, name: str, value: Any) -> str:
        """What a call's id or name is, the first time that it says so; else empty."""
        if value in (None, "") or (place, name) in self._named:
            return ""
        self._named.add((place, name))
        return str(value)


def _parts(reasoning: str, text: str) -> Iterator[dict[str, Any]]:
    if reasoning:
        yield {"reasoning_content": reasoning}
    if text:
        yield {"content": text}
