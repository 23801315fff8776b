"""The text of a script: its own, and in front of it what it uses of the parts that all share.

Redis makes every function of a script anew at each call; with all of the shared parts in front, that took most of the
time of a call. So each script gets the definitions that it names, those that these name, and so on, in their order.

And Lua 5.1 looks up each outer local that a new function uses in a list of all that others use: with a hundred
definitions this was a third of the time of a call. So what they define are fields of one local, `S`, but for the few
that are used all over (`LOCALS`). The parts are written as if all were locals, and nothing else in them has the name of
a definition: no local, no parameter, no key of a table in braces.

What most calls of a script come to no need of is defined when it is first called: a function whose first line ends with
`-- seldom` is a stand-in until then, and what only such functions use comes with them.

A definition begins with `local` at the start of a line of a shared part, and ends before the next that does. So a
statement (a loop that fills a table) belongs to the definition before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

PARTS: Final = ("prelude", "limits", "lanes", "health", "budgets", "measures", "jobs", "admission")
"""The shared parts, each using those before it."""

LOCALS: Final = frozenset({"P", "call", "int", "key", "now"})
"""Of what the shared parts define, what stays a local."""

_NOT_CODE: Final = r"'(?:\\.|[^'\\])*'|--[^\n]*"
_WORD: Final = r"(?<![.\w])[A-Za-z_]\w*"
_WORDS: Final = re.compile(f"{_NOT_CODE}|({_WORD})")
_FUNCTION: Final = re.compile(r"local function (\w+)")
_NAMES: Final = re.compile(r"local ([\w, ]+)")
_SELDOM: Final = re.compile(r".*-- seldom$", re.MULTILINE)


class Definition(NamedTuple):
    """Names of a shared part, the text that defines them as it is loaded, and the words in it."""

    names: tuple[str, ...]
    text: str
    words: frozenset[str]
    seldom: bool


@cache
def source(script: str) -> str:
    """The text of a script as it is loaded."""
    return linked(_file("scripts", script))


def linked(text: str) -> str:
    """Lua that uses the shared parts, with what it uses of them. It is a function of its own within."""
    words = words_in(text)
    needed = _needed(words, lambda definition: True)
    # A local has to be there before any function that uses it.
    words |= LOCALS.intersection(name for definition in needed for name in definition.names)
    often = _needed(words, lambda definition: not definition.seldom)
    front = "".join(_stand_in(definition) if definition.seldom else definition.text for definition in often)
    rest = "".join(each.text for each in needed if each.seldom or each not in often)
    if rest:
        front = f"{front}function S.define_the_rest()\n{rest}end\n"
    return f"local S = {{}}\n{front}return (function()\n{_with_fields(text, _fields())}\nend)()\n"


def _needed(words: frozenset[str], goes_on: Callable[[Definition], bool]) -> list[Definition]:
    """The definitions that `words` name, and what those need that it `goes_on` with, in their order."""
    found = []
    for definition in reversed(definitions()):
        if words.intersection(definition.names):
            found.append(definition)
            if goes_on(definition):
                words |= definition.words
    return found[::-1]


def _stand_in(definition: Definition) -> str:
    name = f"S.{definition.names[0]}"
    return f"function {name}(...) S.define_the_rest() return {name}(...) end\n"


@cache
def definitions() -> tuple[Definition, ...]:
    """All that the shared parts define, in order."""
    texts = [text for part in PARTS for text in _texts(_file("shared", part))]
    fields = frozenset(name for text in texts for name in _names(text)) - LOCALS
    return tuple(_definition(text, fields) for text in texts)


def words_in(text: str) -> frozenset[str]:
    """The words of Lua code, without those in texts, in comments, and behind a dot."""
    return frozenset(_WORDS.findall(text)) - {""}


@cache
def _fields() -> frozenset[str]:
    return frozenset(name for definition in definitions() for name in definition.names) - LOCALS


def _with_fields(text: str, fields: frozenset[str]) -> str:
    return _WORDS.sub(lambda word: f"S.{word[1]}" if word[1] in fields else word[0], text)


def _texts(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if not line or line.lstrip().startswith("--"):
            continue
        if line.startswith("local ") and lines:
            yield "\n".join([*lines, ""])
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join([*lines, ""])


def _names(text: str) -> tuple[str, ...]:
    function = _FUNCTION.match(text)
    found = function or _NAMES.match(text)
    assert found is not None  # noqa: S101 - as the parts are written; every script is loaded in the tests
    return (found[1],) if function else tuple(name.strip() for name in found[1].split(","))


def _definition(text: str, fields: frozenset[str]) -> Definition:
    names = _names(text)
    loaded = _with_fields(text, fields)
    if fields.issuperset(names):
        loaded = loaded.removeprefix("local ")
    return Definition(names, loaded, words_in(text), bool(_SELDOM.match(text)))


def _file(folder: str, name: str) -> str:
    return (resources.files("chatq.ledger") / folder / f"{name}.lua").read_text("utf-8")
