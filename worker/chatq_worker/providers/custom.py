"""custom: any OpenAI-compatible server, with the user's own additions to headers and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import Answer, Chat, Completion, Prepared, Request
from chatq_worker.providers.openai_shape import body_of, read_completion


class CustomAdapter:
    """Order: our body, `include_body` merged over it, `exclude_body` taken out of it."""

    source = "custom"

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        body, warnings = body_of(chat)
        body = merged(body, connection.include_body)
        for path in connection.exclude_body:
            exclude(body, path.split("."))
        headers = {"content-type": "application/json", **connection.include_headers}
        if key is not None:
            if connection.auth_header == "x-api-key":
                headers["x-api-key"] = key
            else:
                headers["authorization"] = f"Bearer {key}"
        url = f"{connection.url}/chat/completions"
        return Prepared(Request("POST", url, headers, orjson.dumps(body)), warnings)

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        return read_completion(answer, chat)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`; mappings are merged, everything else is replaced. Neither is changed."""
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        result[name] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return result


def exclude(body: dict[str, Any], path: Sequence[str]) -> None:
    """Take the key at a dotted path out of `body`; a path that leads nowhere changes nothing."""
    for name in path[:-1]:
        inner = body.get(name)
        if not isinstance(inner, Mapping):
            return
        body[name] = dict(inner)
        body = body[name]
    body.pop(path[-1], None)
