"""YAML text to a tree that remembers where each value was written.

Built from the parser's events and not with `yaml.load`, as a configuration wants other rules than YAML 1.1: a
key given twice is a problem, each value keeps its line, `no` and `5:00` and `2024-01-01` and `0123` stay text
(elsewhere they are false, 300, a date and 83), keys are always text, and neither deep nesting nor aliases of
aliases can use up memory. Anchors, aliases and merge keys work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from chatq.contract.config_problems import Place, Problem
from chatq.contract.shown import shown, shown_key

if TYPE_CHECKING:
    from yaml.events import Event, ScalarEvent

LARGEST_BYTES: Final = 2 * 2**20
_MOST_NODES: Final = 200_000
_DEEPEST: Final = 32

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+)")
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TRUTH_IN_YAML_1_1 = re.compile(r"(?:yes|no|on|off)", re.IGNORECASE)
# What YAML's own parser does not accept either (YAML 1.1 section 5.1), found here because it tells no line;
# besides byte order marks inside the text, on which libyaml and the parser in Python disagree.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_UNUSABLE_TEXT = re.compile("[\x00\ud800-\udfff]")
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "int": int, "float": (int, float), "bool": bool, "null": type(None),
}  # fmt: skip


@dataclass(slots=True)
class Node:
    """A value and where it was written. Exactly one of `entries`, `items` is set for a mapping, a list."""

    place: Place
    scalar: Any = None
    entries: dict[str, Node] | None = None
    key_places: dict[str, Place] = field(default_factory=dict)
    items: list[Node] | None = None
    weight: int = 1
    """Nodes in it when every alias is written out."""
    truth_elsewhere: bool = False
    """Text here, a boolean in YAML 1.1: an unquoted yes, no, on, off."""

    def plain(self) -> Any:
        """The value without places: dict, list, str, int, float, bool or None."""
        if self.entries is not None:
            return {name: node.plain() for name, node in self.entries.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.scalar

    def place_of(self, path: tuple[str | int, ...]) -> Place:
        """Where the key at `path` was written, or the innermost part of it that was."""
        node, place = self, self.place
        for part in path:
            if node.entries is not None and isinstance(part, str) and part in node.entries:
                place = node.key_places[part]
                node = node.entries[part]
            elif node.items is not None and isinstance(part, int) and 0 <= part < len(node.items):
                node = node.items[part]
                place = node.place
            else:
                break
        return place

    def at(self, path: tuple[str | int, ...]) -> Node | None:
        """The node at `path`, or None."""
        node: Node | None = self
        for part in path:
            if node is None:
                return None
            if node.items is not None and isinstance(part, int) and 0 <= part < len(node.items):
                node = node.items[part]
            else:
                node = (node.entries or {}).get(part) if isinstance(part, str) else None
        return node

    def put(self, name: str, node: Node) -> None:
        """Set an entry of this mapping, in place of one that is there."""
        if self.entries is None:
            self.entries, self.scalar = {}, None
        self.entries[name] = node
        self.key_places[name] = node.place

    def copied(self) -> Node:
        """A copy whose entries can be changed; what is inside is shared."""
        entries = None if self.entries is None else dict(self.entries)
        return Node(self.place, self.scalar, entries, dict(self.key_places), self.items, self.weight)


def read_yaml(data: bytes, file: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a file's content, and all problems of it as YAML.

    The tree is None when the text could not be read to its end; otherwise it holds what was understood.
    `file` names the file in places.
    """
    if len(data) > LARGEST_BYTES:
        return None, [Problem(Place(file), "", "expected settings of at most 2MiB, got a larger file")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Problem(Place(file, line), "", "not UTF-8; save the file with the encoding UTF-8")]
    return parse_yaml(text, file)


def parse_yaml(text: str, file: str, *, has_lines: bool = True) -> tuple[Node | None, list[Problem]]:
    """Like `read_yaml`, of a text. `has_lines` false: places have no line (the value of a variable)."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        line = text.count("\n", 0, unprintable.start()) + 1 if has_lines else None
        message = f"the character U+{ord(unprintable[0]):04X} cannot be used here; take it out"
        return None, [Problem(Place(file, line), "", message)]
    return _Builder(text, file, has_lines=has_lines).build()


class _Stop(Exception):
    pass


class _Builder:
    """Reads one document, collecting problems, up to one that leaves nothing to go on with."""

    def __init__(self, text: str, file: str, *, has_lines: bool) -> None:
        self._text = text
        self._file = file
        self._has_lines = has_lines
        self._problems: list[Problem] = []
        self._anchors: dict[str, Node | None] = {}
        self._weight = 0
        self._path: list[str] = []

    def build(self) -> tuple[Node | None, list[Problem]]:
        import yaml

        try:
            # libyaml where it is there: a file with a thousand connections is read 10 times as fast.
            self._events = yaml.parse(self._text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            return self._document(), self._problems
        except yaml.YAMLError as error:
            self._syntax_error(error)
        except _Stop:
            pass
        return None, self._problems

    def _document(self) -> Node:
        from yaml import events

        root: Node | None = None
        for event in self._events:
            if isinstance(event, events.DocumentStartEvent):
                if root is not None:
                    self._fail(event, "a second document begins here (---); expected one mapping")
                root = self._node(next(self._events), depth=0)
        return root or Node(Place(self._file, 1 if self._has_lines else None))

    def _node(self, event: Event, depth: int) -> Node:
        from yaml import events

        if depth > _DEEPEST:
            self._fail(event, f"nested more than {_DEEPEST} deep")
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        anchor = event.anchor if isinstance(event, events.NodeEvent) else None
        if anchor is not None:
            self._anchors[anchor] = None  # until it is complete: a value cannot hold itself
        if isinstance(event, events.MappingStartEvent):
            node = self._mapping(event, depth)
        elif isinstance(event, events.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            assert isinstance(event, events.ScalarEvent)  # noqa: S101 - a node begins with nothing else
            node = self._scalar(event)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            inside = event.anchor in self._anchors
            self._fail(
                event,
                f"the alias *{shown_key(event.anchor)} " + ("holds itself" if inside else "has no anchor"),
            )
        self._count(event, node.weight)
        return node

    def _mapping(self, event: Any, depth: int) -> Node:
        from yaml import events

        self._count(event, 1)
        self._refuse_tag(event, "map")
        node = Node(self._place(event), entries={})
        merged: list[Node] = []
        while not isinstance(key := next(self._events), events.MappingEndEvent):
            name = self._key(key, depth)
            self._path.append(shown_key(name or ""))
            value = self._node(next(self._events), depth + 1)
            self._path.pop()
            if name is None:
                continue
            node.weight += value.weight
            if name == "<<" and not getattr(key, "style", None):
                merged += self._mergeable(key, value)
            elif name in node.key_places:
                first = node.key_places[name].line
                self._report(key, f"given twice; first in line {first}", name)
            else:
                node.put(name, value)
                node.key_places[name] = self._place(key)
        for other in merged:  # what is written here wins, then the earlier of those merged
            for name, value in (other.entries or {}).items():
                if name not in node.key_places:
                    node.put(name, value)
                    node.key_places[name] = other.key_places[name]
        return node

    def _key(self, event: Event, depth: int) -> str | None:
        from yaml import events

        if isinstance(event, events.ScalarEvent):
            self._count(event, 1)
            if event.value == "" or _UNUSABLE_TEXT.search(event.value):
                self._report(
                    event,
                    "expected a name before the colon, got " + ("nothing" if not event.value else "other"),
                )
                return None
            name: str = event.value
            if event.anchor is not None:
                self._anchors[event.anchor] = Node(self._place(event), name)
            return name
        node = self._node(event, depth + 1)
        if isinstance(node.scalar, str) and node.scalar:
            return node.scalar
        self._report(event, f"expected a name before the colon, got {shown(node.plain())}")
        return None

    def _mergeable(self, key: Event, value: Node) -> list[Node]:
        nodes = value.items if value.items is not None else [value]
        if any(node.entries is None for node in nodes):
            self._report(key, "expected a mapping to merge, such as *defaults", "<<")
            return []
        return nodes

    def _sequence(self, event: Any, depth: int) -> Node:
        from yaml import events

        self._count(event, 1)
        self._refuse_tag(event, "seq")
        items: list[Node] = []
        while not isinstance(item := next(self._events), events.SequenceEndEvent):
            items.append(self._node(item, depth + 1))
        return Node(self._place(event), items=items, weight=1 + sum(item.weight for item in items))

    def _scalar(self, event: ScalarEvent) -> Node:
        self._count(event, 1)
        text: str = event.value
        node = Node(self._place(event), text)
        if _UNUSABLE_TEXT.search(text):
            self._report(event, "a text with a NUL or half a character cannot be used")
        tag = str(event.tag or "").removeprefix("tag:yaml.org,2002:")
        plain = not event.style and event.tag is None  # libyaml says "" where the Python parser says None
        if plain or tag in _TYPES:
            node.truth_elsewhere = plain and _TRUTH_IN_YAML_1_1.fullmatch(text) is not None
            try:
                node.scalar = resolve_plain(text)
            except ValueError as error:
                self._report(event, str(error))
            if tag in _TYPES and not isinstance(node.scalar, _TYPES[tag]):
                self._report(event, f"this is not what its tag !!{tag} says")
        elif tag not in {"", "!", "str"}:
            self._refuse_tag(event, "str")
        return node

    def _refuse_tag(self, event: Any, usual: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{usual}"):
            self._report(event, "YAML tags (!...) have no meaning here; take it out")

    def _count(self, event: Event, weight: int) -> None:
        self._weight += weight
        if self._weight > _MOST_NODES:
            self._fail(event, f"more than {_MOST_NODES:,} values, aliases written out")

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1 if self._has_lines else None)

    def _report(self, event: Event, message: str, key: str | None = None) -> None:
        path = [*self._path, shown_key(key)] if key is not None else self._path
        self._problems.append(Problem(self._place(event), ".".join(path), message))

    def _fail(self, event: Event, message: str) -> NoReturn:
        self._report(event, message)
        raise _Stop

    def _syntax_error(self, error: Any) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        lines = self._text.split("\n")
        # What has no end is noticed after the last line; the last line is where to look.
        line = min(mark.line, len(lines) - 1) if mark else 0
        indentation = re.match(r"\s*", lines[line])
        if indentation and "\t" in indentation[0]:
            message = "indented with a tab; YAML wants spaces"
        else:
            # Only the parser's fixed words: its snippets would repeat what is written there, a key perhaps.
            message = f"not valid YAML: {_HINTS.get(error.problem, error.problem or 'it cannot be read')}"
        self._problems.append(Problem(Place(self._file, line + 1 if self._has_lines else None), "", message))


def resolve_plain(text: str) -> Any:
    """The value of an unquoted scalar, by YAML 1.2's core schema (section 10.3.2) but for leading zeros.

    Raises ValueError for numbers that JSON cannot carry.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("expected a finite number")
    if _INTEGER.fullmatch(text):
        if len(text) > 40 or not -(2**63) <= (number := int(text, 0)) < 2**63:
            raise ValueError("expected a number of at most 64 bits; quote it if it is a name")
        return number
    if _DECIMAL.fullmatch(text):
        if not math.isfinite(decimal := float(text)):
            raise ValueError("expected a finite number")
        return decimal
    return text


def truths_elsewhere(
    node: Node, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Node]]:
    """Every unquoted yes, no, on, off in `node`, with its path."""
    if node.truth_elsewhere:
        yield path, node
    for name, entry in (node.entries or {}).items():
        yield from truths_elsewhere(entry, (*path, name))
    for index, item in enumerate(node.items or ()):
        yield from truths_elsewhere(item, (*path, index))


_COLON_INSIDE: Final = 'a ": " inside a text needs quotes around the text, or the indentation is off'
_HINTS: Final = {
    "mapping values are not allowed here": _COLON_INSIDE,
    "mapping values are not allowed in this context": _COLON_INSIDE,
    "could not find expected ':'": "a key without a colon, or a text that goes on in the next line",
    "did not find expected key": "a key was expected here; look at the indentation and the quotes",
    "found character that cannot start any token": "a character that begins nothing; put the text in quotes",
}
