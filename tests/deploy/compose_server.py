"""The compose file's server, started by its own command line."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PASSWORD = "canary-redis-5d1f0c77ab"
TOKEN = "canary-token-41c7aa90"
LOGIN = "operator:canary-flower-93e2"


class ComposeServer(NamedTuple):
    """The running server."""

    port: int
    process: subprocess.Popen[bytes]

    def client(self, password: str | None = PASSWORD) -> redis.Redis:
        """A redis-py client of it; the caller closes it."""
        return redis.Redis(
            port=self.port, password=password, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0)
        )
