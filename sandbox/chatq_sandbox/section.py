"""Strict reading of one section of a configuration: every problem is collected, unknown keys name the
nearest."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


class ConfigError(ValueError):
    """The configuration is wrong; `problems` has one line each, the message has them all."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def nearest(word: str, known: tuple[str, ...]) -> str:
    """' (did you mean ...?)' when a known word is near, else the list of the known ones."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


class Section:
    """One mapping of the configuration; read every key once, then call `done`.

    A value that does not fit is noted in `problems` and replaced by the default, so that one run reports
    everything.
    """

    def __init__(self, data: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self._read: set[str] = set()
        self._data: Mapping[str, Any] = {}
        if isinstance(data, Mapping):
            self._data = data
        else:
            self.wrong("", f"expected a mapping, got {_kind(data)}")

    def wrong(self, key: str, problem: str) -> None:
        """Note a problem with `key` ('' for the section itself)."""
        place = ".".join(part for part in (self.where, key) if part)
        self.problems.append(f"{place or 'configuration'}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the key is given and not null."""
        return self._data.get(key) is not None

    def any(self, key: str, default: Any = None) -> Any:
        """The value as it is."""
        self._read.add(key)
        return self._data.get(key, default)

    def names(self) -> list[str]:
        """The keys that are given."""
        return [str(key) for key in self._data]

    def number(self, key: str, default: float, low: float = 0.0, high: float = float("inf")) -> float:
        """A number in [low, high]."""
        value = self.any(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.wrong(key, f"expected a number from {low:g} to {high:g}, got {value!r}")
            return default
        return float(value)

    def maybe_number(self, key: str, default: float | None) -> float | None:
        """A number from 0, or null."""
        return None if self.any(key, default) is None else self.number(key, default or 0.0)

    def integer(self, key: str, default: int, low: int = 0) -> int:
        """A whole number, at least `low`."""
        value = self.any(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            self.wrong(key, f"expected a whole number from {low}, got {value!r}")
            return default
        return value

    def maybe_integer(
        self, key: str, default: int | None, low: int = 0, high: float = float("inf")
    ) -> int | None:
        """A whole number in [low, high], or null for 'none'."""
        if self.any(key, default) is None:
            return None
        value = self.integer(key, default or low, low)
        if value > high:
            self.wrong(key, f"expected a whole number from {low} to {high:g}, got {value!r}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.any(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"expected true or false, got {value!r}")
            return default
        return value

    def one_of(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the known words."""
        value = self.any(key, default)
        if value not in known:
            self.wrong(key, f"unknown value {value!r}; {nearest(str(value), known)}")
            return default
        return str(value)

    def maybe_one_of(self, key: str, default: str | None, known: tuple[str, ...]) -> str | None:
        """One of the known words, or null."""
        return None if self.any(key, default) is None else self.one_of(key, default or known[0], known)

    def texts(self, key: str, default: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """A list of non-empty texts."""
        value = self.any(key, default)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            self.wrong(key, f"expected a list of texts, got {_kind(value)}")
            return default
        return tuple(value)

    def done(self) -> None:
        """Report the keys that nobody read."""
        known = tuple(self._read)
        for key in self._data:
            if key not in self._read:
                self.wrong("", f"unknown key {key!r}; {nearest(str(key), known)}")


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
