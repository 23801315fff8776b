"""Writes docs/reference/ from the code: `make reference`. A test fails when what is there is not what it writes.

Texts come from docstrings (a setting's, and that of a key of a job, stands under it), from the command's own help, from
the table of failures and from the OpenAPI document; so what is missing or wrong in the reference is mended there.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import httpx
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import chatq
from chatq import AsyncChatQueue, ChatQueue, cli
from chatq.contract import connection, settings
from chatq.contract.config_file import load_settings
from chatq.contract.duration import format_duration
from chatq.contract.errors import ChatQueueError
from chatq.contract.job import Job
from chatq.contract.keys import Keys
from chatq.contract.record import (
    Attempt,
    Batch,
    BatchBudget,
    BatchUsage,
    Counts,
    JobError,
    JobRecord,
    Result,
    Usage,
)
from chatq.contract.settings import Settings
from chatq.contract.sizes import format_size
from chatq.http import errors as http_errors
from chatq.http.access import Access
from chatq.http.application import application
from chatq_worker.failures import CODES, FailureClass

REFERENCE: Final = Path(__file__).parent / "reference"
_GENERATED: Final = (
    "<!-- Written by `make reference`; what is wrong here is mended in the code it is taken from. -->"
)

_TYPES: Final = {
    "Count": "whole number, 1 or more",
    "Duration": "duration",
    "PositiveDuration": "duration, more than 0",
    "PositiveSize": "size",
    "Flag": "`true` or `false`",
    "Text": "text",
    "str": "text",
    "int": "whole number",
    "Money": "US dollars",
    "Reference": "`env:NAME` or `file:PATH`",
    "JsonValue": "any value",
}
"""What is to be written for each type of a setting."""

_SETTINGS: Final = """\
`config.yaml`, in the order of the file. `CHATQ_CONFIG` names another file. Any setting can be given as a
variable instead, in capitals, with two underscores between its parts: `CHATQ_WORKER__SLOTS=200`. Beside them:
`CHATQ_REDIS_URL` is `redis.url`, `CHATQ_LOG_LEVEL` is `log.level`, and `CHATQ_HTTP_TOKENS` holds the front's
tokens, separated by commas.

A duration is written `30s`, `5m`, `2h`, `7d`, or as a number of seconds; a size `8MiB`, or as a number of
bytes. None is what a key is that was not given. Unknown keys, and values that do not fit, are told with file,
line and key, all of them at once.
"""
_COMMANDS: Final = """\
Each takes `--config FILE` and `--json`, before or behind its name. Results go to standard output, all else to
standard error. Exit codes: 0 it worked, 1 the work failed, 2 wrong use (arguments, settings, a connection, job or
batch that is not there, a job that can never run). Which models there are the provider knows: a job with one that is
not fails, 1. `render` goes on with the next line: 1 when one could not be rendered.
"""
_JOB: Final = """\
A job is the same everywhere: as arguments of `ChatQueue.enqueue`, as a line of a batch, in a file for
`chatq submit --file`, as the body of `POST /v1/jobs`, as the argument of the Celery task `chatq.submit`. Exactly
one of `prompt` and `messages` must be given. Unknown keys are refused, with the nearest known one named.

A duration is written `30s`, `5m`, `2h`, `7d`, or as a number of seconds; a moment as in `2026-11-23T18:00:00Z`.
"""
_RECORD: Final = """\
What `ChatQueue.get` and `wait` return, `GET /v1/jobs/ID` and `chatq result --json` answer, and
`chatq:result:ID` holds. Moments are RFC 3339 in UTC. Newer versions may add keys.
"""
_BATCH: Final = """\
What `ChatQueue.batch` returns and `chatq batch status --json` prints. Over HTTP a batch has the shape of OpenAI's
API, with `cost_usd`, `paused_at`, `budget` and `retry_of` beside it. Moments are RFC 3339 in UTC. Newer versions may
add keys.
"""
_PYTHON: Final = """\
`from chatq import ChatQueue`. Below are its methods, as a `queue` has them; those of `AsyncChatQueue` have the same
names and arguments, and are awaited. What they return is in [jobs and records](jobs.md), what they raise in
[errors](errors.md).
"""
_RAISED: Final = """\
Raised by `ChatQueue`; over HTTP `error.code` of an answer with that status. *Again*: the same call can succeed
later, without anything being changed by hand.
"""
_JOBS: Final = """\
`error.code` of a failed job's record, or of one of its attempts; and of a status check. The remedy in the
record is more exact where more is known.
"""
_KEYS: Final = """\
Every key begins with `redis.key_prefix` (here `chatq`). Plain readers may rely on those of the first table; all
others may change with any version. How many there are of each, and when they go:
[memory](../reliability.md#memory).
"""
_PATHS: Final = """\
The paths of `chatq serve`; how they are used is in [the HTTP front](../http.md). `GET /openapi.json` has the
same, with all shapes. Errors are `{"error": {"message", "type", "param", "code", "remedy"}}`, with these
[codes](errors.md).
"""


def pages() -> dict[str, str]:
    """Name and text of each page."""
    return {
        "settings.md": _page("Settings", _settings()),
        "jobs.md": _page("Jobs and records", _jobs()),
        "commands.md": _page("Commands", _commands()),
        "python.md": _page("Python", _python()),
        "errors.md": _page("Errors", _errors()),
        "redis-keys.md": _page("Redis keys", _redis_keys()),
        "http.md": _page("HTTP paths", _http()),
    }


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", _GENERATED, "", *lines]).rstrip() + "\n"


def _table(*head: str) -> list[str]:
    return [_row(*head), _row(*("---" for _ in head))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


# Settings


def _settings() -> Iterator[str]:
    yield _SETTINGS
    yield from _section(Settings, "", settings)


def _section(model: type[BaseModel], path: str, module: Any) -> Iterator[str]:
    """The table of a section, then those of the sections in it."""
    if path:
        yield from (f"## {path.removesuffix('.')}", "")
    if text := _line(model.__doc__):
        yield from (text, "")
    stated = _stated(model)
    inner: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        found = [one for one in _models_in(field.annotation) if issubclass(one, BaseModel)]
        if found:
            many = "Mapping" in str(field.annotation) or "dict" in str(field.annotation)
            inner.append((f"{path}{key}.{'ID.' if many else ''}", found[0]))
            if not stated[name][1]:
                continue
        annotation, text = stated[name]
        rows.append(_row(f"`{key}`", _type(annotation), _default(field, annotation), text))
    if rows:
        yield from (*_table("key", "value", "default", "what it does"), *rows, "")
    for inside, one in inner:
        yield from _section(one, inside, connection if one.__module__.endswith("connection") else settings)


def _stated(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """For each field: its annotation and its docstring, as they stand in the source."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, tuple[str, str]] = {}
    for statement, after in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = _line(str(after.value.value))
            found[statement.target.id] = (ast.unparse(statement.annotation), text)
    return found


def _models_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _type(annotation: str) -> str:
    """An annotation of the settings in words. Raises `KeyError` for one that `_TYPES` has no words for."""
    return _type_of(ast.parse(annotation, mode="eval").body)


def _type_of(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):  # X | None
        return _type_of(node.left)
    if isinstance(node, ast.Name):
        choices = getattr(connection, node.id, None)
        return _choices(get_args(choices)) if get_args(choices) and node.id not in _TYPES else _named(node.id)
    assert isinstance(node, ast.Subscript)
    assert isinstance(node.value, ast.Name)
    inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    match node.value.id:
        case "Literal":
            return _choices([ast.literal_eval(one) for one in inside])
        case "Annotated":
            return _type_of(inside[0])
        case "tuple":
            return f"list: {_type_of(inside[0])}"
        case "dict":
            return f"mapping: {_type_of(inside[1])}"
    raise KeyError(node.value.id)


def _named(name: str) -> str:
    found = getattr(connection, name, None) or getattr(settings, name, None)
    return "mapping" if isinstance(found, type) and issubclass(found, BaseModel) else _TYPES[name]


def _choices(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _default(field: Any, annotation: str) -> str:
    if field.is_required():
        return "must be given"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    if value is None or isinstance(value, BaseModel) or value in ((), {}):
        return ""
    if "Duration" in annotation:
        return f"`{format_duration(value)}`"
    if "Size" in annotation:
        return f"`{format_size(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(value) if isinstance(value, tuple) else value}`"


# Jobs


def _jobs() -> Iterator[str]:
    yield from ("## The job", "", _JOB, *_table("key", "value", "default", "what it does"))
    schema = Job.model_json_schema()
    for name, (annotation, text) in _stated(Job).items():
        field = Job.model_fields.get(name)
        if field is not None:
            value = _SPELLED.get(name) or _value(schema["properties"][name], schema)
            yield _row(f"`{name}`", value, _default(field, annotation), text)
    yield from ("", "## The record", "", _RECORD)
    yield from _records(_OF_A_RECORD)
    yield from ("## The batch", "", _BATCH)
    yield from _records(_OF_A_BATCH)


def _records(models: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """The tables of what is told, by the key that each stands under."""
    for title, model in models.items():
        schema = model.model_json_schema(mode="validation")
        if title:
            yield from (f"### {title}", "")
        yield from _table("key", "value", "what it holds")
        for name, (_, text) in _stated(model).items():
            if name in model.model_fields:
                yield _row(f"`{name}`", _value(schema["properties"][name], schema), text)
        yield ""


_SPELLED: Final = {"not_before": "duration or moment", "expires_in": "duration, more than 0"}
"""Values that the JSON schema does not tell."""

_OF_A_RECORD: Final[Mapping[str, type[BaseModel]]] = {
    "": JobRecord,
    "attempts": Attempt,
    "result": Result,
    "result.usage": Usage,
    "error": JobError,
}

_OF_A_BATCH: Final[Mapping[str, type[BaseModel]]] = {
    "": Batch,
    "counts": Counts,
    "usage": BatchUsage,
    "budget": BatchBudget,
}


def _value(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words; that it may be null is not said."""
    if "anyOf" in schema:
        return " or ".join(_value(one, whole) for one in schema["anyOf"] if one.get("type") != "null")
    if "$ref" in schema:
        inner = whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return _value(inner, whole) if "enum" in inner else "mapping"
    if "enum" in schema:
        return _choices(schema["enum"])
    match schema["type"]:
        case "array":
            return f"list: {_value(schema['items'], whole)}"
        case "object":
            inner = schema.get("additionalProperties")
            return f"mapping: {_value(inner, whole)}" if isinstance(inner, dict) else "mapping"
        case "integer" if "maximum" in schema:
            return f"whole number, {schema['minimum']} to {schema['maximum']}"
        case "string" if schema.get("format") == "date-time":
            return "moment"
    return _JSON_TYPES[schema["type"]]


_JSON_TYPES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
}


# Commands


def _commands() -> Iterator[str]:
    yield _COMMANDS
    yield from _parser(cli.parser())


def _parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    inside = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inside:
        yield from (f"## {parser.prog}", "", f"{_sentence(parser.description)}", "")
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        yield from ("```", *_wrapped(usage), "```", "")
        rows = [row for action in parser._actions for row in _argument(action)]
        if rows:
            yield from (*_table("argument", "what it does"), *rows, "")
    for action in inside:
        for one in action.choices.values():
            yield from _parser(one)


_COMMON: Final = frozenset({"-h", "--config", "--json"})


def _argument(action: argparse.Action) -> Iterator[str]:
    if action.help == argparse.SUPPRESS or _COMMON.intersection(action.option_strings):
        return
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    name = f"{', '.join(action.option_strings)} {value}".strip()
    text = _line(action.help)
    if action.choices:
        text = f"{text + ': ' if text else ''}{_choices(action.choices)}"
    if text:
        yield _row(f"`{name}`", text)


def _wrapped(usage: str) -> list[str]:
    usage = re.sub(r" \[(?:-h|--config FILE|--json)\]", "", usage)
    lines, line = [], ""
    for part in re.findall(r"\[[^\]]*\]|\S+", usage):
        if len(line) + len(part) > 100:
            lines.append(line)
            line = "   "
        line = f"{line} {part}" if line else part
    return [*lines, line]


def _sentence(text: str | None) -> str:
    text = _line(text)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


# Python


def _python() -> Iterator[str]:
    yield _PYTHON
    yield from ("## ChatQueue", "", *_signature("ChatQueue", ChatQueue), _text(ChatQueue), "")
    for name, method in _methods(ChatQueue):
        yield from (f"### {name}", "", *_signature(f"queue.{name}", method), _text(method), "")
    yield from ("## AsyncChatQueue", "", _text(AsyncChatQueue), "")
    for name, method in _methods(AsyncChatQueue):
        before, _, text = _text(method).partition(f"As `ChatQueue.{name}`")
        if not before and (text := text.lstrip(".:;, ")):
            yield f"- `{name}`: {_line(text)}"


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Those that are public, in the order of the source."""
    for name, method in vars(kind).items():
        if not name.startswith("_") and callable(method):
            yield name, method


def _text(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


_WIDTH: Final = 100


def _signature(name: str, thing: Any) -> list[str]:
    """How it is called, and what comes of it: on a line each argument where one line is too short."""
    signature = inspect.signature(thing)
    arguments = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        text = str(parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty))
        text += "" if parameter.annotation is inspect.Parameter.empty else f": {parameter.annotation}"
        text += "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        arguments.append(text)
    returns = signature.return_annotation
    end = ")" if returns in (inspect.Signature.empty, None) or isinstance(thing, type) else f") -> {returns}"
    line = f"{name}({', '.join(arguments)}{end}"
    if len(line) > _WIDTH:
        return ["```", f"{name}(", *(f"    {argument}," for argument in arguments), end, "```", ""]
    return ["```", line, "```", ""]


# Errors


def _errors() -> Iterator[str]:
    yield from (
        "Every error says what failed and where, and what to do about it. Programs go by its code.",
        "",
    )
    yield from ("## What callers get", "", _RAISED)
    yield from _table("code", "in Python", "HTTP", "again", "what it means")
    # Every one, whatever was imported before.
    for module in pkgutil.walk_packages(chatq.__path__, "chatq."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    known = sorted(_subclasses(ChatQueueError), key=lambda kind: kind.code)
    for kind in known:
        own = kind.__module__.startswith("chatq.http")
        yield _row(
            f"`{kind.code}`",
            "" if own else f"`{kind.__name__}`",
            "" if (status := http_errors.status_of_kind(kind)) == 500 else str(status),
            "yes" if kind.retryable else "",
            _line(kind.__doc__),
        )
    yield from ("", "## Why a job failed", "", _JOBS)
    for failure_class in FailureClass:
        yield from (f"### {_CLASSES[failure_class]}", "", *_table("code", "what to do"))
        yield from (
            _row(f"`{code}`", failure.remedy)
            for code, failure in CODES.items()
            if failure.kind is failure_class
        )
        yield ""
    yield from ("### The queue: no provider said so", "", *_table("code", "what to do"))
    yield from (_row(f"`{code}`", text) for code, text in _OF_THE_QUEUE.items())


_OF_THE_QUEUE: Final[Mapping[str, str]] = {
    "cancelled": "Enqueue the job again if it was cancelled by mistake.",
    "expired": "It was not started within its expires_in: enqueue it again with a longer one, or see `chatq why`.",
    "handed_back": "Nothing: of an attempt only, whose worker had to stop; the job went back in line.",
    "over_budget": "It costs more than its connection may spend in a day: raise budget.per_day_usd, or ask for less.",
    "unknown_price": "Its connection has a budget, and nobody knows the model's price: state the connection's price.",
    "worker_lost": "Its worker died with it in hand: see the log of the worker and of its machine.",
}
"""Codes that the ledger's scripts and the worker write themselves."""

_CLASSES: Final[Mapping[FailureClass, str]] = {
    FailureClass.RATE_LIMITED: "The provider has no room: the lane waits, no attempt is used up",
    FailureClass.TRANSIENT: "For the moment: the job is tried again after a pause, as often as `retry` says",
    FailureClass.ACCOUNT: "The account: the connection is paused until a check proves that the cause is gone",
    FailureClass.REQUEST: "The job: it can never succeed as it is",
    FailureClass.OURS: "A fault in chatq",
}


def _subclasses(kind: type[ChatQueueError]) -> Iterator[type[ChatQueueError]]:
    for one in kind.__subclasses__():
        if one.__module__.startswith("chatq."):
            yield one
            yield from _subclasses(one)


# Redis


def _redis_keys() -> Iterator[str]:
    yield _KEYS
    keys = Keys("chatq")
    found: list[tuple[str, str]] = []
    tree = ast.parse(inspect.getsource(Keys)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for method in tree.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for statement, after in zip(method.body, method.body[1:], strict=False):
                if isinstance(after, ast.Expr) and isinstance(statement, ast.Assign):
                    target = statement.targets[0]
                    assert isinstance(target, ast.Attribute)
                    assert isinstance(after.value, ast.Constant)
                    found.append((getattr(keys, target.attr), _line(str(after.value.value))))
        elif isinstance(method, ast.FunctionDef):
            parameter = method.args.args[1].arg.upper().replace("_ID", "")
            found.append((getattr(keys, method.name)(parameter), _line(ast.get_docstring(method))))
    promised = [row for row in found if "A promise" in row[1]]
    rest = [row for row in found if row not in promised]
    for title, rows in (("What is promised", promised), ("What is ours", rest)):
        yield from (f"## {title}", "", *_table("key", "what is there"))
        yield from (
            _row(f"`{name}`", text.replace(" A promise to plain readers.", "")) for name, text in rows
        )
        yield ""


# HTTP


def _http() -> Iterator[str]:
    yield _PATHS
    document = _document()
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault((operation.get("tags") or ["other"])[0], []).append((method, path, operation))
    for group, operations in sorted(groups.items()):
        yield from (f"## {group}", "", *_table("request", "parameters", "what it does"))
        for method, path, operation in operations:
            parameters = ", ".join(
                f"`{one['name']}`" for one in operation.get("parameters", ()) if one["in"] != "path"
            )
            yield _row(f"`{method.upper()} {path}`", parameters, _line(operation.get("description")))
        yield ""


def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text("connections: {}\n", "utf-8")
        front, _ = application(load_settings(file), Access([]))
        transport = httpx.ASGITransport(app=front)

        async def ask() -> dict[str, Any]:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                document: dict[str, Any] = (await client.get("/openapi.json")).raise_for_status().json()
                return document

        return asyncio.run(ask())


def main() -> int:
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
