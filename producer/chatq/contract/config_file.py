"""`config.yaml` and the environment to `Settings`, or all that is wrong with them at once.

The file is the one of `--config`, else of `$CHATQ_CONFIG`, else `./config.yaml`. Relative paths in settings
(`embedded:FOLDER`, `file:PATH`, `tokens_file`), wherever they are set, start from the folder of that file, so
that every process that reads it means the same. Variables: see `chatq.contract.config_environment`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from chatq.contract.addresses import FOLDER
from chatq.contract.config_environment import CONFIG, HTTP_TOKENS, apply_environment
from chatq.contract.config_keys import dotted_keys, keys_of
from chatq.contract.config_problems import ConfigError, Place, Problem, nearest
from chatq.contract.config_yaml import LARGEST_BYTES, Node, read_yaml, truths_elsewhere
from chatq.contract.redaction import remember, secrets_of_headers, secrets_of_url
from chatq.contract.section import RELATION, Broken, Section
from chatq.contract.settings import Settings
from chatq.contract.shown import shown, shown_key

DEFAULT_NAME = "config.yaml"

SHORTEST_TOKEN = 8
"""Characters of a token of the HTTP front, wherever it is set."""

_Path = tuple[str | int, ...]

# Whatever stands at or below these is never repeated: it is a secret, or where people put one.
_NEVER_SHOWN = {"api_key", "url", "broker_url", "include_headers", "include_body", "params"}
_CREDENTIAL_HEADERS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"}


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    also: Callable[[Settings], Iterable[Broken]] = lambda _settings: (),
) -> Settings:
    """Read, complete from `environ`, and check everything.

    `path`: the file that the command line names. `also(settings)`: what else does not hold, for one who knows more than
    the file says. Corrections that were made are in `Settings.notices`.
    Raises `ConfigError` with every problem: no file, not readable, not YAML, unknown or repeated keys, wrong
    types, relations that do not hold, unknown `CHATQ_` variables.
    """
    path, named_by = _find(path, environ)
    data = _read(path, named_by)
    root, problems = read_yaml(data, str(path))
    readable = root is not None
    if root is None:
        root = Node(Place(str(path), 1), entries={})
    elif root.entries is None:
        problems.append(_not_a_mapping(root))
        root, readable = Node(root.place, entries={}), False
    problems += apply_environment(root, environ, connections_known=readable)
    problems += _unquoted_truths(root)
    tokens, token_problems = _http_tokens(environ.get(HTTP_TOKENS, ""))
    problems += token_problems

    tree = root.plain()
    # A pipe (`--config <(decrypt config.yaml)`) has no folder that anything could be kept in.
    folder = path.absolute().parent if path.is_file() else Path.cwd()
    try:
        settings = Settings.model_validate(tree, context={FOLDER: folder})
    except ValidationError as error:
        # Looking for the nearest key takes its time; beyond the first hundred nobody reads it.
        told = enumerate(error.errors(include_url=False))
        problems += [_told(detail, root, suggest=number < 100) for number, detail in told]
    else:
        problems += [
            Problem(root.place_of(where), _dotted(where), message) for where, message in also(settings)
        ]
    if problems:
        # `from None`, and not inside the handler: the cause holds the values, keys perhaps among them.
        raise ConfigError(problems)
    remember(_secrets(settings, tokens))
    return settings.loaded(path.absolute(), tuple(_notices(settings, tree, root)), tokens)


def _secrets(settings: Settings, tokens: Iterable[SecretStr]) -> Iterator[str]:
    """What of the settings is in no log."""
    yield from secrets_of_url(settings.redis.url)
    yield from secrets_of_url(settings.redis.broker_url or "")
    yield from (token.get_secret_value() for token in tokens)
    for connection in settings.connections.values():
        yield from secrets_of_headers(connection.include_headers)


def _find(path: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The file to read, and what named it; nothing did when it is the default."""
    if path is not None:
        return Path(path), "--config"
    if environ.get(CONFIG):
        return Path(environ[CONFIG]), f"${CONFIG}"
    return Path(DEFAULT_NAME), ""


def _read(path: Path, named_by: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        message = "there is no such file"
    except IsADirectoryError:
        message = "is a folder, expected a file"
    except PermissionError:
        message = "this user may not read it"
    except (OSError, ValueError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    if named_by:
        message += f"; it was named by {named_by}"
    else:
        message += (
            f" in the current folder, and neither --config nor ${CONFIG} names another; "
            "copy the one from the project, or name yours"
        )
    raise ConfigError([Problem(Place(str(path)), "", message)])


def _not_a_mapping(root: Node) -> Problem:
    if root.items is None and root.scalar is None:
        return Problem(
            Place(root.place.file, 1),
            "",
            "the file is empty; expected at least `connections:` with one connection below",
        )
    return Problem(root.place, "", f"expected keys such as `connections:`, got {shown(root.plain())}")


def _unquoted_truths(root: Node) -> Iterator[Problem]:
    """In data that goes to a provider as it stands, an unquoted `no` is a guess that we do not make."""
    connections = root.at(("connections",))
    for name in (connections.entries or {}) if connections is not None else {}:
        for key in ("params", "include_body"):
            node = root.at(("connections", name, key))
            for path, word in truths_elsewhere(node, ("connections", name, key)) if node is not None else ():
                truth = "true" if word.scalar.lower() in {"yes", "on"} else "false"
                message = (
                    f'is {truth} to some and a text to others; write {truth}, or "{word.scalar}" in quotes'
                )
                yield Problem(root.place_of(path), _dotted(path), message, expected=truth, got=word.scalar)


def _http_tokens(text: str) -> tuple[tuple[SecretStr, ...], list[Problem]]:
    tokens = dict.fromkeys(token for token in map(str.strip, text.split(",")) if token)
    # RFC 6750 section 2.1 allows fewer characters; what breaks a header must not get in.
    if not tokens and text:
        return (), [Problem(Place(f"${HTTP_TOKENS}"), "", "expected tokens separated by commas, got none")]
    if not all(re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens):
        message = "expected tokens of visible ASCII characters, separated by commas"
    elif min(map(len, tokens), default=SHORTEST_TOKEN) < SHORTEST_TOKEN:
        message = f"expected at least {SHORTEST_TOKEN} characters in each token: a shorter one can be guessed"
    else:
        return tuple(SecretStr(token) for token in tokens), []
    return (), [Problem(Place(f"${HTTP_TOKENS}"), "", message)]


def _notices(settings: Settings, tree: Any, root: Node) -> Iterator[str]:
    for name, connection in settings.connections.items():
        path: _Path = ("connections", name, "url")
        written = tree["connections"][name].get("url")
        if written is not None and connection.url is not None and len(written) > len(connection.url):
            taken_off = written[len(connection.url) :]
            yield (
                f"{root.place_of(path)}: {_dotted(path)}: {taken_off} is taken off; "
                f"the base URL is {connection.url}"
            )
        for header in connection.include_headers:
            path = ("connections", name, "include_headers", header)
            place = root.place_of(path)
            if header.lower() in _CREDENTIAL_HEADERS and place.line is not None:
                yield (
                    f"{place}: {_dotted(path)}: looks like a secret written into a file; prefer api_key, "
                    f"or a variable as in the notes on CHATQ_CONNECTIONS__..."
                )


def _told(detail: Any, root: Node, *, suggest: bool) -> Problem:
    """A pydantic error in our words."""
    path: _Path = tuple(part for part in detail["loc"] if part != "[key]")
    place, key, value, context = root.place_of(path), _dotted(path), detail["input"], detail.get("ctx", {})
    kind = detail["type"]
    if kind == "extra_forbidden":
        near = _nearest_key(str(path[-1]), _section_at(path[:-1])) if suggest else None
        return Problem(
            place, key, "unknown key" + (f'; did you mean "{near}"?' if near else ""), nearest=near
        )
    if kind == "missing":
        section = _section_at(path[:-1])
        choices = keys_of(section)[str(path[-1])].choices if section is not None else ()
        expected = f"one of {' '.join(choices)}" if choices else "a value"
        return Problem(place, key, f"missing; expected {expected}", expected=expected, got="nothing")
    if kind in (RELATION, "value_error"):
        return Problem(place, key, str(context["message"] if kind == RELATION else context["error"]))
    expected = _expected(kind, context)
    got = "another value" if _NEVER_SHOWN.intersection(path) and value is not None else shown(value)
    near, hint = None, ""
    if kind == "literal_error" and isinstance(value, str):
        near = nearest(value, re.findall(r"'([^']*)'", context["expected"]))
        hint = f'; did you mean "{near}"?' if near else ""
    elif kind == "string_type" and isinstance(value, int | float):
        hint = "; put it in quotes"
    return Problem(
        place, key, f"expected {expected}, got {got}{hint}", expected=expected, got=got, nearest=near
    )


def _expected(kind: str, context: Mapping[str, Any]) -> str:
    match kind:
        case "literal_error":
            return "one of " + re.sub(r" or (?=')", ", ", context["expected"]).replace("'", "").replace(
                ", ", " "
            )
        case "greater_than_equal":
            return f"at least {context['ge']:g}"
        case "greater_than":
            return f"more than {context['gt']:g}"
        case "less_than_equal":
            return f"at most {context['le']:,g}" if context["le"] < 10**6 else f"at most {context['le']:.0e}"
        case "string_too_long":
            return f"at most {context['max_length']} characters"
    return _EXPECTED.get(kind, "another kind of value")


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "dict_type": "a mapping (keys with values)",
    "model_type": "a mapping (keys with values)",
    "tuple_type": "a list",
}


def _section_at(path: _Path) -> type[Section] | None:
    section: type[Section] | None = Settings
    named = False
    for part in path:
        if named:  # the user's name for the section
            named = False
            continue
        key = keys_of(section).get(str(part)) if section is not None else None
        section = key.section if key is not None else None
        named = key is not None and key.kind == "named_sections"
    return section


def _nearest_key(name: str, section: type[Section] | None) -> str | None:
    """The key meant by an unknown `name`: in its section, or in one below (`slots` is `worker.slots`)."""
    if section is None:
        return None
    by_last_name = {dotted.rpartition(".")[2]: dotted for dotted in reversed(dotted_keys(section))}
    exactly = nearest(name, by_last_name, cutoff=1.0)
    if exactly is not None:
        return by_last_name[exactly]
    near = nearest(name, keys_of(section))
    if near is not None:
        return near
    inner = nearest(name, by_last_name, cutoff=0.8)
    return by_last_name[inner] if inner else None


def _dotted(path: _Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}"
    return text.removeprefix(".")
