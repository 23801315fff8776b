"""response_format: what a job asks the answer to look like, and how to ask a source that has no word for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from chatq_worker.providers.chat_messages import leading_system, parts_of, texts_of

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_OBJECT: Final = "Answer with one JSON object and nothing else."
_SCHEMA: Final = "Answer with one JSON object that follows this JSON schema, and nothing else:\n"


class Format(NamedTuple):
    """`kind`: text, json_object, json_schema, or a source's own word. `given` is the whole as it came."""

    kind: str
    schema: Mapping[str, Any] | None
    name: str
    strict: bool | None
    given: Mapping[str, Any]


def format_of(response_format: Any) -> Format | None:
    """The response_format taken apart; None when none is asked for."""
    if not isinstance(response_format, Mapping):
        return None
    inner = response_format.get("json_schema")
    inner = inner if isinstance(inner, Mapping) else {}
    schema, name, strict = inner.get("schema"), inner.get("name"), inner.get("strict")
    return Format(
        kind=str(response_format.get("type") or "text"),
        schema=schema if isinstance(schema, Mapping) else None,
        name=name if isinstance(name, str) and _NAME.fullmatch(name) else "answer",
        strict=strict if isinstance(strict, bool) else None,
        given=response_format,
    )


def openai_format(wanted: Format) -> dict[str, Any]:
    """The format in OpenAI's shape, with the name that it must have."""
    if wanted.kind != "json_schema" or wanted.schema is None:
        return dict(wanted.given)
    return {"type": "json_schema", "json_schema": {**wanted.given["json_schema"], "name": wanted.name}}


def instruction(wanted: Format) -> str:
    """The format as a sentence for the model."""
    if wanted.schema is None:
        return _OBJECT
    return _SCHEMA + orjson.dumps(wanted.schema).decode()


def mentions_json(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message says the word, which several sources demand of a prompt in JSON mode."""
    return any("json" in text.lower() for text in texts_of(messages))


def told(messages: Sequence[Mapping[str, Any]], sentence: str) -> list[dict[str, Any]]:
    """The messages with `sentence` at the end of what the system says at the start."""
    count = leading_system(messages)
    result = [dict(message) for message in messages]
    if count == 0:
        return [{"role": "system", "content": sentence}, *result]
    last = result[count - 1]
    content = last.get("content")
    if isinstance(content, str):
        last["content"] = f"{content}\n\n{sentence}" if content else sentence
    else:
        last["content"] = [*parts_of(content), {"type": "text", "text": sentence}]
    return result


def asked_in_words(
    messages: Sequence[Mapping[str, Any]], wanted: Format, source: str
) -> tuple[list[dict[str, Any]], str]:
    """The messages with the format asked for in words, and the warning that says so."""
    return (
        told(messages, instruction(wanted)),
        f"response_format {wanted.kind} was asked for in the system message: {source} has no such parameter here.",
    )


def saying_json(messages: Sequence[Mapping[str, Any]], source: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The messages with the word JSON in them, and a warning when it had to be added."""
    if mentions_json(messages):
        return [dict(message) for message in messages], []
    line = (
        "A sentence that asks for JSON was added to the system message: "
        f"{source} demands it of response_format json_object."
    )
    return told(messages, _OBJECT), [line]
