"""What was found out about a connection. Source: the public interface, section Status outcome."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from chatq.contract.record import Moment


class StatusState(StrEnum):
    """What is known of a connection."""

    OK = "ok"
    NO_MODEL_LIST = "no_model_list"
    """The list is not offered, but a one-token chat answers."""
    UNAUTHORIZED = "unauthorized"
    QUOTA_EXHAUSTED = "quota_exhausted"
    NOT_FOUND = "not_found"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BAD_ANSWER = "bad_answer"
    BYPASSED = "bypassed"
    """`bypass_status_check` is set: nothing was asked, and jobs run."""
    UNKNOWN = "unknown"
    """Never checked."""

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to mend. What was never checked is not."""
        return self in {StatusState.OK, StatusState.NO_MODEL_LIST, StatusState.BYPASSED}

    @property
    def is_failure(self) -> bool:
        """Whether a check found something to mend."""
        return not (self.is_fine or self is StatusState.UNKNOWN)


class ModelList(NamedTuple):
    """The model ids that a connection offers, and when its source was asked. No ids: it offers no list just now."""

    models: tuple[str, ...]
    fetched_at: datetime


class StatusOutcome(BaseModel):
    """The outcome of one check. `checked_at` is None when the connection was never checked.

    As JSON it has every key, null where there is nothing, but `remedy`: that is absent when there is nothing to do.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    connection: str
    source: str
    state: StatusState
    models: Annotated[list[str], Field(default_factory=list)]
    """Model ids, as the source lists them; empty when it lists none."""
    latency_s: float | None = None
    """Seconds that the check took; None when nothing was asked."""
    checked_at: Moment | None = None
    bypassed: bool = False
    message: str = ""
    remedy: str | None = None
    """What to do; None when all is well."""

    @model_serializer(mode="wrap")
    def _without_idle_remedy(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = serialize(self)
        if data.get("remedy") is None:
            data.pop("remedy", None)
        return data
