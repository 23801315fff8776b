"""What a worker costs that has nothing to do, and one whose jobs wait for a limit.

    python bench/waiting.py [--jobs 100000] [--seconds 60]

Prints JSON: the worker's CPU (percent of a core), its memory, and the Redis commands a second, first idle, then with so
many jobs waiting for a limit of one request a minute. Exit code 1 when a bar of issue 5 is missed: under 1 % of a core
either way, a handful of commands (10 a second) when idle, no memory for waiting jobs (8 MB).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

import redis
from bench_installation import Usage, circumstances, installation

from chatq.ledger.locate import locator

CPU_BAR, COMMANDS_BAR, MEMORY_BAR_MB = 1.0, 10, 8
SETTLED_S = 5.0
SLOWLY = {
    "source": "custom",
    "url": "/custom/v1",
    "model": "local-model",
    "limits": {"requests_per_minute": 1},
}


def measure(jobs: int, seconds: float) -> dict[str, Any]:
    """Watch the worker idle, then with jobs waiting; the figures."""
    with installation(slots=100, connections={"slow": SLOWLY}) as (queue, _simulator, [worker]):
        client = redis.Redis.from_url(locator(queue.settings().redis)())
        idle = _watch(worker, client, seconds)
        before = Usage.of(worker)
        for _ in range(jobs // 1000):
            queue.enqueue_batch(["Say hi."] * 1000, "slow")
        waiting = _watch(worker, client, seconds)
        more_mb = Usage.of(worker).memory_mb - before.memory_mb
        client.close()
    return {"jobs": jobs, "idle": idle, "waiting": waiting, "worker_memory_for_waiting_mb": more_mb}


def _watch(worker: int, client: redis.Redis, seconds: float) -> dict[str, Any]:
    time.sleep(SETTLED_S)
    cpu_s = Usage.of(worker).cpu_s
    time.sleep(seconds)
    cpu_s = Usage.of(worker).cpu_s - cpu_s
    named = {name: round(count / seconds, 2) for name, count in _commands(client, seconds).items()}
    return {
        "worker_cpu_percent": round(cpu_s / seconds * 100, 2),
        "commands_a_second": round(sum(named.values()), 1),
        "by_name": named,
    }


def _commands(client: redis.Redis, seconds: float) -> Counter[str]:
    """The commands that come from outside in this time; INFO counts those that scripts make as well."""
    made: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    with client.monitor() as monitor:
        while time.monotonic() < deadline:
            command = monitor.next_command()
            if command["client_type"] != "lua":
                made[command["command"].split()[0].lower()] += 1
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.seconds)
    missed = [
        bar
        for bar, kept in {
            "idle under 1 % of a core": figures["idle"]["worker_cpu_percent"] < CPU_BAR,
            "waiting under 1 % of a core": figures["waiting"]["worker_cpu_percent"] < CPU_BAR,
            f"idle at most {COMMANDS_BAR} commands a second": figures["idle"]["commands_a_second"]
            <= COMMANDS_BAR,
            "no memory for waiting jobs": figures["worker_memory_for_waiting_mb"] <= MEMORY_BAR_MB,
        }.items()
        if not kept
    ]
    print(json.dumps({**figures, "missed": missed, **circumstances()}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
