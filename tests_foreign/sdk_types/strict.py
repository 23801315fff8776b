"""Whether a JSON value is of an annotated type, strictly.

pydantic is too kind for this: it does not look inside the `Iterable` that SDKs write around messages, it lets unknown
keys pass where a model says so, and the SDKs' open enumerations take any string. Here every level is walked, a key
that a type does not name is a problem, and so is a value that an enumeration does not list.
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import types
from collections.abc import Iterator, Mapping
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel, RootModel
from typing_extensions import (
    ReadOnly,
    TypeAliasType,
    get_type_hints,
    is_typeddict,
)

_PLAIN = {str: "a string", bool: "true or false", int: "an integer", float: "a number", type(None): "null"}
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_MAPPINGS = (dict, collections.abc.Mapping)
_WRAPPERS = (Annotated, Required, NotRequired, ReadOnly)
_OPEN = {"UnrecognizedStr", "UnrecognizedInt"}
"""Mistral's SDK: the member of a union that takes the values that its enumeration does not list."""
_ABSENT = {"NotGiven", "Omit", "Unset"}
"""What SDKs put for an argument that was not given: never JSON."""


class Problem(NamedTuple):
    """What is wrong at a place of a request body."""

    path: str
    """Such as `messages[0].role`; empty for the body itself."""
    what: str

    def __str__(self) -> str:
        return f"{self.path or 'the body'}: {self.what}"


class Field(NamedTuple):
    """A key of an object."""

    type: Any
    required: bool


def problems(value: Any, annotation: Any, path: str = "") -> list[Problem]:
    """Every way in which a JSON value is not of the type; none when it conforms.

    Raises `TypeError` for an annotation that this cannot walk: nothing passes unread.
    """
    kind = bare(annotation)
    origin = get_origin(kind)
    if kind in (Any, object):
        return []
    if origin in (Union, types.UnionType):
        return _of_union(value, closed(get_args(kind)), path)
    if origin is Literal:
        return _of_listed(value, get_args(kind), path)
    if kind is None or kind in _PLAIN:
        return _of_plain(value, kind or type(None), path)
    if origin in _LISTS or _is_list_protocol(origin):
        return _of_list(value, get_args(kind)[0], path)
    if origin in _MAPPINGS:
        return _of_mapping(value, get_args(kind)[1], path)
    if kind in _MAPPINGS:
        return _of_mapping(value, Any, path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _of_listed(value, tuple(member.value for member in kind), path)
    if isinstance(kind, type) and issubclass(kind, RootModel):
        return problems(value, kind.model_fields["root"].annotation, path)
    if is_typeddict(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return _of_object(value, kind, path)
    raise TypeError(f"{path or 'the body'}: cannot walk {kind!r}")


def bare(annotation: Any) -> Any:
    """The type itself, without what is written around it: Annotated, Required, a named alias."""
    while True:
        origin = get_origin(annotation)
        if origin in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(origin, TypeAliasType):
            given = dict(zip(origin.__type_params__, get_args(annotation), strict=True))
            value = origin.__value__
            annotation = value[tuple(given[name] for name in value.__parameters__)]
        elif isinstance(annotation, ForwardRef | str):
            raise TypeError(f"unresolved name {annotation!r}")
        else:
            return annotation


def closed(members: tuple[Any, ...]) -> list[Any]:
    """The members of a union without those that hold the door open for values that an enumeration does not list."""
    kept = [member for member in members if getattr(member, "__name__", "") not in _OPEN | _ABSENT]
    if any(_is_listed(member) for member in kept):
        kept = [member for member in kept if bare(member) not in (Any, object)]
    return kept


@functools.cache
def fields(kind: Any) -> Mapping[str, Field]:
    """The keys that an object of the type may have, by their names in JSON."""
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        return {
            name: Field(hint, _requires(hint, default=name in kind.__required_keys__))
            for name, hint in hints.items()
        }
    found = {}
    for name, field in kind.model_fields.items():
        # A constant such as type: "function" has a default in the SDKs' models, which always write it.
        constant = (field.default,) in _listings(hints[name])
        key = field.serialization_alias or field.alias or name
        found[key] = Field(hints[name], field.is_required() or constant)
    return found


def _listings(hint: Any) -> list[tuple[Any, ...]]:
    """The values that a Literal lists, of each Literal in a type or in its union."""
    kind = bare(hint)
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [get_args(bare(member)) for member in members if get_origin(bare(member)) is Literal]


def _requires(hint: Any, *, default: bool) -> bool:
    # With `from __future__ import annotations` a TypedDict does not know its required keys; the hints do.
    while get_origin(hint) in _WRAPPERS:
        if get_origin(hint) in (Required, NotRequired):
            return get_origin(hint) is Required
        hint = get_args(hint)[0]
    return default


def _of_object(value: Any, kind: Any, path: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [Problem(path, f"expected an object ({kind.__name__}), came {_shown(value)}")]
    known = fields(kind)
    found = [
        Problem(_at(path, name), f"unknown key of {kind.__name__}") for name in value if name not in known
    ]
    for name, field in known.items():
        if name in value:
            found += problems(value[name], field.type, _at(path, name))
        elif field.required:
            found.append(Problem(_at(path, name), f"missing; {kind.__name__} requires it"))
    return found


def _of_union(value: Any, members: list[Any], path: str) -> list[Problem]:
    """Those of the member that it was most likely meant to be."""
    nearest: list[Problem] | None = None
    for member in members:
        found = problems(value, member, path)
        if not found:
            return []
        if nearest is None or _distance(found, path) < _distance(nearest, path):
            nearest = found
    return nearest or [Problem(path, "nothing is allowed here")]


def _distance(found: list[Problem], path: str) -> tuple[bool, int, int]:
    """Not even the kind of value; another `type` or `role`; so many problems."""
    told_apart_by = {_at(path, "type"), _at(path, "role")}
    others = sum(problem.path in told_apart_by for problem in found)
    return any(problem.path == path for problem in found), others, len(found)


def _of_listed(value: Any, listed: tuple[Any, ...], path: str) -> list[Problem]:
    # True == 1, and neither is the other in JSON.
    if any(type(value) is type(one) and value == one for one in listed):
        return []
    return [Problem(path, f"expected one of {list(listed)}, came {_shown(value)}")]


def _of_plain(value: Any, kind: type, path: str) -> list[Problem]:
    fits = type(value) is kind or (kind is float and type(value) is int)
    return [] if fits else [Problem(path, f"expected {_PLAIN[kind]}, came {_shown(value)}")]


def _of_list(value: Any, kind: Any, path: str) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem(path, f"expected a list, came {_shown(value)}")]
    return [found for at, item in enumerate(value) for found in problems(item, kind, f"{path}[{at}]")]


def _of_mapping(value: Any, kind: Any, path: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [Problem(path, f"expected an object, came {_shown(value)}")]
    return [found for name, item in value.items() for found in problems(item, kind, _at(path, name))]


def _is_listed(annotation: Any) -> bool:
    kind = bare(annotation)
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def _is_list_protocol(origin: Any) -> bool:
    """`SequenceNotStr` of the SDKs that Stainless generates: a protocol of its own, so that no string is a list."""
    return getattr(origin, "__name__", "") == "SequenceNotStr"


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def lines(found: list[Problem]) -> Iterator[str]:
    """The problems as text, in the order of their places."""
    return map(str, sorted(found))
