"""What the adapters have in common: addresses, keys, the frame of a request, model lists and status checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote

import orjson

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.providers.adapter import (
    Answer,
    Assembly,
    Chat,
    Check,
    CheckKind,
    CheckReading,
    Completion,
    Deltas,
    ModelPage,
    Prepared,
    Request,
)
from chatq_worker.providers.chat_completion_deltas import ChatCompletionDeltas
from chatq_worker.providers.error_answers import bad_answer, failure_inside, failure_of, json_of
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.openai_shape import read_completion
from chatq_worker.providers.parameters import is_number
from chatq_worker.providers.tool_shape import function_of

WITH_USAGE: Final[Mapping[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
"""Asks for a stream that tells at its end how many tokens were used."""
_IN_PIECES_OF_ITS_OWN: Final = frozenset({"audio", "functions"})
"""OpenAI: sound, and calls in the oldest shape, come in pieces that the assembly does not know."""
_NOT_OFFERED: Final = frozenset({404, 405, 501})
_LONGEST_ID: Final = 512
MOST_MODELS: Final = 10_000
"""Models that are read from a list, and kept of one."""
_PROBE: Final[tuple[Mapping[str, Any], ...]] = ({"role": "user", "content": "Hi"},)


class SourceAdapter:
    """A source that speaks OpenAI's shape over Bearer keys; each adapter states what it does otherwise."""

    source: ClassVar[str]
    name: ClassVar[str]
    """As people know it, for warnings."""
    base_url: ClassVar[str] = ""
    chat_path: ClassVar[str] = "/chat/completions"
    models_path: ClassVar[str] = "/models"
    versions: ClassVar[tuple[str, ...]] = ()
    """Path endings that are taken off a base URL, because the paths above begin with one."""
    needs_model: ClassVar[bool] = True
    thinks_aloud: ClassVar[bool] = False
    list_proves_key: ClassVar[bool] = True
    """Whether an answered model list shows that the key is good."""
    check_is_chat: ClassVar[bool] = False
    """Whether nothing but a chat shows that the connection works."""
    assembly: ClassVar[type[Assembly] | None] = None
    """Of answers that are asked for as a stream: those whose cap is above the model's `streams_above`, and those that
    the caller wants to see grow. None: the source's streams are not read."""
    streaming: ClassVar[Mapping[str, Any]] = {"stream": True}
    """What asks for a stream, in a request's body."""

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        """The request's body, and the warnings. Raises `CallFailed` for what the source can never take."""
        raise NotImplementedError

    def headers(self, connection: Connection, key: str | None) -> dict[str, str]:
        """The headers that carry the key, and what every request has besides."""
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def chat_headers(self, chat: Chat, connection: Connection, key: str | None) -> dict[str, str]:
        """The headers of a chat, where they depend on the model."""
        return self.headers(connection, key)

    def url(self, connection: Connection, path: str) -> str:
        """An address of the source, on the connection's own base URL if it has one."""
        base = connection.url or self.base_url
        for version in self.versions:
            base = base.removesuffix(version)
        return base + path

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        if self.needs_model and not chat.model:
            raise CallFailed(
                "invalid_request",
                f"{self.name} needs a model, and neither the job nor its connection names one.",
                remedy="Write the model's name into the job, or as model of the connection.",
                sent=False,
            )
        body, warnings = self.body(chat, connection)
        grows = chat.stream and self.assembly is not None and self.grows(body)
        if grows or self._streams(chat, body):
            body |= self.streaming
        body, more_warnings = self.amended(body, connection)
        streams = body.get("stream") is True
        return Prepared(
            Request(
                "POST",
                self.chat_url(chat, connection, body),
                with_json(self.chat_headers(chat, connection, key)),
                encoded(body),
                self.assembly if streams else None,
                self.deltas if streams and grows else None,
            ),
            [*warnings, *more_warnings],
        )

    def grows(self, body: Mapping[str, Any]) -> bool:
        """Whether the answer to this body can be seen while it grows: nothing of it comes in pieces of another kind."""
        tools = body.get("tools") or ()
        return _IN_PIECES_OF_ITS_OWN.isdisjoint(body) and all(map(function_of, tools))

    def deltas(self) -> Deltas:
        """What reads a stream for a caller who wants to see the answer grow."""
        return ChatCompletionDeltas(thinks_aloud=self.thinks_aloud)

    def amended(self, body: dict[str, Any], connection: Connection) -> tuple[dict[str, Any], list[str]]:
        """The body with the connection's own additions, where the source takes such, and the warnings."""
        return body, []

    def _streams(self, chat: Chat, body: Mapping[str, Any]) -> bool:
        """Whether the answer may be longer than the source gives as a whole."""
        most, cap = rules_of(self.source, chat.model).streams_above, body.get("max_tokens")
        return self.assembly is not None and most is not None and is_number(cap) and cap > most

    def chat_url(self, chat: Chat, connection: Connection, body: Mapping[str, Any]) -> str:
        return self.url(connection, self.chat_path)

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        return read_completion(answer, chat, self.source, thinks_aloud=self.thinks_aloud)

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        return Request("GET", self.url(connection, self.models_path), self.headers(connection, key))

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        rows, _ = self.model_rows(answer)
        return ModelPage(ids_of(rows, "id", "name", "model"))

    def model_rows(self, answer: Answer) -> tuple[list[Any], Mapping[str, Any]]:
        """The rows of a model list, and what stands around them. Raises `CallFailed`."""
        if not 200 <= answer.status < 300:
            raise failure_of(answer, self.source)
        data = json_of(answer)
        rows = data
        if isinstance(data, dict):
            rows = next((data[key] for key in ("data", "models") if isinstance(data.get(key), list)), None)
            if rows is None and data.get("error"):
                raise failure_inside(answer, self.source, data)
        if not isinstance(rows, list):
            raise bad_answer(answer, "not a list of models")
        return rows, data if isinstance(data, dict) else {}

    def check_request(self, connection: Connection, key: str | None, *, model: str | None = None) -> Check:
        if model is None and self.check_is_chat:
            model = connection.model
        if model is None:
            request = self.models_request(connection, key)
            if request is not None:
                return Check(CheckKind.MODELS, request)
            model = connection.model or ""
        chat = Chat(_PROBE, model, params={"max_tokens": 1})
        return Check(CheckKind.CHAT, self.request(chat, connection, key).request, model)

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        if check.kind is CheckKind.CHAT:
            self.read(answer, Chat(_PROBE, check.model), connection)
            return CheckReading(proved=True)
        if answer.status in _NOT_OFFERED and connection.url is not None:
            return CheckReading(proved=False)
        ids = self.read_models(answer, connection).ids
        return CheckReading(proved=self.list_proves_key and not self.check_is_chat, models=ids)


def with_json(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with a content-type, unless they have one in whatever case."""
    own = (
        {}
        if any(name.lower() == "content-type" for name in headers)
        else {"content-type": "application/json"}
    )
    return {**own, **headers}


def encoded(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Raises `CallFailed` (invalid_request) for what JSON cannot hold."""
    try:
        # Copied: behind bytes of orjson's lies the whole buffer that they were written in, 4 kB or more, and a body is
        # kept for as long as its call takes.
        return bytes(memoryview(orjson.dumps(body)))
    except TypeError as error:
        raise CallFailed(
            "invalid_request", f"The request cannot be written as JSON: {error}.", sent=False
        ) from None


def ids_of(rows: list[Any], *names: str) -> list[str]:
    """The ids in the rows of a model list, under the first of `names` that a row has, each once; at most `MOST_MODELS`.

    Every job waits while a list is read: one of 100,000 rows took the better part of a second.
    """
    ids: dict[str, None] = {}
    for row in rows:
        candidates = [row.get(name) for name in names] if isinstance(row, dict) else [row]
        found = next((value for value in candidates if isinstance(value, str) and value), None)
        if found is not None and len(found) <= _LONGEST_ID:
            ids[found] = None
            if len(ids) == MOST_MODELS:
                break
    return list(ids)


def quoted(value: str) -> str:
    """A value for a query."""
    return quote(value, safe="")
