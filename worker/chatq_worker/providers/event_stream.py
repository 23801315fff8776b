"""Server-sent events: bytes as they come in, events out. Source: WHATWG HTML, Server-sent events.

One thing differs from the standard: an event whose closing blank line never comes is an event all the same, because
some servers leave it out at the end. Whether a stream is at its end is for its reader to say.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `name` is empty where it has none; `data` are its data lines, joined by line feeds."""

    name: str
    data: bytes


class EventParser:
    """Takes a stream in pieces, cut anywhere. Its work grows with the bytes, whatever the pieces."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of an event whose end has not come yet."""
        self._line: list[bytes] = []
        """The pieces of a line whose end has not come yet."""
        self._first_line = True
        self._after_return = False
        """The last byte was a carriage return: a line feed that comes next belongs to it."""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[Event]:
        """The events that end in the next piece of the stream."""
        if self._after_return and piece:
            piece = piece.removeprefix(b"\n")
            self._after_return = False
        events: list[Event] = []
        for line in piece.splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            self._line.append(text)
            self.held += len(text)
            if text != line:
                events += self._end_line()
        if piece.endswith(b"\r"):
            self._after_return = True
        return events

    def end(self) -> list[Event]:
        """The event that the end of the stream ends, if there is one."""
        return [*self._end_line(), *self._end_event()] if self._line else self._end_event()

    def _end_line(self) -> list[Event]:
        line = b"".join(self._line)
        self._line.clear()
        self.held -= len(line)
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._end_event()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self.held += len(value) + 1
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return []

    def _end_event(self) -> list[Event]:
        name, data = self._name, self._data
        self._name, self._data, self.held = "", [], 0
        return [Event(name, b"\n".join(data))] if data else []
