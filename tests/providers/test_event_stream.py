"""Server-sent events, read from bytes that are cut anywhere. Expected events follow WHATWG HTML, Server-sent events."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from chatq_worker.providers.event_stream import Event, EventParser
from for_each import for_each


def events_in(*pieces: bytes) -> list[Event]:
    """All events of a stream that comes in these pieces."""
    parser = EventParser()
    return [*(event for piece in pieces for event in parser.feed(piece)), *parser.end()]


@for_each(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [Event("", b"a"), Event("", b"b")]),
        (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
        (b"data: {}\nevent: ping\n\n", [Event("ping", b"{}")]),
        (b"event: one\nevent: two\ndata: a\n\n", [Event("two", b"a")]),
        (b"event: a\n\ndata: b\n\n", [Event("", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [Event("", b"a"), Event("", b"b")]),
        (b"data: a\r\rdata: b\r\r", [Event("", b"a"), Event("", b"b")]),
        (b"data: a\n\r\n\rdata: b\r\n\n", [Event("", b"a"), Event("", b"b")]),
        (b"data: a\ndata: b\ndata:\n\n", [Event("", b"a\nb\n")]),
        (b"data:a\n\ndata:  a\n\n", [Event("", b"a"), Event("", b" a")]),
        (b"data\n\n", [Event("", b"")]),
        (b"data:\n\n", [Event("", b"")]),
        (b": comment\n\n:\n\ndata: a\n: another\n\n", [Event("", b"a")]),
        (b"id: 7\nretry: 5\nother: x\n data: no\n\ndata: a\n\n", [Event("", b"a")]),
        (b"data: a: b\n\n", [Event("", b"a: b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("", b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [Event("", b"a")]),
        (b"\n\n\n", []),
        (b"", []),
        ("data: \u00fc\u2028\x85\x0b\x0c\n\n".encode(), [Event("", "\u00fc\u2028\x85\x0b\x0c".encode())]),
        (b"event: \xff\ndata: \xff\n\n", [Event("\ufffd", b"\xff")]),
    ],
)
def test_what_a_stream_says(stream: bytes, events: list[Event]) -> None:
    assert events_in(stream) == events


@for_each("stream", [b"data: a", b"data: a\n", b"data: a\r", b"data: a\r\n"])
def test_the_last_event_needs_no_blank_line(stream: bytes) -> None:
    assert events_in(stream) == [Event("", b"a")]


def test_an_event_comes_with_the_byte_that_ends_it_and_not_later() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\n\r") == [Event("", b"a")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: b\n") == []
    assert parser.feed(b"\n") == [Event("", b"b")]
    assert parser.end() == []


def test_what_is_held_back_is_counted_and_nothing_else() -> None:
    parser = EventParser()
    parser.feed(b"data: 1234")
    assert parser.held == 10
    parser.feed(b"5\ndata: 67")
    assert parser.held == len(b"12345") + 1 + len(b"data: 67")
    parser.feed(b"\n\n: a comment\n")
    assert parser.held == 0


def test_a_long_line_in_single_bytes_takes_no_time_to_speak_of() -> None:
    parser, line = EventParser(), b"data: " + b"x" * 400_000
    started = time.process_time()
    for place in range(len(line)):
        parser.feed(line[place : place + 1])
    assert parser.feed(b"\n\n") == [Event("", b"x" * 400_000)]
    assert time.process_time() - started < 10  # quadratic work would take minutes


lines = st.sampled_from(
    [b"data: {}", b"data", b"data:x", b"event: a", b"event:", b": c", b"id: 1", b"", "data: \u00e9".encode()]
)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
streams = st.lists(st.tuples(lines, ends).map(b"".join), max_size=12).map(b"".join) | st.text(
    alphabet="dat: \r\n\ufeff\u00e9ev", max_size=40
).map(str.encode)
cuts = st.lists(st.integers(0, 200), max_size=8)


@given(streams, cuts)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_where_a_stream_is_cut_into_pieces_does_not_matter(stream: bytes, places: list[int]) -> None:
    bounds = [0, *sorted(place for place in places if place < len(stream)), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(bounds)]

    assert events_in(*pieces) == read_slowly(stream)
    assert events_in(*(bytes([byte]) for byte in stream)) == read_slowly(stream)


def read_slowly(stream: bytes) -> list[Event]:
    """The standard's steps, on a whole stream."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events = []
    for block in text.split(b"\n\n"):
        name, data = "", []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"data":
                data.append(value)
        if data:
            events.append(Event(name, b"\n".join(data)))
    return events
