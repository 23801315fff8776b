"""What a status check found. Source: the public interface, section Status outcome."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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


class StatusOutcome(BaseModel):
    """The outcome of one check. `checked_at` is None for `unknown` alone."""

    model_config = ConfigDict(extra="allow", frozen=True)

    connection: str
    source: str
    state: StatusState
    models: Annotated[list[str], Field(default_factory=list)]
    """Model ids, as the source lists them; empty when it lists none."""
    latency_s: float | None = None
    checked_at: Moment | None = None
    bypassed: bool = False
    message: str = ""
    remedy: str | None = None
    """What to do; None when all is well."""
