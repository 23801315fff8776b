"""What doctor says of one thing that it looked at."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "note", "wrong"]


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` is empty when all is well."""

    level: Level
    what: str
    remedy: str = ""
