"""The text of a script: its own, and in front of it what it uses of the parts that all share.

Redis makes every function of a script anew at each call; with all of the shared parts in front, that took most of the
time of a call. And Lua 5.1 allows 200 local names at a time. So each script gets the definitions that it names, those
that these name, and so on, in their order.

A definition begins with `local` at the start of a line of a shared part, and ends before the next that does. So a
statement (a loop that fills a table) belongs to the definition before it. Who names what is not meant (a key of a
table) is given a definition too many, and no harm is done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

PARTS: Final = ("prelude", "limits", "lanes", "health", "budgets", "measures", "jobs", "admission")
"""The shared parts, each using those before it."""

_NOT_CODE: Final = re.compile(r"'(?:\\.|[^'\\])*'|--[^\n]*")
_WORD: Final = re.compile(r"(?<![.\w])[A-Za-z_]\w*")
_FUNCTION: Final = re.compile(r"local function (\w+)")
_NAMES: Final = re.compile(r"local ([\w, ]+)")


class Definition(NamedTuple):
    """Names of a shared part, the text that defines them, and the words in it."""

    names: tuple[str, ...]
    text: str
    words: frozenset[str]


@cache
def source(script: str) -> str:
    """The text of a script as it is loaded."""
    return linked(_file("scripts", script))


def linked(text: str) -> str:
    """Lua that uses the shared parts, with what it uses of them. It is a function of its own within."""
    wanted, chosen = words_in(text), []
    for definition in reversed(definitions()):
        if wanted.intersection(definition.names):
            chosen.append(definition)
            wanted |= definition.words
    front = "".join(definition.text for definition in reversed(chosen))
    return f"{front}return (function()\n{text}\nend)()\n"


@cache
def definitions() -> tuple[Definition, ...]:
    """All that the shared parts define, in order."""
    return tuple(found for part in PARTS for found in _definitions(_file("shared", part)))


def words_in(text: str) -> frozenset[str]:
    """The words of Lua code, without those in texts, in comments, and behind a dot."""
    return frozenset(_WORD.findall(_NOT_CODE.sub(" ", text)))


def _definitions(text: str) -> Iterator[Definition]:
    lines: list[str] = []
    for line in text.splitlines():
        if not line or line.lstrip().startswith("--"):
            continue
        if line.startswith("local ") and lines:
            yield _definition(lines)
            lines = []
        lines.append(line)
    if lines:
        yield _definition(lines)


def _definition(lines: list[str]) -> Definition:
    text = "".join(f"{line}\n" for line in lines)
    function = _FUNCTION.match(text)
    found = function or _NAMES.match(text)
    assert found is not None  # noqa: S101 - as the parts are written; every script is loaded in the tests
    names = (found[1],) if function else tuple(name.strip() for name in found[1].split(","))
    return Definition(names, text, words_in(text))


def _file(folder: str, name: str) -> str:
    return (resources.files("chatq.ledger") / folder / f"{name}.lua").read_text("utf-8")
