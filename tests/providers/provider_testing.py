"""What the tests of the adapters share: connections, chats, requests as data, answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import orjson

from chatq.contract.connection import Connection, Source
from chatq_worker.failures import CallFailed
from chatq_worker.providers import ADAPTERS, Answer, Chat, Completion

SOURCES: tuple[str, ...] = get_args(Source)
DATA = Path(__file__).parent / "data"

MODELS = {
    "openai": "gpt-4o-mini",
    "claude": "claude-haiku-4-5",
    "mistralai": "mistral-small-latest",
    "deepseek": "deepseek-flash",
    "ai21": "jamba-mini",
    "cohere": "command-a-03-2025",
    "perplexity": "perplexity/sonar",
    "fireworks": "accounts/fireworks/models/deepseek-v4-pro",
    "electronhub": "gpt-4o",
    "custom": "local-model",
}
"""A model of each source that takes as much as any of its models."""

KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather now in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "get_time"}}

PNG = "data:image/png;base64,AAA1"


class Sent(NamedTuple):
    """A request as data."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any
    warnings: list[str]

    def says(self, *words: str) -> bool:
        """Whether one warning holds all the words."""
        return any(all(word in line for word in words) for line in self.warnings)


def connection(source: str, **settings: Any) -> Connection:
    if source == "custom":
        settings.setdefault("url", "http://127.0.0.1:5000/v1")
    return Connection(source=source, **settings)


def chat(source: str = "openai", messages: Any = "Hi", **job: Any) -> Chat:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return Chat(messages, job.pop("model", MODELS[source]), **job)


def sent(
    source: str, messages: Any = "Hi", *, to: Connection | None = None, key: str | None = KEY, **job: Any
) -> Sent:
    """The request for a job. `job`: model, params, tools, tool_choice, response_format, names."""
    prepared = ADAPTERS[source].request(chat(source, messages, **job), to or connection(source), key)
    request = prepared.request
    return Sent(
        request.method,
        request.url,
        dict(request.headers),
        orjson.loads(request.body),
        list(prepared.warnings),
    )


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer; a body that is no text or bytes is written as JSON."""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Answer(status, dict(headers or {}), body)


def read(
    source: str, body: Any, status: int = 200, headers: Mapping[str, str] | None = None, **settings: Any
) -> Completion:
    return ADAPTERS[source].read(answer(body, status, headers), chat(source), connection(source, **settings))


def failure(
    source: str, body: Any, status: int, headers: Mapping[str, str] | None = None, **settings: Any
) -> CallFailed:
    """The failure that an answer is read as."""
    try:
        completion = read(source, body, status, headers, **settings)
    except CallFailed as failed:
        return failed
    raise AssertionError(f"read as a completion: {completion}")


def openai_answer(message: Mapping[str, Any], finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """An answer in OpenAI's shape."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1795300000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        **more,
    }


def roles(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def exchanges(*kinds: str) -> list[tuple[str, dict[str, Any]]]:
    """(source, exchange) of the sample exchanges of these kinds, each source's in order."""
    return [
        (source, exchange)
        for source in SOURCES
        for exchange in json.loads((DATA / "wire" / f"{source}.json").read_text("utf-8"))
        if exchange["kind"] in kinds
    ]


def vectors(name: str) -> list[dict[str, Any]]:
    """The reference cases of a file."""
    lines = (DATA / "vectors" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]
