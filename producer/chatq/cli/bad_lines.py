"""The bad lines of a batch's input as a person is told them: what is wrong with many of them is said once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from chatq.batch_input import BadLine

_NAMED: Final = 3
"""Lines that are named of those with which the same is wrong."""
_MOST_KINDS: Final = 100


class BadLines:
    """Those of one file, as they are found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kinds: dict[tuple[str, str], list[BadLine]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._others = 0

    def add(self, line: BadLine) -> None:
        kind = (line.message, line.remedy)
        if kind not in self._kinds and len(self._kinds) == _MOST_KINDS:
            self._others += 1
            return
        first = self._kinds.setdefault(kind, [])
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if len(first) < _NAMED:
            first.append(line)

    def tell(self) -> None:
        """Say on stderr what is wrong with them; each is told once."""
        for (message, remedy), lines in self._kinds.items():
            count = self._counts[message, remedy]
            print(f"{self._path}:{_which(lines, count)}: {message}\n  -> {remedy}", file=sys.stderr)
        if self._others:
            print(f"{self._path}: and {self._others:,} more bad lines", file=sys.stderr)
        self._kinds, self._counts, self._others = {}, {}, 0


def _which(first: list[BadLine], count: int) -> str:
    if count == 1:
        named = first[0].custom_id
        return str(first[0].number) + ("" if named is None else f' (custom_id "{named}")')
    numbers = ", ".join(str(line.number) for line in first)
    left = count - len(first)
    return numbers + (f" and {left:,} more line{'' if left == 1 else 's'}" if left else "")
