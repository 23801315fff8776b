"""Every error of ours, as one tree.

    ChatQueueError                      .code .message .remedy .retryable
    ├── ConfigError                     the settings are wrong; lists every problem at once
    ├── InvalidJob                      the job itself is wrong; nothing was enqueued
    │   ├── UnknownConnection
    │   ├── UnknownPrice                a budget in dollars counts it, and nobody knows what it costs
    │   └── JobTooLarge
    ├── JobConflict                     the id or idempotency key belongs to another job
    ├── BacklogFull                     try again after .retry_after_s
    ├── UnknownJob
    ├── UnknownBatch
    ├── BatchOver                       nothing of it can be paused or moved any more
    ├── NothingToRetry                  no job of the batch failed that was not tried again already
    ├── BudgetUsedUp                    the batch can go on with a larger budget only
    ├── JobNotFinal                     only a final job's data can be deleted
    ├── JobFailed                       its text was asked for, and it ended without; .record says why
    ├── BatchInterrupted                the caller's iterable raised; .batch_id was cancelled
    ├── WaitTimeout (also TimeoutError) the job goes on; only the wait ended
    ├── NoWorker                        asked of a worker, and none is alive
    ├── ConnectionPaused                the job waits behind a pause; .connection, and .remedy says how it comes back
    └── ServerError                     Redis (or the embedded server)
        ├── ServerUnreachable
        ├── ServerRefused               wrong password, no permission
        ├── ServerUnsuitable            too old, a cluster, wrong settings
        ├── ServerFull                  out of memory, or its disk is full
        └── EmbeddedServerError

A message says what failed and where; the remedy says what to do next. Neither holds a key, a password or a
prompt. `str(error)` is both, on one line each, ready for a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from chatq.contract.record import JobRecord


class ChatQueueError(Exception):
    """Root of all errors of ours.

    `code` is stable and for programs; `message` and `remedy` are for people. `retryable` tells whether the
    same call can succeed later without anything being changed by hand.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    wrong_use: ClassVar[bool] = False
    """Whether what was asked can never be had as it was asked: exit code 2 of the command, else 1."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class InvalidJob(ChatQueueError):
    """A job that can never run as it is: a wrong field, an empty prompt, a contradiction."""

    code = "invalid_job"
    wrong_use = True


class UnknownConnection(InvalidJob):
    """The connection ID is in no settings that we know."""

    code = "unknown_connection"


class UnknownPrice(InvalidJob):
    """A job of a batch that has a budget in dollars, and nobody knows what its model costs."""

    code = "unknown_price"


class JobTooLarge(InvalidJob):
    """The job, as JSON, has more bytes than `bounds.job_bytes`."""

    code = "job_too_large"


class JobConflict(ChatQueueError):
    """The id or idempotency key is already another job's (all but the metadata is compared)."""

    code = "conflict"


class BacklogFull(ChatQueueError):
    """`bounds.backlog` is reached; nothing was enqueued. `retry_after_s`: seconds until a try is worth it."""

    code = "backlog_full"
    retryable = True

    def __init__(self, message: str, *, remedy: str, retry_after_s: float) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class UnknownJob(ChatQueueError):
    """No record of that id: never enqueued here, deleted, or older than `results.keep`."""

    code = "unknown_job"
    wrong_use = True


class UnknownBatch(ChatQueueError):
    """No batch of that id: never made here, deleted, or older than `results.keep`."""

    code = "unknown_batch"
    wrong_use = True


class BatchOver(ChatQueueError):
    """The batch has ended, or was cancelled: nothing of it can be paused, resumed or moved."""

    code = "batch_over"


class NothingToRetry(ChatQueueError):
    """No failed job of the batch is left to try again, of those that were meant; no batch was made."""

    code = "nothing_to_retry"


class BudgetUsedUp(ChatQueueError):
    """A budget of the batch has not enough for its next job."""

    code = "budget_used_up"


class JobNotFinal(ChatQueueError):
    """The job is waiting or running; its data can be deleted once it is final."""

    code = "not_final"
    retryable = True


class JobFailed(ChatQueueError):
    """The text of a job's answer was read, and the job ended as another than `succeeded`. `record`: its final one."""

    code = "job_failed"

    def __init__(self, message: str, *, remedy: str, record: JobRecord) -> None:
        super().__init__(message, remedy=remedy)
        self.record = record


class BatchInterrupted(ChatQueueError):
    """The iterable of jobs raised; what was enqueued of the batch was cancelled. The cause is chained."""

    code = "batch_interrupted"

    def __init__(self, message: str, *, remedy: str, batch_id: str) -> None:
        super().__init__(message, remedy=remedy)
        self.batch_id = batch_id


class WaitTimeout(ChatQueueError, TimeoutError):
    """The job was not final in time. It goes on; wait or get again."""

    code = "wait_timeout"
    retryable = True


class NoWorker(ChatQueueError):
    """Something was asked of a worker and no worker is alive."""

    code = "no_worker"
    retryable = True


class ConnectionPaused(ChatQueueError):
    """A job was waited for whose connection is paused, and no fallback stands in."""

    code = "paused"
    retryable = True

    def __init__(self, message: str, *, remedy: str, connection: str) -> None:
        super().__init__(message, remedy=remedy)
        self.connection = connection


class ServerError(ChatQueueError):
    """Redis did not do what we need."""

    code = "server_error"


class ServerUnreachable(ServerError):
    """No connection, or it broke and did not come back in time."""

    code = "server_unreachable"
    retryable = True


class ServerRefused(ServerError):
    """A wrong or missing password, or a user without the permissions we need."""

    code = "server_refused"


class ServerUnsuitable(ServerError):
    """A server that cannot carry the queue: older than 6.2, a cluster, not a Redis at all."""

    code = "server_unsuitable"


class ServerFull(ServerError):
    """Redis refuses writes: out of memory, its disk is full, it is a read-only replica, or has too few of its own."""

    code = "server_full"
    retryable = True


class EmbeddedServerError(ServerError):
    """The embedded server could not be started, found or stopped."""

    code = "embedded_server"
