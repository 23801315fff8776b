"""What a caller reads: the record of a job, its result or error, and the counts of a batch.

Source: the public interface, section Job record. Optional keys are absent from the JSON rather than null.
Unknown keys are kept, so that an older caller can read a newer record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from chatq.contract.states import FINAL, State


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with milliseconds, as the ledger writes it."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


Moment = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class _Sparse(_Record):
    """A model whose `_optional` fields are left out of the JSON when they are not set."""

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if value is not None or key not in self._optional()}

    @classmethod
    def _optional(cls) -> frozenset[str]:
        return frozenset(name for name, field in cls.model_fields.items() if field.default is None)


class Attempt(_Record):
    """One call that was sent, or may have been."""

    number: int
    """From 1."""
    started_at: Moment
    """When the worker began it."""
    ended_at: Moment | None
    """When it was over."""
    connection: str
    """Which made the call: the job's own, or a fallback."""
    http_status: int | None
    """None where no answer came."""
    error_code: str | None
    """Why it failed."""
    counted: bool
    """Whether it uses up one of `retry.max_attempts`."""
    maybe_charged: bool
    """The worker died or was stopped after it may have sent the call, so the provider may have billed it."""


class Usage(_Sparse):
    """Tokens, as the provider counted them."""

    prompt_tokens: int
    """Of the prompt, cached ones included."""
    completion_tokens: int
    """Of the answer, reasoning included."""
    total_tokens: int
    """Of both."""
    cached_tokens: int | None = None
    """Of the prompt, read from the provider's cache."""
    reasoning_tokens: int | None = None
    """Of the answer, spent on reasoning."""


class Result(_Sparse):
    """What the provider answered. `response` is the whole as an OpenAI chat.completion."""

    text: str
    """The answer."""
    reasoning: str | None = None
    """What the model told of its reasoning."""
    tool_calls: list[dict[str, Any]] | None = None
    """OpenAI's."""
    finish_reason: str
    """OpenAI's: `stop`, `length`, `tool_calls`, `content_filter`."""
    model: str
    """Which answered."""
    provider_request_id: str | None = None
    """To name to the provider's support."""
    usage: Usage
    """Tokens."""
    cost_usd: float | None = None
    """Absent when nobody knows the price; that is not 0."""
    latency_s: float
    """Seconds that the call took."""
    response: dict[str, Any]
    """The whole answer as an OpenAI chat.completion."""


class JobError(_Sparse):
    """Why a job ended without a result."""

    code: str
    """What programs go by."""
    message: str
    """What failed, and where."""
    retryable: bool
    """Whether a later try can succeed without anything being changed."""
    http_status: int | None = None
    """Of the provider's answer."""
    provider_message: str | None = None
    """The provider's own words, without the key."""
    provider_request_id: str | None = None
    """To name to the provider's support."""
    remedy: str
    """What to do about it."""


class JobRecord(_Record):
    """A job as its caller reads it, at any moment of its life."""

    id: str
    """The job's id."""
    connection: str
    """That it was enqueued on, or its batch moved to."""
    state: State
    """`succeeded`, `failed`, `cancelled` and `expired` are final."""
    cancel_requested: bool = False
    """It is to be cancelled, and its worker has not broken off the call yet."""
    attempts: list[Attempt]
    """The calls that were made, the oldest first."""
    created_at: Moment
    """When it was enqueued."""
    started_at: Moment | None
    """When its first attempt began."""
    finished_at: Moment | None
    """When it became final."""
    batch: str | None = None
    """The batch that it is in."""
    custom_id: str | None = None
    """Its name in that batch."""
    retry_of: str | None = None
    """The failed job that it tries again."""
    tenant: str | None = None
    """Whose it is, of a job that is in no batch."""
    result: Result | None = None
    """Of a job that succeeded."""
    error: JobError | None = None
    """Of a final job that did not succeed."""
    warnings: list[str] = Field(default_factory=list)
    """What was left out or changed for the provider, and what else a person should know."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The job's own."""

    @property
    def final(self) -> bool:
        """Whether the record will never change again."""
        return self.state in FINAL

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        absent = {
            key
            for key in ("batch", "custom_id", "retry_of", "tenant", "result", "error")
            if data.get(key) is None
        }
        if not self.cancel_requested:
            absent.add("cancel_requested")
        return {key: value for key, value in data.items() if key not in absent}


class Counts(_Record):
    """Jobs of a batch by state."""

    total: int
    """All that were enqueued: the sum of the others, at every moment."""
    queued: int
    """Waiting, to be tried again too."""
    running: int
    """A worker has them in hand."""
    succeeded: int
    """Final, with an answer."""
    failed: int
    """Final, without an answer; `chatq batch retry` tries them again as new jobs."""
    cancelled: int
    """By their caller, or with the batch."""
    expired: int
    """Not begun within their `expires_in`."""

    @property
    def final(self) -> int:
        """All that will never change again."""
        return self.succeeded + self.failed + self.cancelled + self.expired


class BatchUsage(_Record):
    """Tokens of the answers so far."""

    prompt_tokens: int = 0
    """Of prompts, as the providers counted them."""
    completion_tokens: int = 0
    """Of answers."""
    total_tokens: int = 0
    """Both together."""


class BatchBudget(_Record):
    """What a batch may take, and what of it is not yet, or not surely, in its `usage` and `cost_usd`."""

    max_cost_usd: float | None = None
    """What it may cost in all, US dollars."""
    max_tokens: int | None = None
    """Of prompts and answers together."""
    reserved_usd: float = 0.0
    """By calls under way."""
    reserved_tokens: int = 0
    """By calls under way."""
    maybe_charged_usd: float = 0.0
    """Reserved for calls that may have been charged, and nobody knows how much: they count as spent."""
    maybe_charged_tokens: int = 0
    """Reserved for calls that may have been charged, and nobody knows how much: they count as spent."""
    used_up: Literal["max_cost", "max_tokens"] | None = None
    """The budget that had not enough for the next job: the batch is paused for it."""
    needs: float | None = None
    """How much of that budget there would have to be, at the least, in dollars or tokens."""


class Batch(_Record):
    """Jobs that were enqueued together."""

    id: str
    """By which it is asked for; `batch_` and 24 characters, unless its caller chose another."""
    sealed: bool
    """Whether all its jobs have been enqueued."""
    cancel_requested: bool = False
    """Whether it was cancelled: what waits is final soon, what runs when its worker has broken off its call."""
    paused_at: Moment | None = None
    """Since when none of its jobs is begun; None: it is not paused."""
    counts: Counts
    """Its jobs by state."""
    usage: BatchUsage = Field(default_factory=BatchUsage)
    """Tokens of its answers so far."""
    cost_usd: float | None = None
    """Of the answers so far whose cost is known; None: of none."""
    uncosted: int = 0
    """Answers whose cost nobody knows."""
    budget: BatchBudget | None = None
    """What it may take; None: it has no budget."""
    created_at: Moment
    """When it was made."""
    ended_at: Moment | None
    """When the last of its jobs was final and it was sealed; None: it goes on. It is kept for `results.keep` after."""
    retry_of: str | None = None
    """The batch whose failed jobs it tries again."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """As its caller gave it; of a batch from a file, `input` with the file's name."""

    @property
    def ended(self) -> bool:
        """Whether it is sealed and each of its jobs is final."""
        return self.ended_at is not None
