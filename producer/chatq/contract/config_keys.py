"""Which keys the settings have, read off the models: for nearest known keys and for names of variables."""

from __future__ import annotations

import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from chatq.contract.key_reference import KeyReference
from chatq.contract.section import Section


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section."""

    name: str
    """As written in YAML."""
    kind: Literal["section", "named_sections", "free", "text", "value"]
    """`named_sections`: sections by a name of the user's; `free`: a mapping whose keys are the user's;
    `text`: words that are taken as they stand; `value`: anything else."""
    nullable: bool
    section: type[Section] | None = None
    choices: tuple[str, ...] = ()
    """The words that it can be, when only some are known."""


@cache
def keys_of(section: type[Section]) -> dict[str, Key]:
    """The keys of `section` by name, in the order of the file."""
    keys = (_key(field.alias or name, field.annotation) for name, field in section.model_fields.items())
    return {key.name: key for key in keys}


@cache
def dotted_keys(section: type[Section]) -> tuple[str, ...]:
    """`keys_of`, and those of the sections inside as dotted paths."""
    names: list[str] = []
    for key in keys_of(section).values():
        names.append(key.name)
        if key.kind == "section" and key.section is not None:
            names += [f"{key.name}.{inner}" for inner in dotted_keys(key.section)]
    return tuple(names)


def _key(name: str, annotation: Any) -> Key:
    nullable = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            nullable = True
            (annotation,) = (one for one in get_args(annotation) if one is not type(None))
        else:
            break
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Key(name, "section", nullable, annotation)
    if origin is dict:
        of = get_args(annotation)[1]
        if isinstance(of, type) and issubclass(of, Section):
            return Key(name, "named_sections", nullable, of)
        return Key(name, "free", nullable)
    if origin is Literal:
        return Key(name, "text", nullable, choices=get_args(annotation))
    return Key(name, "text" if annotation in (str, KeyReference) else "value", nullable)
