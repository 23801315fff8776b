"""The seam between a job and a source: what an adapter gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatq.contract.connection import Connection


@dataclass(frozen=True, slots=True)
class Chat:
    """A job ready to be translated: messages after post-processing, the connection's parameters under its own."""

    messages: Sequence[Mapping[str, Any]]
    model: str
    """Empty when neither job nor connection names one."""
    params: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. `headers` hold the key, so they are never shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request, and a line for each thing of the job that the source cannot take."""

    request: Request
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the source counted them. None: it did not say."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back, in the words of the job record. `response` is the whole as an OpenAI chat.completion."""

    text: str
    finish_reason: str
    model: str
    usage: Usage
    response: Mapping[str, Any]
    reasoning: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None
    provider_request_id: str | None = None
    warnings: Sequence[str] = ()


class Adapter(Protocol):
    """One source's dialect."""

    source: str

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        """The HTTP request for a chat. Raises `CallFailed` (class request) for what the source can never take."""

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        """The completion in an answer. Raises `CallFailed`, classified, for everything else."""
