"""`CHATQ_*` variables as settings: which variable means which key, and what its text means there.

`CHATQ_SECTION__KEY` is any setting: the names on its path, joined by two underscores, in capitals, with `_`
for each character that a variable's name cannot hold. So `CHATQ_WORKER__SLOTS` is `worker.slots`,
`CHATQ_BOUNDS__BACKLOG__JOBS` is `bounds.backlog.jobs`, `CHATQ_CONNECTIONS__OPENAI_MAIN__MODEL` is
`connections.openai-main.model` and `CHATQ_PROMPT_PLACEHOLDER` is `promptPlaceholder`. The connection must be
in the file. Names below `params` and `include_body` are lower-cased; below `include_headers` `_` becomes `-`.

Texts are taken as they stand; other values are read as YAML (`50`, `10m`, `[localhost, example.org]`). `null`
unsets what can be unset. An empty variable counts as not set. A variable wins over the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from chatq.contract.config_keys import Key, keys_of
from chatq.contract.config_problems import Place, Problem, nearest
from chatq.contract.config_yaml import Node, parse_yaml
from chatq.contract.section import Section
from chatq.contract.settings import Settings
from chatq.contract.shown import shown_key

PREFIX: Final = "CHATQ_"
CONFIG: Final = "CHATQ_CONFIG"
HTTP_TOKENS: Final = "CHATQ_HTTP_TOKENS"
_SHORT_NAMES: Final = {"CHATQ_REDIS_URL": ("redis", "url"), "CHATQ_LOG_LEVEL": ("log", "level")}
_OTHERS: Final = "CHATQ_INTERNAL_"

# Kubernetes and old Docker links describe a service called chatq or chatq-redis to every container beside it.
_SERVICE_NAME = re.compile(
    r"CHATQ_(?:.*_)?(?:SERVICE_(?:HOST|PORT(?:_.+)?)|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)"
)
_SERVICE_PORT = re.compile(r"(?:tcp|udp|sctp)://.*")


class _Setting(NamedTuple):
    path: tuple[str, ...]
    key: Key


def apply_environment(root: Node, environ: Mapping[str, str], *, connections_known: bool) -> list[Problem]:
    """Put what `environ` says into `root`, a mapping, in place of what is there. Returns the problems.

    `connections_known` false: the file could not be read, so variables for connections are left unjudged.
    """
    problems: list[Problem] = []
    taken: dict[tuple[str, ...], str] = {}
    keys = _named_as_keys(root)
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        value = environ[variable]
        if (
            not value
            or variable in (CONFIG, HTTP_TOKENS)
            or variable in keys
            or variable.startswith(_OTHERS)
            or _of_service(variable, value)
        ):
            continue
        if not connections_known and variable.startswith("CHATQ_CONNECTIONS__"):
            continue
        meant = _settings_named(variable, root)
        if len(meant) != 1:
            problems.append(_unclear(variable, meant, root))
            continue
        path, key = meant[0]
        if path in taken and environ[taken[path]] != value:
            message = f"says otherwise than {taken[path]}; set one of them"
            problems.append(Problem(Place(f"${variable}"), _dotted(path), message))
            continue
        taken[path] = variable
        problems += _put(root, path, key, variable, value)
    return problems


def _named_as_keys(root: Node) -> set[str]:
    """The variables that hold keys: a setting says `env:NAME`, and the name may begin as ours do."""
    connections = root.at(("connections",))
    keys = [one.at(("api_key",)) for one in ((connections and connections.entries) or {}).values()]
    keys.append(root.at(("http", "webhooks", "secret")))
    texts = [key.scalar for key in keys if key is not None and isinstance(key.scalar, str)]
    return {text.removeprefix("env:") for text in texts if text.startswith("env:")}


def _of_service(variable: str, value: str) -> bool:
    if "__" in variable:
        return False
    if _SERVICE_NAME.fullmatch(variable):
        return True
    return variable.endswith("_PORT") and _SERVICE_PORT.fullmatch(value) is not None


def _settings_named(variable: str, root: Node) -> list[_Setting]:
    if variable in _SHORT_NAMES:
        section, name = _SHORT_NAMES[variable]
        return [_Setting((section, name), Key(name, "text", nullable=False))]
    return list(_matches(variable.removeprefix(PREFIX).upper(), Settings, root, ()))


def _matches(
    rest: str, section: type[Section], node: Node | None, path: tuple[str, ...]
) -> Iterator[_Setting]:
    for key in keys_of(section).values():
        here = (*path, key.name)
        inside = node.at((key.name,)) if node is not None else None
        for spelling in {_capitals(key.name), key.name.upper()}:
            if rest == spelling:
                if (key.kind != "section" or key.nullable) and key.kind != "named_sections":
                    yield _Setting(here, key)
            elif rest.startswith(f"{spelling}__"):
                below = rest.removeprefix(f"{spelling}__")
                if key.kind == "section" and key.section is not None:
                    yield from _matches(below, key.section, inside, here)
                elif key.kind == "named_sections" and key.section is not None and inside is not None:
                    for name, one in (inside.entries or {}).items():
                        if below.startswith(f"{_capitals(name)}__"):
                            yield from _matches(
                                below.removeprefix(f"{_capitals(name)}__"), key.section, one, (*here, name)
                            )
                elif key.kind == "free" and below:
                    yield _entry(here, below.lower())


def _entry(mapping: tuple[str, ...], name: str) -> _Setting:
    """An entry of a mapping whose keys are the user's own."""
    if mapping[-1] == "include_headers":
        name = name.replace("_", "-")
        return _Setting((*mapping, name), Key(name, "text", nullable=False))
    return _Setting((*mapping, name), Key(name, "value", nullable=False))


def _capitals(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper())


def _put(root: Node, path: tuple[str, ...], key: Key, variable: str, value: str) -> list[Problem]:
    place = Place(f"${variable}")
    node: Node | None = Node(place, None if key.nullable and value == "null" else value)
    problems: list[Problem] = []
    if key.kind != "text":
        node, problems = parse_yaml(value, place.file, has_lines=False)
    problems = [Problem(place, _dotted(path), problem.message) for problem in problems]
    if node is None or problems:
        return problems
    parent = root
    for name in path[:-1]:
        child = parent.at((name,))
        if child is not None and child.entries is None and child.scalar is not None:
            return []  # the file has something else than a mapping there, which is reported
        # A copy, as an alias may share the mapping with another connection.
        child = Node(place, entries={}) if child is None or child.entries is None else child.copied()
        was = parent.key_places.get(name, place)
        parent.put(name, child)
        parent.key_places[name] = was
        parent = child
    parent.put(path[-1], node)
    return []


def _unclear(variable: str, meant: list[_Setting], root: Node) -> Problem:
    place = Place("environment")
    if meant:
        named = " and ".join(_dotted(setting.path) for setting in meant)
        return Problem(place, variable, f"may mean {named}; rename one of them, or set it in the file")
    known = list(_known_names(Settings, root, PREFIX))
    below = [name for name in known if name.startswith(f"{variable}__")]
    if below:
        return Problem(
            place,
            variable,
            f"names a whole section; set its keys one by one, such as {below[0]}",
            nearest=below[0],
        )
    near = nearest(variable, [CONFIG, HTTP_TOKENS, *_SHORT_NAMES, *known])
    message = "unknown setting" + (f"; did you mean {near}?" if near else "")
    if variable.startswith("CHATQ_CONNECTIONS__") and not near:
        message += "; variables can only change connections that are in the file"
    return Problem(place, shown_key(variable), message, nearest=near)


def _known_names(section: type[Section], node: Node | None, prefix: str) -> Iterator[str]:
    for key in keys_of(section).values():
        name = f"{prefix}{_capitals(key.name)}"
        inside = node.at((key.name,)) if node is not None else None
        if key.kind == "section" and key.section is not None:
            yield from _known_names(key.section, inside, f"{name}__")
        elif key.kind == "named_sections" and key.section is not None:
            for one, entry in ((inside.entries if inside else None) or {}).items():
                yield from _known_names(key.section, entry, f"{name}__{_capitals(one)}__")
        else:
            yield name


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(shown_key, path))
