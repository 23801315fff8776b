"""The neutral form of one chat exchange, between a dialect's wire shapes and the simulator's behaviour."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]


class HttpRequest(NamedTuple):
    """One request as it came in. Header names are lower case; `path` has no query string."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    body: bytes


class Reply(NamedTuple):
    """One answer to be sent: `body` is JSON-able, or bytes that are sent as they are."""

    status: int
    body: Any
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


class Message(NamedTuple):
    """One message; `text` is all its text, the parts of a list of parts joined by a line feed."""

    role: Role
    text: str


class Tool(NamedTuple):
    """A tool that the caller offers; `parameters` is a JSON schema."""

    name: str
    parameters: dict[str, Any]


class ToolCall(NamedTuple):
    """A tool that the answer calls; `arguments` is an object that fits the tool's schema."""

    id: str
    name: str
    arguments: dict[str, Any]


class ChatRequest(NamedTuple):
    """What a chat request asks for, whatever its source's field names are.

    `tool_choice` is auto, none, required or a tool's name. `json_schema` is the schema to answer in, `{}` for
    any JSON object, None for text. `reasons` says that the answer carries reasoning. `prefill` is the
    beginning of the answer that the caller wrote. `max_tokens` bounds reasoning and text together.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    stream_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    json_schema: dict[str, Any] | None = None
    choices: int = 1
    reasons: bool = False
    prefill: str = ""
    body: Any = None


class Answer(NamedTuple):
    """What the model says. `serial` is 24 hexadecimal digits, fixed by seed, job and call: ids are made of
    it.

    `completion_tokens` includes `reasoning_tokens` and counts every choice.
    """

    serial: str
    created: int
    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    latency_s: float = 0.0


class LimitReached(NamedTuple):
    """Why a call is refused for now. `wait_s` is None when no waiting helps (bigger than the whole limit)."""

    what: Literal["requests", "tokens", "concurrency"]
    limit: int
    used: int
    requested: int
    wait_s: float | None
    model: str


class LimitState(NamedTuple):
    """A lane's allowances at one moment; None where there is no such limit. `reset_*_s`: seconds until
    full."""

    limit_requests: int | None
    remaining_requests: int
    reset_requests_s: float
    limit_tokens: int | None
    remaining_tokens: int
    reset_tokens_s: float


class Refused(Exception):
    """The source refuses this request with `reply`; `kind` is the name it is counted under."""

    def __init__(self, kind: str, reply: Reply) -> None:
        super().__init__(kind)
        self.kind = kind
        self.reply = reply
