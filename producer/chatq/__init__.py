"""chatq: a self-hosted queue for chat completions. This package is the caller's side."""

from __future__ import annotations

from chatq.client import AsyncChatQueue, ChatQueue
from chatq.contract.config_problems import ConfigError
from chatq.contract.errors import (
    BacklogFull,
    BatchInterrupted,
    ChatQueueError,
    InvalidJob,
    JobConflict,
    JobNotFinal,
    JobTooLarge,
    NoWorker,
    ServerError,
    ServerFull,
    ServerRefused,
    ServerUnreachable,
    ServerUnsuitable,
    UnknownBatch,
    UnknownConnection,
    UnknownJob,
    WaitTimeout,
)
from chatq.contract.record import Batch, JobError, JobRecord, Result
from chatq.contract.states import State
from chatq.contract.status import StatusOutcome, StatusState

__all__ = [
    "AsyncChatQueue",
    "BacklogFull",
    "Batch",
    "BatchInterrupted",
    "ChatQueue",
    "ChatQueueError",
    "ConfigError",
    "InvalidJob",
    "JobConflict",
    "JobError",
    "JobNotFinal",
    "JobRecord",
    "JobTooLarge",
    "NoWorker",
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
    "WaitTimeout",
]
