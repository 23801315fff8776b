"""openai: OpenAI's Chat Completions. Source: OpenAI API reference."""

from __future__ import annotations

from typing import Final

import orjson

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import Answer, Chat, Completion, Prepared, Request
from chatq_worker.providers.openai_shape import body_of, read_completion

BASE_URL: Final = "https://api.openai.com/v1"


class OpenAIAdapter:
    """`max_tokens` travels as `max_completion_tokens`: the old name is refused by reasoning models."""

    source = "openai"

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        body, warnings = body_of(chat)
        if "max_tokens" in body:
            body.setdefault("max_completion_tokens", body.pop("max_tokens"))
            body.pop("max_tokens", None)
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        url = f"{connection.url or BASE_URL}/chat/completions"
        return Prepared(Request("POST", url, headers, orjson.dumps(body)), warnings)

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        return read_completion(answer, chat)
