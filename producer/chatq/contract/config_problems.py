"""What is wrong with the settings: where, what was expected, what came, and which known key was nearest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from chatq.contract.errors import ChatQueueError

_MOST_LINES = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was written: a file and its line (from 1), or a `$VARIABLE` and no line."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct. Holds no secret: a value that may be one is described, never repeated."""

    place: Place
    key: str
    """Path of the key, `connections.openai-main.limits.scope`; empty for the file as a whole."""
    message: str
    """All in words: what was expected, what came, the nearest known key or the way to do it right."""
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    """The known key, value or variable that was probably meant."""

    @property
    def file(self) -> str:
        return self.place.file

    @property
    def line(self) -> int | None:
        return self.place.line

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.key, self.message) if part)


class ConfigError(ChatQueueError):
    """The settings cannot be used. `problems` is all that is wrong, in the order of the file."""

    code: ClassVar[str] = "config"
    wrong_use: ClassVar[bool] = True

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line or 0))
        super().__init__(
            "The settings cannot be used.",
            remedy="Correct what is named above and start again; nothing was started.",
        )

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:_MOST_LINES]]
        if len(self.problems) > _MOST_LINES:
            lines.append(f"... and {len(self.problems) - _MOST_LINES} more")
        return "\n".join(lines)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.65) -> str | None:
    """The known name that was probably meant, however it is spelt (`apiKey`, `API-KEY`), or None.

    `cutoff`: how like it must be, from 0 to 1; at 1 only its case, `-` and `_` may differ.
    """
    import difflib

    by_letters: dict[str, str] = {}
    for candidate in known:
        by_letters.setdefault(_letters(candidate), candidate)
    found = difflib.get_close_matches(_letters(name[:80]), by_letters, n=1, cutoff=cutoff)
    return by_letters[found[0]] if found else None


def _letters(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
