"""custom: any OpenAI-compatible server, with the user's own additions to headers and body.

Source: the servers' own code and documents as far as known: LM Studio, LiteLLM, LocalAI, TabbyAPI, Oobabooga,
Aphrodite, llama.cpp, vLLM, Ollama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.providers.adapter import Answer, Chat, Check, CheckKind, CheckReading
from chatq_worker.providers.chat_completion_stream import GatewayAssembly
from chatq_worker.providers.model_rules import ModelRules
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import WITH_USAGE, SourceAdapter

_LISTLESS: Final = frozenset({"bad_answer", "invalid_request", "server_error"})


class CustomAdapter(SourceAdapter):
    """Order: our body, `include_body` merged over it, `exclude_body` taken out of it. Nothing is sent that nobody set.

    The cap travels as `max_tokens`, the name that every server knows. Messages go out as they are.
    """

    source = "custom"
    name = "The server"
    needs_model = False
    thinks_aloud = True
    assembly = GatewayAssembly
    # Most servers know it, the others ignore it; where one refuses it, `exclude_body` takes it out.
    streaming = WITH_USAGE

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        params = Parameters(chat, self.name, ModelRules())
        body: dict[str, Any] = {"model": chat.model} if chat.model else {}
        body["messages"] = list(chat.messages)
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        body |= params.rest()
        for name, value in (
            ("tools", params.tools),
            ("tool_choice", params.tool_choice),
            ("response_format", params.response_format),
        ):
            if value is not None:
                body[name] = value
        return body, params.warnings

    def amended(self, body: dict[str, Any], connection: Connection) -> tuple[dict[str, Any], list[str]]:
        asked, warnings = "stream" in body, []
        body = merged(body, connection.include_body)
        if not asked and body.pop("stream", None):
            warnings.append("stream (include_body) was left out: a queued job is answered as a whole.")
            body.pop("stream_options", None)
        for path in connection.exclude_body:
            exclude(body, path.split("."))
        if asked and body.get("stream") is not True:
            body.pop("stream_options", None)
        return body, warnings

    def headers(self, connection: Connection, key: str | None) -> dict[str, str]:
        headers = dict(connection.include_headers)
        if key is not None:
            if connection.auth_header == "x-api-key":
                headers["x-api-key"] = key
            else:
                headers["authorization"] = f"Bearer {key}"
        return headers

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        try:
            return super().read_check(check, answer, connection)
        except CallFailed as failure:
            # LM Studio answers 200 with an error for paths that it does not have; others with 400 or a page.
            if check.kind is CheckKind.MODELS and failure.code in _LISTLESS and answer.status < 500:
                return CheckReading(proved=False)
            raise


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


def other_url(url: str) -> str:
    """The base URL that is worth a try when nothing answers at `url`: with /v1 at its end, or without."""
    return url.removesuffix("/v1") if url.endswith("/v1") else f"{url}/v1"
