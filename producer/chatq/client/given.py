"""What both queues are given: where to connect, and jobs in any of their forms."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from chatq.contract.errors import BatchInterrupted, ChatQueueError
from chatq.contract.job import Job
from chatq.contract.settings import Settings
from chatq.core import Core
from chatq.ledger.locate import locator, redis_py_url
from chatq.ledger.server import Locate

PAUSED_BY_HAND: Final = "Paused by hand."

JobLike = Job | Mapping[str, Any] | str
"""A job, its mapping, or (where a connection is given beside it) just its prompt."""


def opened(
    config: Settings | Path | str | None, redis_url: str | None, key_prefix: str
) -> tuple[Core, Locate]:
    """Where to connect, and what is known of the connections."""
    if redis_url is not None:
        if config is not None:
            raise TypeError("give config or redis_url, not both")
        url = redis_py_url(redis_url)
        return Core(settings=None, prefix=key_prefix), lambda: url
    if not isinstance(config, Settings):
        from chatq.contract.config_file import load_settings

        config = load_settings(None if config is None else Path(config))
    return Core(settings=config, prefix=config.redis.key_prefix), locator(config.redis)


def as_job(job: JobLike, connection: str | None) -> Job:
    """`connection`: for a job that names none. Raises `InvalidJob`."""
    if isinstance(job, Job):
        return job
    data: dict[str, Any] = {"prompt": job} if isinstance(job, str) else dict(job)
    if connection is not None:
        data.setdefault("connection", connection)
    return Job.parse(data)


def interrupted(batch_id: str, count: int, error: BaseException) -> BatchInterrupted:
    """`error` ended a batch after `count` jobs."""
    reason = error.message if isinstance(error, ChatQueueError) else f"{type(error).__name__}: {error}"
    return BatchInterrupted(
        f"Batch {batch_id} was cancelled, because job {count + 1} could not be had or enqueued: {reason}",
        remedy="Correct it and enqueue the batch again; what had been enqueued of this one was cancelled.",
        batch_id=batch_id,
    )


class Counted:
    """An iterable of either kind that counts how many of its items were taken in well."""

    def __init__(self, jobs: Iterable[JobLike] | AsyncIterable[JobLike]) -> None:
        self._jobs = jobs
        self.count = 0

    def __iter__(self) -> Iterator[JobLike]:
        assert isinstance(self._jobs, Iterable)  # noqa: S101 - for the type checker
        for job in self._jobs:
            yield job
            self.count += 1

    async def __aiter__(self) -> AsyncIterator[JobLike]:
        async for job in each(self._jobs):
            yield job
            self.count += 1


async def each(jobs: Iterable[JobLike] | AsyncIterable[JobLike]) -> AsyncIterator[JobLike]:
    """Jobs of either kind of iterable."""
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
