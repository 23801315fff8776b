"""Checking the fields of a request by table, in the words of whoever is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from chatq_sandbox.exchange import Refused


class Words(ABC):
    """How one source says that a field is wrong. Every method makes the refusal; the caller raises it."""

    @abstractmethod
    def missing(self, name: str) -> Refused:
        """A required field is not there."""

    @abstractmethod
    def unknown(self, name: str, value: Any) -> Refused:
        """A field that the source does not know."""

    @abstractmethod
    def wrong_type(self, name: str, expected: str, value: Any) -> Refused:
        """`expected` is one of: string, integer, decimal, boolean, object, array."""

    @abstractmethod
    def out_of_range(self, name: str, value: float, low: float, high: float, *, whole: bool) -> Refused:
        """A number below `low` or above `high`."""

    @abstractmethod
    def not_one_of(self, name: str, value: Any, known: Collection[str]) -> Refused:
        """A text that is not one of the known ones."""

    @abstractmethod
    def wrong_length(self, name: str, length: int, low: int, high: int | None, what: str) -> Refused:
        """A `what` (array, string) shorter than `low` or longer than `high`."""

    @abstractmethod
    def refused(self, name: str | None, message: str, code: str | None = None) -> Refused:
        """Anything else, in the message's words."""


class Check(ABC):
    """What a field must be."""

    @abstractmethod
    def check(self, name: str, value: Any, words: Words) -> None:
        """Raise what `words` makes of a wrong value."""


@dataclass(frozen=True, slots=True)
class Number(Check):
    """A number within bounds; `whole` wants an integer."""

    low: float = float("-inf")
    high: float = float("inf")
    whole: bool = False

    def check(self, name: str, value: Any, words: Words) -> None:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            raise words.wrong_type(name, "integer" if self.whole else "decimal", value)
        if not self.low <= value <= self.high:
            raise words.out_of_range(name, value, self.low, self.high, whole=self.whole)


@dataclass(frozen=True, slots=True)
class Flag(Check):
    """True or false."""

    def check(self, name: str, value: Any, words: Words) -> None:
        if not isinstance(value, bool):
            raise words.wrong_type(name, "boolean", value)


@dataclass(frozen=True, slots=True)
class Text(Check):
    """A string of bounded length."""

    longest: int | None = None

    def check(self, name: str, value: Any, words: Words) -> None:
        if not isinstance(value, str):
            raise words.wrong_type(name, "string", value)
        if self.longest is not None and len(value) > self.longest:
            raise words.wrong_length(name, len(value), 0, self.longest, "string")


@dataclass(frozen=True, slots=True)
class OneOf(Check):
    """One of the known strings."""

    known: tuple[str, ...]

    def check(self, name: str, value: Any, words: Words) -> None:
        if not isinstance(value, str):
            raise words.wrong_type(name, "string", value)
        if value not in self.known:
            raise words.not_one_of(name, value, self.known)


@dataclass(frozen=True, slots=True)
class Texts(Check):
    """A list of strings (or, with `single`, one string)."""

    most: int | None = None
    single: bool = False

    def check(self, name: str, value: Any, words: Words) -> None:
        if self.single and isinstance(value, str):
            return
        if not isinstance(value, list):
            raise words.wrong_type(name, "array", value)
        for position, item in enumerate(value):
            if not isinstance(item, str):
                raise words.wrong_type(f"{name}[{position}]", "string", item)
        if self.most is not None and len(value) > self.most:
            raise words.wrong_length(name, len(value), 0, self.most, "array")


@dataclass(frozen=True, slots=True)
class Array(Check):
    """A list."""

    fewest: int = 0
    most: int | None = None

    def check(self, name: str, value: Any, words: Words) -> None:
        if not isinstance(value, list):
            raise words.wrong_type(name, "array", value)
        if len(value) < self.fewest or (self.most is not None and len(value) > self.most):
            raise words.wrong_length(name, len(value), self.fewest, self.most, "array")


@dataclass(frozen=True, slots=True)
class Object(Check):
    """A mapping."""

    def check(self, name: str, value: Any, words: Words) -> None:
        if not isinstance(value, dict):
            raise words.wrong_type(name, "object", value)


@dataclass(frozen=True, slots=True)
class OrNull(Check):
    """What `inner` says, or null, where null is not the same as absent."""

    inner: Check

    def check(self, name: str, value: Any, words: Words) -> None:
        if value is not None:
            self.inner.check(name, value, words)


@dataclass(frozen=True, slots=True)
class Anything(Check):
    """Known, but not looked into."""

    def check(self, name: str, value: Any, words: Words) -> None:
        return


def check_fields(
    body: dict[str, Any],
    fields: Mapping[str, Check],
    words: Words,
    *,
    strict: bool,
    null_is_absent: bool = True,
) -> None:
    """Check every field of `body`; with `strict` a field that is not in the table is refused.

    Raises:
        Refused: for the first wrong one.
    """
    for name, value in body.items():
        known = fields.get(name)
        if known is None:
            if strict:
                raise words.unknown(name, value)
        elif value is not None or not null_is_absent:
            known.check(name, value, words)


def mapping_of(value: Any) -> dict[str, Any]:
    """The mapping, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def text_of(content: Any) -> str:
    """All text in a message's content: a string, or the text parts of a list joined by line feeds."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def stops_of(value: Any) -> tuple[str, ...]:
    """Stop sequences given as a string, a list or null; empty ones never match."""
    return (
        (value,)
        if isinstance(value, str) and value
        else tuple(filter(None, value))
        if isinstance(value, list)
        else ()
    )
