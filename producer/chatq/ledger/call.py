"""One call of a ledger script: which script, its arguments, how to read its reply. Pure; nothing is sent here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, Generic, TypeVar

from chatq.ledger.script_text import source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A script call for one of the executors in `server.py`.

    Every call can be made again when its reply was lost: the scripts see to that (tokens, ids), or what a lost
    reply leaves behind ends by itself within seconds (a claim).
    """

    script: str
    prefix: str
    arguments: tuple[str | bytes | int, ...]
    decode: Callable[[Any], T] = field(repr=False)
    gathers: bool = False
    """Whether the script takes the arguments of many such calls one after another, and answers with a list."""

    def __repr__(self) -> str:  # arguments hold prompts and answers
        return f"Call({self.script})"

    def command(self) -> tuple[str | bytes | int, ...]:
        """The EVALSHA command; `KEYS[1]` is the prefix."""
        return ("EVALSHA", sha(self.script), 1, self.prefix, *self.arguments)

    def gathered(self, others: Iterable[Call[Any]]) -> Call[list[Any]]:
        """This call and others like it as one. It gives the reply to each, as its own `decode` takes it."""
        arguments = chain(self.arguments, *(other.arguments for other in others))
        return Call(self.script, self.prefix, tuple(arguments), _each_alone)

    def size(self) -> int:
        """Roughly the bytes that the call sends."""
        return sum(len(part) for part in self.arguments if not isinstance(part, int))


def _each_alone(replies: Sequence[Any]) -> list[Any]:
    return [[reply] for reply in replies]


@cache
def sha(script: str) -> str:
    """The name under which Redis caches the script."""
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest()
