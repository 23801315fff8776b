"""The text of a script: its own, and in front of it what it uses of the parts that all share.

Redis makes every function of a script anew at each call; with all of the shared parts in front, that took most of the
time of a call. So each script gets the definitions that it names, those that these name, and so on, in their order.

And Lua 5.1 looks up each outer local that a new function uses in a list of all that others use: with a hundred
definitions this was a third of the time of a call. So what they define are slots of one local, `S`, but for the few
that are used all over (`LOCALS`), and for literals, which stand where they are used. The parts are written as if all
were locals, and nothing else in them has the name of a definition: no local, no parameter, no key of a table in braces.

What a function leaves for later is done when the script ends: one whose first line ends with `-- ends NAME` is called
then, also after an error, by every script that uses NAME.

What most calls of a script come to no need of is defined when it is first called: a function whose first line ends with
`-- seldom` is a stand-in until then, and what only such functions use comes with them.

A definition begins with `local` at the start of a line of a shared part, and ends before the next that does. So a
statement (a loop that fills a table) belongs to the definition before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import count
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
_LITERAL: Final = r"[\d.]+|'[^']*'"
_LITERALS: Final = re.compile(rf"local [\w, ]+ = ((?:{_LITERAL})(?:, (?:{_LITERAL}))*) *(?:--.*)?\n")
_SELDOM: Final = re.compile(r".*-- seldom\n")
_ENDS: Final = re.compile(r".*-- ends (\w+)\n")
_REST: Final = "S[1]"
"""Defines what is seldom needed."""


class Definition(NamedTuple):
    """Names of a shared part, the text that defines them, and the words in it.

    `literals`: the values of the names, where these are what stands for them.
    """

    names: tuple[str, ...]
    text: str
    words: frozenset[str]
    literals: tuple[str, ...]
    seldom: bool
    ends: str


@cache
def source(script: str) -> str:
    """The text of a script as it is loaded."""
    return linked(_file("scripts", script))


def linked(text: str) -> str:
    """Lua that uses the shared parts, with what it uses of them. It is a function of its own within."""
    words = words_in(text)
    needed = _needed(words, lambda definition: True)
    used = {name for definition in needed for name in definition.names}
    ends = [name for definition in definitions() if definition.ends in used for name in definition.names]
    words |= frozenset(ends)
    needed = _needed(words, lambda definition: True)
    # A local has to be there before any function that uses it.
    words |= LOCALS.intersection(name for definition in needed for name in definition.names)
    often = _needed(words, lambda definition: not definition.seldom)
    spelled = _spelled(needed)
    front = "".join(
        _stand_in(definition, spelled) if definition.seldom else _as_loaded(definition, spelled)
        for definition in often
    )
    rest = "".join(_as_loaded(each, spelled) for each in needed if each.seldom or each not in often)
    if rest:
        front = f"{front}{_REST} = function()\n{rest}end\n"
    # With their room made at once: a table that grows is copied each time.
    slots = ",".join("nil" for text in ("S", *spelled.values()) if text.startswith("S"))
    text = f"function()\n{_with(spelled, text)}\nend"
    if not ends:
        return f"local S = {{{slots}}}\n{front}return ({text})()\n"
    at_the_end = "".join(f"{spelled[name]}()\n" for name in ends)
    return (
        f"local S = {{{slots}}}\n{front}local well, reply = pcall({text})\n{at_the_end}"
        "if not well then error(reply, 0) end\nreturn reply\n"
    )


def _needed(words: frozenset[str], goes_on: Callable[[Definition], bool]) -> list[Definition]:
    """The definitions that `words` name, and what those need that it `goes_on` with, in their order."""
    found = []
    for definition in reversed(definitions()):
        if not words.isdisjoint(definition.names):
            found.append(definition)
            if goes_on(definition):
                words |= definition.words
    return found[::-1]


def _spelled(needed: Iterable[Definition]) -> Mapping[str, str]:
    """How what is needed is written where it is used, if not by its name."""
    spelled: dict[str, str] = {}
    slots = count(2)
    for definition in needed:
        names = [name for name in definition.names if name not in LOCALS]
        values = definition.literals or [f"S[{next(slots)}]" for _ in names]
        spelled.update(zip(names, values, strict=True))
    return spelled


def _as_loaded(definition: Definition, spelled: Mapping[str, str]) -> str:
    if definition.literals:
        return ""
    if not LOCALS.isdisjoint(definition.names):
        return _with(spelled, definition.text)
    text = _FUNCTION.sub(r"local \1 = function", definition.text, count=1)
    return _with(spelled, text.removeprefix("local "))


def _stand_in(definition: Definition, spelled: Mapping[str, str]) -> str:
    slot = spelled[definition.names[0]]
    return f"{slot} = function(...) {_REST}() return {slot}(...) end\n"


def _with(spelled: Mapping[str, str], text: str) -> str:
    return "".join(spelled.get(piece, piece) for piece in _cut(text))


@cache
def _cut(text: str) -> tuple[str, ...]:
    """The text around each name that the shared parts define, and these names. Most texts are part of many scripts."""
    names, pieces, end = _defined(), [], 0
    for word in _WORDS.finditer(text):
        if word[1] in names:
            pieces += [text[end : word.start()], word[1]]
            end = word.end()
    return (*pieces, text[end:])


@cache
def _defined() -> frozenset[str]:
    return frozenset(name for definition in definitions() for name in definition.names)


@cache
def definitions() -> tuple[Definition, ...]:
    """All that the shared parts define, in order."""
    texts = (text for part in PARTS for text in _texts(_file("shared", part)))
    return tuple(map(_definition, texts))


def _definition(text: str) -> Definition:
    literals, ends = _LITERALS.fullmatch(text), _ENDS.match(text)
    return Definition(
        names=_names(text),
        text=text,
        words=words_in(text),
        literals=tuple(re.findall(_LITERAL, literals[1])) if literals else (),
        seldom=bool(_SELDOM.match(text)),
        ends=ends[1] if ends else "",
    )


def words_in(text: str) -> frozenset[str]:
    """The words of Lua code, without those in texts, in comments, and behind a dot."""
    return frozenset(_WORDS.findall(text)) - {""}


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


def _file(folder: str, name: str) -> str:
    return (resources.files("chatq.ledger") / folder / f"{name}.lua").read_text("utf-8")
