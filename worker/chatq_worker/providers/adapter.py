"""The seam between a job and a source: what an adapter gets, and what it gives back.

Adapters are pure: the HTTP calls are made elsewhere. `request` and `read` are a completion; `models_request` and
`read_models` a page of the model list; `check_request` and `read_check` a step of a status check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from chatq.contract.connection import Connection
from chatq_worker.prompts import PLACEHOLDER, Names
from chatq_worker.providers.event_stream import Event


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
    names: Names = field(default_factory=Names)
    """Whose words the messages' `name`s are, for sources that know no such field."""
    placeholder: str = PLACEHOLDER
    """Text of the user message that is put where a source needs one and the chat has none."""
    stream: bool = False
    """The caller wants to see the answer grow."""


class BrokenStream(Exception):
    """A stream of events that makes no answer. Its text says what the answer is, and holds nothing of it."""


class Assembly(Protocol):
    """Puts together the answer that comes as a stream of events. One for each answer; pure."""

    size: int
    """Bytes of what is kept so far, about."""

    def add(self, event: Event) -> bool:
        """Take the next event; True when the answer is whole. Raises `BrokenStream`."""

    def whole(self) -> bytes:
        """The body that the source would have answered without streaming; that of its error, when one came.

        Raises `BrokenStream` when the stream is not at its end.
        """


Delta = Mapping[str, Any]
"""A piece of an answer, as one choice of OpenAI's chunks: `{"index": 0, "delta": {"content": "Hel"}}`.

`delta` holds one of `content`, `reasoning_content`, `refusal` and `tool_calls`, none of them empty.
"""


class Deltas(Protocol):
    """Reads out of a stream what each event adds to the answer. One for each answer; pure.

    All deltas, put together, are what the adapter's `read` finds in the whole (arguments of calls: as JSON). So what
    may turn out to be something else is held back until it is certain.
    """

    def read(self, event: Event) -> list[Delta]:
        """What an event adds that the assembly has taken."""

    def end(self) -> list[Delta]:
        """What was held back, when the answer is whole."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. `headers` hold the key, so they are never shown.

    `assembly`: what puts the answer together when it comes as a stream of events, as the body asks for it. An answer
    that is none (a refusal, a gateway that does not stream) is taken as it is. `deltas`: what reads that stream for a
    caller who wants to see the answer grow; None: nobody does, or the source gives nothing to see.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    assembly: Callable[[], Assembly] | None = None
    deltas: Callable[[], Deltas] | None = None


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
    """In OpenAI's words where it has one; the source's own stands in `response`, as `native_finish_reason`."""
    model: str
    usage: Usage
    response: Mapping[str, Any]
    reasoning: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] | None = None
    provider_request_id: str | None = None
    cost_usd: float | None = None
    """As the provider states it. None: it does not say."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A page of a model list: model ids as a job may name them, and what to ask the next page with (None: the last)."""

    ids: Sequence[str]
    next_page: str | None = None


class CheckKind(StrEnum):
    """What a status check asks for."""

    MODELS = "models"
    BALANCE = "balance"
    CHAT = "chat"
    """A completion of one token."""


@dataclass(frozen=True, slots=True)
class Check:
    """A step of a status check. `model`: whom a chat asks."""

    kind: CheckKind
    request: Request
    model: str = ""


@dataclass(frozen=True, slots=True)
class CheckReading:
    """What a step of a status check showed.

    `proved`: key, address and account are good. Otherwise the answer proves nothing either way: ask once more with
    `check_request(..., model=...)`. `models`: the ids of a list that came along; None: the list is not offered.
    """

    proved: bool
    models: Sequence[str] | None = None


class Adapter(Protocol):
    """One source's dialect."""

    source: ClassVar[str]

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        """The HTTP request for a chat. Raises `CallFailed` (class request) for what the source can never take."""

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        """The completion in an answer. Raises `CallFailed`, classified, for everything else."""

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        """The request for a page of the model list (None: the first). None: the source offers no list."""

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        """The models on a page, chat models only where the source says which they are. Raises `CallFailed`."""

    def check_request(self, connection: Connection, key: str | None, *, model: str | None = None) -> Check:
        """The cheapest request that honestly tells whether the connection works.

        `model` given: a chat of one token with it; empty: with whichever the server has, where it needs no name.
        Raises `CallFailed` (class request) when a model must be named and none is.
        """

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        """What the answer to `check` showed. Raises `CallFailed` for what is wrong: key, money, address, limit."""
