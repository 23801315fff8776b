"""What the assemblies of streamed answers have in common: reading an event, keeping what it says, writing the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from chatq_worker.providers.adapter import BrokenStream
from chatq_worker.providers.event_stream import Event

CUT_OFF: Final = "cut off in the middle of its stream"
_MOST_PARTS: Final = 10_000
"""More blocks, choices or calls than any answer has."""


def object_in(event: Event) -> dict[str, Any]:
    """The JSON object that an event carries. Raises `BrokenStream` when it carries none."""
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise BrokenStream("a stream with an event that is no JSON object")
    return data


def part_of(data: Any) -> dict[str, Any]:
    """A part of an event that has to be an object. Raises `BrokenStream` when it is none."""
    if not isinstance(data, dict):
        raise BrokenStream("a stream with an event that holds nothing")
    return data


def place_of(part: Mapping[str, Any], otherwise: int | None = None) -> int:
    """Which part of the answer this is about: its `index`, or `otherwise` where it has none. Raises `BrokenStream`."""
    index = part.get("index")
    if index is None:
        index = otherwise
    if type(index) is not int or not 0 <= index < _MOST_PARTS:
        raise BrokenStream("a stream with an event that belongs nowhere")
    return index


def keep(own: dict[str, Any], name: str, value: Any) -> int:
    """Keep a value under its name, in place; the bytes that it adds. Raises `BrokenStream`."""
    if name in own and own[name] == value:
        return 0
    own[name] = value
    return len(name) + len(written(value))


def written(data: Any) -> bytes:
    """Data as JSON. Raises `BrokenStream` for what JSON cannot hold."""
    try:
        return orjson.dumps(data)
    except TypeError:
        raise BrokenStream("JSON that is nested too deeply") from None
