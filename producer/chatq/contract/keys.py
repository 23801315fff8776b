"""The Redis keys, in one place. `ledger/shared/prelude.lua` spells the same names; a test compares the two.

Every key starts with the prefix from `redis.key_prefix`. Plain readers may rely on `result` and `status`;
everything else may change with any version.
"""

from __future__ import annotations

import re
from typing import Final

JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
"""A job's id. It becomes part of a key, a URL path and a Celery task id."""


class Keys:
    """Key names under one prefix.

    >>> Keys("chatq").result("job-1")
    'chatq:result:job-1'
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.settings = f"{prefix}:settings"
        """Hash: what the leading worker published: `version`, `settings` (JSON without secrets)."""
        self.rules = f"{prefix}:rules"
        """Hash: the numbers of the settings that scripts read, flat."""
        self.workers = f"{prefix}:workers"
        """Sorted set: worker id by the moment its lease ends, ms."""
        self.kick = f"{prefix}:kick"
        """Channel: there may be something to admit. The message is a lane, or empty for all."""
        self.submit_queue = prefix
        """Celery queue of `chatq.submit`."""
        self.clock_offset = f"{prefix}:clock-offset"
        """String: milliseconds added to Redis's time, or `=` and the moment in ms. Only tests set it."""

    def entry(self, job_id: str) -> str:
        """String: what was enqueued, with what the worker is to send; as long as the job may be run."""
        return f"{self.prefix}:entry:{job_id}"

    def job(self, job_id: str) -> str:
        """Hash: what has become of a job, as soon as something has; a few of its fields until it is purged."""
        return f"{self.prefix}:job:{job_id}"

    def result(self, job_id: str) -> str:
        """String: the final record as JSON. A promise to plain readers."""
        return f"{self.prefix}:result:{job_id}"

    def status(self, connection: str) -> str:
        """String: the last status outcome as JSON. A promise to plain readers."""
        return f"{self.prefix}:status:{connection}"

    def batch(self, batch_id: str) -> str:
        """Hash: a batch's counts and facts."""
        return f"{self.prefix}:batch:{batch_id}"

    def worker(self, worker_id: str) -> str:
        """Hash: what a worker said of itself."""
        return f"{self.prefix}:worker:{worker_id}"

    def worker_queue(self, worker_id: str) -> str:
        """Celery queue of one worker."""
        return f"{self.prefix}:queue:{worker_id}"

    def deltas(self, job_id: str) -> str:
        """List: what was told so far of the answer to a job that streams; each item a list of chunk choices, JSON."""
        return f"{self.prefix}:deltas:{job_id}"

    def done(self, job_id: str) -> str:
        """Channel: the job became final, and the message is its state; or `delta`: more of its answer was told."""
        return f"{self.prefix}:done:{job_id}"

    def batch_done(self, batch_id: str) -> str:
        """Channel: a job of the batch became final, or the batch ended."""
        return f"{self.prefix}:batch-done:{batch_id}"

    def answered(self, question_id: str) -> str:
        """Channel: the question was answered."""
        return f"{self.prefix}:answered:{question_id}"

    def cancels(self, worker_id: str) -> str:
        """Channel: jobs of this worker were asked to stop; `renew` tells which."""
        return f"{self.prefix}:cancels:{worker_id}"
