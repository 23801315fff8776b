"""Sizes in bytes as people write them: `4GiB`, `8MiB`, `500kB`, or plain bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from chatq.contract.shown import shown

# Lua keeps 14 digits of a number, and the ledger adds sizes up there.
LARGEST_BYTES = 64 * 2**40

_EXPECTED = "expected a size such as 8MiB, 4GiB, 500kB or plain bytes"

# IEC 80000-13: the `i` makes the step 1024. A lone `G` is refused rather than guessed.
_BYTES_PER_UNIT = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_TEXT = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([A-Za-z]*)")


def parse_size(value: object) -> int:
    """Bytes, zero or more, from a text with a unit (in any case), a text of plain bytes, or a whole number.

    A fraction is rounded down to a whole byte: `parse_size("1.5KiB")` is 1536.
    Raises ValueError with what was expected and what came; also for more than 64TiB.
    """
    if isinstance(value, str):
        size = _parse_text(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise ValueError(f"{_EXPECTED}, got {shown(value)}")
    if not 0 <= size <= LARGEST_BYTES:
        raise ValueError(f"expected a size from 0 to 64TiB, got {shown(value)}")
    return size


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back as exactly `size` bytes: `4GiB`, `1500B`."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        count, rest = divmod(size, 1024**power)
        if count and not rest:
            return f"{count}{unit}"
    return f"{size}B"


def between(smallest: int, largest: int) -> Callable[[int], int]:
    """A pydantic check that refuses sizes outside `smallest`..`largest` bytes."""

    def check(size: int) -> int:
        if not smallest <= size <= largest:
            raise ValueError(
                f"expected a size from {format_size(smallest)} to {format_size(largest)}, "
                f"got {format_size(size)}"
            )
        return size

    return check


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["8MiB", "4GiB", 1048576]}),
]
"""A field that reads as bytes (int) and is written as `parse_size` says."""

PositiveSize = Annotated[Size, AfterValidator(between(1, LARGEST_BYTES))]
"""A `Size` of at least a byte."""


def _parse_text(text: str) -> int:
    stripped = text.strip()
    match = _TEXT.fullmatch(stripped) if len(stripped) <= 40 else None
    if match is not None:
        whole, fraction, unit = match.groups()
        if unit and unit.lower() in _BYTES_PER_UNIT:
            length = _BYTES_PER_UNIT[unit.lower()]
            digits = fraction or ""
            return int(int(whole + digits) * length // 10 ** len(digits))
        if not unit and fraction is None:
            return int(whole)
        if unit.lower() in {"k", "m", "g", "t"}:
            raise ValueError(f"{_EXPECTED}, got {shown(text)}; write {whole}{unit.upper()}iB")
    raise ValueError(f"{_EXPECTED}, got {shown(text)}")
