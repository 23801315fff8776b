"""The text of an answer while it grows, and the rest of it when it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chatq.contract.errors import JobFailed
from chatq.contract.record import JobRecord


class GrowingText:
    """The text of an answer's first choice, out of its deltas. What is told is always the beginning of the whole."""

    def __init__(self) -> None:
        self._length = 0

    def pieces(self, deltas: Sequence[Sequence[Any]]) -> Iterator[str]:
        """The pieces of text in the next deltas, each a list of chunk choices."""
        for choices in deltas:
            for choice in choices:
                piece = choice["delta"].get("content")
                if piece and choice["index"] == 0:
                    self._length += len(piece)
                    yield piece

    def rest(self, record: JobRecord) -> str:
        """What the record's text has beyond the pieces: all of it, where nothing was told. Raises `JobFailed`."""
        if record.result is None:
            raise failed(record)
        return record.result.text[self._length :]


def failed(record: JobRecord) -> JobFailed:
    """A final job that has no result."""
    error = record.error
    return JobFailed(
        f"Job {record.id} {record.state}" + ("." if error is None else f" ({error.code}): {error.message}"),
        remedy="" if error is None else error.remedy,
        record=record,
    )
