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

    `completion_tokens` includes `reasoning_tokens` and counts every choice. `stopped_by` is the stop sequence
    that ended the text, '' for none; `finish_word` is what the answer shall give as its reason to end instead of
    the source's word for `finish`, '' for that word.
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
    stopped_by: str = ""
    finish_word: str = ""


LimitName = Literal[
    "requests", "tokens", "input_tokens", "output_tokens", "requests_month", "tokens_month", "concurrency"
]


class LimitReached(NamedTuple):
    """Why a call is refused for now. `wait_s` is None when no waiting helps: bigger than the whole limit, or the
    month's allowance is used up."""

    what: LimitName
    limit: int
    used: int
    requested: int
    wait_s: float | None
    model: str


class Allowance(NamedTuple):
    """One limit at one moment. `reset_s`: seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


class LimitState(NamedTuple):
    """What a key may still ask at the moment `unix_s` (seconds since 1970); None where there is no such limit.

    `tokens` counts prompt and answer together; `charged` is what this very call took of them.
    """

    requests: Allowance | None = None
    tokens: Allowance | None = None
    input_tokens: Allowance | None = None
    output_tokens: Allowance | None = None
    requests_month: Allowance | None = None
    tokens_month: Allowance | None = None
    charged: int = 0
    unix_s: float = 0.0


class LookUp(NamedTuple):
    """A request that asks no model. `rest` is what a `*` in the endpoint's path stands for; `models` are those
    that exist; `has_quota` is False for a valid key without money."""

    endpoint: str
    request: HttpRequest
    rest: str
    models: tuple[str, ...]
    key_is_valid: bool
    has_quota: bool


class Refused(Exception):
    """The source refuses this request with `reply`; `kind` is the name it is counted under."""

    def __init__(self, kind: str, reply: Reply) -> None:
        super().__init__(kind)
        self.kind = kind
        self.reply = reply
