"""What a caller sends: one chat-completion job.

`Job` is validated once, at the edge where it comes in; behind that edge it travels as the JSON of `request()`.
Source of the fields: the public interface, section Job. Source of the message shapes: OpenAI's chat messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Required

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from chatq.contract.config_problems import nearest
from chatq.contract.connection import PostProcessing
from chatq.contract.duration import LONGEST_S, format_duration, parse_duration
from chatq.contract.errors import InvalidJob, JobTooLarge
from chatq.contract.keys import JOB_ID
from chatq.contract.settings import CONNECTION_ID
from chatq.contract.shown import shown, shown_key

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

TOOLS_VARIANT: Final[dict[str, str]] = {
    "merge": "merge_tools",
    "semi": "semi_tools",
    "strict": "strict_tools",
    "single": "strict_tools",
}
"""For each post-processing mode that takes tool calls out, the nearest one that keeps them."""

JOB_FORMAT: Final = 2
"""What this version knows of a job. One more with every field that workers before it do not know."""

SINCE: Final[dict[str, int]] = {"stream": 2}
"""Fields that came after the first format (`name`, or `names.name`), with the format that brought them. A job that has
one is admitted only to workers that know that format, so that in a fleet of several versions no field is dropped."""

CORRECT_IT: Final = "Correct the job and enqueue it again; it was not enqueued."
LONGEST_CUSTOM_ID: Final = 256
_NO_CONTROL: Final = r"^[^\x00-\x1f\x7f]+$"
_Label = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_NO_CONTROL)]


class ContentPart(TypedDict, total=False):
    """One part of a message's content: text, an image, audio, a file, ... Unknown kinds are kept whole."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    type: Required[str]


class Message(TypedDict, total=False):
    """One OpenAI chat message. Keys that we do not know are kept whole."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    role: Required[Role]
    content: str | list[ContentPart] | None
    name: str
    tool_calls: list[dict[str, Any]] | None
    tool_call_id: str


class Names(BaseModel):
    """Who speaks, for post-processing modes that put names before texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    char: str = ""
    user: str = ""
    group: tuple[str, ...] = ()


def _duration(value: object) -> object:
    """A duration in any of its spellings, as seconds; pydantic then reports what is left."""
    return parse_duration(value) if isinstance(value, str) else value


_PROMPT_OR_MESSAGES: Final[list[JsonValue]] = [
    {"required": ["prompt"], "properties": {"prompt": {"type": "string", "pattern": r"\S"}}},
    {"required": ["messages"], "properties": {"messages": {"type": "array"}}},
]
"""As `Job._prompt_or_messages` has it, for the JSON schema."""


class Job(BaseModel):
    """One job as a caller states it. Unknown keys are refused, with the nearest known one named.

    `prompt` is shorthand for one user message; exactly one of `prompt` and `messages` is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"oneOf": _PROMPT_OR_MESSAGES})

    connection: Annotated[str, StringConstraints(pattern=f"^{CONNECTION_ID.pattern}$")]
    """The connection ID: the name that it stands under in `config.yaml`."""
    prompt: str | None = None
    """One user message. A job has either this or `messages`."""
    messages: list[Message] | None = None
    """OpenAI's chat messages, each with `role`, `content` and so on."""
    id: Annotated[str, StringConstraints(pattern=f"^{JOB_ID.pattern}$")] | None = None
    """The job's id; None: one is made. Enqueued again under it, it is the same job."""
    model: _Label | None = None
    """None: the connection's."""
    params: dict[str, Any] = Field(default_factory=dict)
    """`temperature`, `max_tokens` and so on, in OpenAI's words; they win over the connection's."""
    post_processing: PostProcessing | None = None
    """How messages are rearranged for the source; None: the connection's mode."""
    names: Names | None = None
    """Who speaks (`char`, `user`, `group`), for modes of post-processing that put names before texts."""
    tools: list[dict[str, Any]] | None = None
    """OpenAI's."""
    tool_choice: str | dict[str, Any] | None = None
    """OpenAI's."""
    response_format: dict[str, Any] | None = None
    """OpenAI's."""
    priority: Annotated[int, Field(ge=0, le=9, strict=True)] = 5
    """A higher one has more turns; the lowest still has some."""
    tenant: _Label | None = None
    """Whose it is: tenants take turns. An HTTP token with a tenant sets it."""
    idempotency_key: _Label | None = None
    """The same job enqueued again under it is the same job, and is not paid for twice."""
    custom_id: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CUSTOM_ID)] | None = None
    """Inside a batch: the caller's name for the job, unique in it."""
    not_before: float | datetime | None = None
    """Not begun before: a duration from the moment of enqueueing, or a moment with its offset from UTC."""
    expires_in: (
        Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False), BeforeValidator(_duration)] | None
    ) = None
    """A duration from the moment of enqueueing. Not started by then: `expired`."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The caller's own texts; they come back in the record, and go to no provider."""
    stream: bool = False
    """The caller wants to see the answer grow (`ChatQueue.deltas_page`). A part told, it is not tried again."""

    @field_validator("not_before", mode="before")
    @classmethod
    def _moment_or_duration(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        for read in (parse_duration, datetime.fromisoformat):
            with contextlib.suppress(ValueError):
                return read(value)
        raise ValueError("expected a duration such as 90s or 24h, or a moment such as 2026-11-23T18:00:00Z")

    @field_validator("not_before", mode="after")
    @classmethod
    def _with_zone(cls, value: float | datetime | None) -> float | datetime | None:
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError("a moment needs its offset from UTC, as in 2026-11-23T18:00:00Z")
        if isinstance(value, float) and not 0 <= value <= LONGEST_S:
            raise ValueError(f"a duration is from 0s to {format_duration(LONGEST_S)}")
        return value

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> Job:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give exactly one of prompt (a text) and messages (a list)")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("the prompt is empty")
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Job:
        """Validate a job given as a mapping.

        Raises `InvalidJob` naming every wrong field, what was expected there, and the nearest known key.
        """
        try:
            return cls.model_validate(data if isinstance(data, dict) else dict(data))
        except ValidationError as error:
            problems = "; ".join(
                _problem(detail) for detail in error.errors(include_input=True, include_url=False)
            )
            raise InvalidJob(
                f"The job is not valid: {problems}.",
                remedy=CORRECT_IT,
            ) from None

    def chat(self) -> list[Message]:
        """The messages, with `prompt` spelled out."""
        if self.prompt is not None:
            return [{"content": self.prompt, "role": "user"}]
        return self.messages or []

    @property
    def format(self) -> int:
        """The format that a worker must know to run this job."""
        known = 1
        for field, format_ in SINCE.items():
            if format_ > known and self._has(field):
                known = format_
        return known

    def _has(self, field: str) -> bool:
        outer, _, inner = field.partition(".")
        if inner:
            return self.names is not None and inner in self.names.model_fields_set
        return self.__dict__[outer] != _DEFAULTS[outer] and outer in self.model_fields_set

    def _body(self) -> dict[str, Any]:
        given = self.__dict__  # a batch comes here a million times, and each attribute takes twice as long
        body: dict[str, Any] = {"connection": given["connection"], "messages": self.chat()}
        for key in _IF_GIVEN:
            value = given[key]
            if value is not None and value is not False and value != {}:
                body[key] = value if key != "names" else value.model_dump()
        return body

    def request(self, *, max_bytes: int) -> bytes:
        """What the worker needs, as JSON. Keys that were not given are absent.

        Raises `InvalidJob` for values that JSON cannot hold, `JobTooLarge` beyond `max_bytes`, metadata included.
        """
        body = self._body()
        try:
            encoded, metadata = orjson.dumps(body), self.metadata_json()
        except (TypeError, ValueError) as error:
            raise InvalidJob(
                f"The job cannot be written as JSON: {error}.",
                remedy="Use texts, numbers, lists and mappings only.",
            ) from None
        if b"null" in encoded and not _is_finite(body):  # as which such a number is written
            raise InvalidJob(
                "The job holds a number that is not finite (NaN or infinity), which JSON cannot carry.",
                remedy="Leave the parameter out, or give a finite number.",
            )
        size = len(encoded) + len(metadata)
        if size > max_bytes:
            raise JobTooLarge(
                f"The job has {size:,} bytes; bounds.job_bytes allows {max_bytes:,}.",
                remedy="Shorten the prompt, or raise bounds.job_bytes in config.yaml.",
            )
        return encoded

    def digest(self, request: bytes) -> str:
        """A fingerprint of everything but id and metadata: two jobs are the same job when it is equal.

        `request`: what `request()` made of it.
        """
        given = self.__dict__
        # The keys of a mapping have no order. A prompt alone has no mapping but ours, whose keys are in order.
        if given["prompt"] is None or not self.model_fields_set.isdisjoint(_MAPPINGS):
            request = orjson.dumps(orjson.loads(request), option=orjson.OPT_SORT_KEYS)
        outside = {key: value for key in _OUTSIDE_REQUEST if (value := given[key]) is not None}
        encoded = request + orjson.dumps(outside, option=orjson.OPT_UTC_Z)
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()

    def metadata_json(self) -> bytes:
        """`metadata` as JSON."""
        return orjson.dumps(self.metadata) if self.metadata else b"{}"

    def due(self) -> str:
        """`not_before` for the ledger: `+MS` from now, `MS` since 1970, or empty."""
        if self.not_before is None:
            return ""
        if isinstance(self.not_before, datetime):
            return str(int(self.not_before.timestamp() * 1000))
        return f"+{int(self.not_before * 1000)}"


_DEFAULTS: Final = {name: field.default for name, field in Job.model_fields.items()}
_IF_GIVEN: Final = (
    "model",
    "names",
    "params",
    "post_processing",
    "response_format",
    "stream",
    "tool_choice",
    "tools",
)
"""In the order of their names, as `digest` needs it."""
_MAPPINGS: Final = ("names", "params", "response_format", "tool_choice", "tools")
_OUTSIDE_REQUEST: Final = (
    "priority",
    "tenant",
    "idempotency_key",
    "custom_id",
    "not_before",
    "expires_in",
)
"""What makes a job another beside what the worker gets."""
_REQUEST: Final = frozenset({"connection", "messages", *_IF_GIVEN})


def unknown_fields(request: Mapping[str, Any]) -> list[str]:
    """Fields of what `Job.request` made that this version does not know: a newer one made it."""
    names = request.get("names") or {}
    return sorted(
        [
            *(request.keys() - _REQUEST),
            *(f"names.{name}" for name in names.keys() - Names.model_fields.keys()),
        ]
    )


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return True


def _problem(detail: Any) -> str:
    """One pydantic problem in our words: where, what was expected, what came (shortened)."""
    parts = [str(part) for part in detail["loc"]]
    # Behind a field of several types pydantic names the type; a caller never wrote that.
    location = [
        shown_key(part) for before, part in zip(["", *parts], parts, strict=False) if before not in _UNIONS
    ]
    where = ".".join(location)
    if detail["type"] == "extra_forbidden":
        near = nearest(location[-1], Job.model_fields)
        return f'unknown key "{where}"' + (f' (did you mean "{near}"?)' if near else "")
    text = detail["msg"].removeprefix("Value error, ").rstrip(".")
    came = detail["input"]
    if detail["type"] == "string_pattern_mismatch":
        text = _PATTERNS.get(where, "expected a text without control characters")
    is_told = ", got " in text or detail["type"] == "missing" or not location or location[-1] in _PRIVATE
    got = "" if is_told else f", got {shown(came)}"
    return f"{where}: {text[:1].lower()}{text[1:]}{got}" if where else text


_PRIVATE: Final = frozenset({"prompt", "content", "text"})
"""Fields whose values never appear in a message."""

_PATTERNS: Final = {
    "id": "expected 1 to 128 letters, digits and . _ : -, beginning with a letter or digit",
    "connection": "expected the ID of a connection: 1 to 64 of a-z, 0-9 and . _ -, beginning with a letter or digit",
}
"""What a field's pattern says, in words."""
_UNIONS: Final = frozenset({"content", "not_before", "tool_choice"})
"""Fields of several types."""
