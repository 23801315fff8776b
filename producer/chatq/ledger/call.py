"""One call of a ledger script: which script, its arguments, how to read its reply. Pure; nothing is sent here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Generic, TypeVar

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

    def __repr__(self) -> str:  # arguments hold prompts and answers
        return f"Call({self.script})"

    def command(self) -> tuple[str | bytes | int, ...]:
        """The EVALSHA command; `KEYS[1]` is the prefix."""
        return ("EVALSHA", sha(self.script), 1, self.prefix, *self.arguments)

    def size(self) -> int:
        """Roughly the bytes that the call sends."""
        return sum(len(part) for part in self.arguments if not isinstance(part, int))


_SHARED: Final = ("prelude", "limits", "lanes", "health", "budgets", "jobs", "admission")
"""The parts that all scripts share, each using those before it."""


@cache
def shared() -> str:
    """The Lua text that stands in front of every script."""
    folder = resources.files("chatq.ledger") / "shared"
    return "".join((folder / f"{part}.lua").read_text("utf-8") for part in _SHARED)


@cache
def source(script: str) -> str:
    """The Lua text of a script, with what all share in front.

    The script is a function of its own, because Lua 5.1 allows 200 local names in one, and the shared parts have most.
    """
    text = (resources.files("chatq.ledger") / "scripts" / f"{script}.lua").read_text("utf-8")
    return f"{shared()}return (function()\n{text}\nend)()\n"


@cache
def sha(script: str) -> str:
    """The name under which Redis caches the script."""
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest()
