"""chatq: a self-hosted queue for chat completions. This package is the caller's side."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chatq.contract.config_problems import ConfigError
from chatq.contract.errors import (
    BacklogFull,
    BatchInterrupted,
    BatchOver,
    BudgetUsedUp,
    ChatQueueError,
    ConnectionPaused,
    InvalidJob,
    JobConflict,
    JobFailed,
    JobNotFinal,
    JobTooLarge,
    NothingToRetry,
    NoWorker,
    ServerError,
    ServerFull,
    ServerRefused,
    ServerUnreachable,
    ServerUnsuitable,
    UnknownBatch,
    UnknownConnection,
    UnknownJob,
    UnknownPrice,
    WaitTimeout,
)
from chatq.contract.states import State

if TYPE_CHECKING:
    from chatq.client.asynchronous import AsyncChatQueue
    from chatq.client.blocking import ChatQueue
    from chatq.contract.record import Batch, JobError, JobRecord, Result
    from chatq.contract.status import StatusOutcome, StatusState
    from chatq.contract.why import Why

__all__ = [
    "AsyncChatQueue",
    "BacklogFull",
    "Batch",
    "BatchInterrupted",
    "BatchOver",
    "BudgetUsedUp",
    "ChatQueue",
    "ChatQueueError",
    "ConfigError",
    "ConnectionPaused",
    "InvalidJob",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobNotFinal",
    "JobRecord",
    "JobTooLarge",
    "NoWorker",
    "NothingToRetry",
    "Result",
    "ServerError",
    "ServerFull",
    "ServerRefused",
    "ServerUnreachable",
    "ServerUnsuitable",
    "State",
    "StatusOutcome",
    "StatusState",
    "UnknownBatch",
    "UnknownConnection",
    "UnknownJob",
    "UnknownPrice",
    "WaitTimeout",
    "Why",
]

# Imported when they are asked for: with pydantic and redis-py they take ten times as long as all the rest, and
# `chatq --help` needs none of them.
_HOMES = {
    "AsyncChatQueue": "chatq.client.asynchronous",
    "Batch": "chatq.contract.record",
    "ChatQueue": "chatq.client.blocking",
    "JobError": "chatq.contract.record",
    "JobRecord": "chatq.contract.record",
    "Result": "chatq.contract.record",
    "StatusOutcome": "chatq.contract.status",
    "StatusState": "chatq.contract.status",
    "Why": "chatq.contract.why",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
