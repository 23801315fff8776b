"""Whether a worker, and what it leaves on the server, stays as small over 200,000 jobs as it was at first.

    python bench/soak.py [--jobs 200000] [--minutes 60] [--keep 60]

One worker, short prompts and answers, a simulator without latency. Most jobs are in batches, with custom_ids; in
each batch some fail and some are broken off once and tried again; beside each batch single jobs with idempotency keys,
tenants and models of their own, one that is refused for a limit, one that is cancelled, and a check of the connection.
Final jobs are kept for `--keep` seconds (`results.keep`): what was done is purged all the while, and all of it at the
end.

Prints JSON: the worker's resident memory after the warm-up and at the end, its growth by a line through the samples
between, the server's memory for each job that it kept, and the keys and bytes that were left when all was purged.
Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
from bench_installation import Usage, circumstances, installation, until

from chatq import ChatQueue
from chatq.ledger.locate import locator

SLOTS = 500
A_BATCH = 2_000
SINGLE = 20
AHEAD = 8_000
"""Jobs that wait or run at most."""
SAMPLE_S = 3.0
WARM_UP = 0.2
"""This share of the jobs fills what is filled once: caches, pools, tables."""
PATIENCE_S = 1_200.0

GROWTH_BAR_KB = 3_000
"""By which the worker may grow with 100,000 jobs."""
SPREAD_BAR = 0.25
"""What a kept job costs the server differs at most so much from its median."""
LEFT_BAR_KB = 1_024
"""What the server may use more than before when all was purged: buffers, and tables that grew."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`done`: final jobs so far; `kept`: jobs of which the server has something."""

    done: int
    worker_kb: int
    server_kb: int
    kept: int


def measure(jobs: int, minutes: float, keep_s: int) -> dict[str, Any]:
    """Run the jobs, or as many as there is time for, watching; then see what is left. The figures."""
    sim = {"source": "custom", "model": "local-model", "retry": {"max_elapsed": f"{keep_s / 2:g}s"}}
    with installation(
        slots=SLOTS,
        sections={"results": {"keep": f"{keep_s}s"}, "redis": {"fsync": "everysec"}},
        connections={"sim": sim, "limited": {**sim, "limits": {"scope": "limited"}}},
    ) as (queue, _simulator, [worker]):
        client = redis.Redis.from_url(locator(queue.settings().redis)())
        _enqueue(queue, 0)
        until(lambda: _waiting(queue) == 0, within_s=PATIENCE_S)
        queue.check("sim", PATIENCE_S)
        keys, server_kb = _purged(client)
        started_s = time.monotonic()
        samples = list(_samples(queue, client, worker, jobs, minutes * 60, server_kb))
        took_s = time.monotonic() - started_s
        left_keys, left_kb = _purged(client)
        after = Usage.of(worker)
        client.close()
    warm = [sample for sample in samples if sample.done >= WARM_UP * samples[-1].done]
    a_job = [sample.server_kb / sample.kept for sample in warm if sample.kept > A_BATCH]
    growth = statistics.linear_regression(
        [sample.done / 100_000 for sample in warm], [sample.worker_kb for sample in warm]
    ).slope
    return {
        "jobs": samples[-1].done,
        "jobs_a_second": round(samples[-1].done / took_s),
        "worker_kb_warm": warm[0].worker_kb,
        "worker_kb_at_the_end": after.memory_kb,
        "worker_kb_most": after.peak_kb,
        "worker_growth_kb_per_100k": round(growth),
        "kept_most": max(sample.kept for sample in samples),
        "server_kb_most": max(sample.server_kb for sample in samples),
        "server_bytes_a_kept_job": round(statistics.median(a_job) * 1024),
        "server_bytes_a_kept_job_spread": round(_spread(a_job), 3),
        "server_kb_before": server_kb,
        "server_kb_left": left_kb - server_kb,
        "keys_before": len(keys),
        "keys_left": sorted(left_keys - keys),
        "done_worker_kb_server_kb_kept": [
            f"{s.done} {s.worker_kb} {s.server_kb} {s.kept}" for s in samples[:: max(1, len(samples) // 20)]
        ],
    }


def _spread(values: list[float]) -> float:
    median = statistics.median(values)
    return max(abs(value / median - 1) for value in values)


def _samples(
    queue: ChatQueue, client: redis.Redis, worker: int, jobs: int, seconds: float, empty_kb: int
) -> Iterator[Sample]:
    """Keep the worker busy until it has done so many jobs, or for so long."""
    enqueued, due_s, ends_s = 0, 0.0, time.monotonic() + seconds
    while True:
        if time.monotonic() > ends_s:
            jobs = min(jobs, enqueued)
        waiting = _waiting(queue)
        if enqueued < jobs and waiting < AHEAD:
            enqueued += _enqueue(queue, enqueued)
        elif waiting:
            time.sleep(0.05)
        if time.monotonic() >= due_s or (enqueued >= jobs and not waiting):
            yield Sample(
                max(0, enqueued - waiting),
                Usage.of(worker).memory_kb,
                _memory_kb(client) - empty_kb,
                len(_kept(client)),
            )
            due_s = time.monotonic() + SAMPLE_S
        if enqueued >= jobs and not waiting:
            return


def _enqueue(queue: ChatQueue, first: int) -> int:
    """A batch and what comes beside it; the number of jobs."""
    numbers = range(first, first + A_BATCH)
    queue.enqueue_batch(({"prompt": _prompt(number), "custom_id": str(number)} for number in numbers), "sim")
    for number in range(first, first + SINGLE):
        queue.enqueue(
            "sim",
            f"Say hi to {number}.",
            idempotency_key=f"key-{number}",
            tenant=f"tenant-{number}",
            model=f"local-model-{number}" if number % 10 == 0 else None,
        )
    queue.enqueue("limited", f"job:limited-{first} [sim: rate_limit 0 first 1]")
    queue.cancel(queue.enqueue("sim", "Never mind.", not_before="60s").id)
    queue.check("sim", PATIENCE_S)
    return A_BATCH + SINGLE + 2


def _prompt(number: int) -> str:
    odd = {9: "[sim: no_such_thing]", 29: f"job:{number} [sim: reset_before_answer first 1]"}
    return f"Say hi to number {number}. {odd.get(number % 50, '')}"


def _waiting(queue: ChatQueue) -> int:
    overview = queue.overview()
    return int(overview["waiting"] + overview["running"])


def _kept(client: redis.Redis) -> set[bytes]:
    """The ids of the jobs of which something is kept."""
    families = (b"chatq:entry:", b"chatq:job:")
    return {
        key.removeprefix(family) for family in families for key in client.scan_iter(family + b"*", count=2000)
    }


def _memory_kb(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"]) // 1024


def _purged(client: redis.Redis) -> tuple[set[str], int]:
    """Wait until no job and no batch is left; the keys that are, and the server's memory."""

    def is_purged() -> bool:
        return not _kept(client) and not any(client.scan_iter("chatq:batch:*", count=2000))

    until(is_purged, within_s=3600)
    client.bgrewriteaof()
    until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], within_s=PATIENCE_S)
    return {key.decode() for key in client.scan_iter(count=2000)}, _memory_kb(client)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="no more jobs are begun after this time")
    parser.add_argument("--keep", type=int, default=60, help="seconds for which final jobs are kept")
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.minutes, arguments.keep)
    bars = {
        f"worker grows at most {GROWTH_BAR_KB} kB with 100,000 jobs": figures["worker_growth_kb_per_100k"]
        <= GROWTH_BAR_KB,
        f"server memory a kept job within {SPREAD_BAR:.0%}": figures["server_bytes_a_kept_job_spread"]
        <= SPREAD_BAR,
        f"at most {LEFT_BAR_KB} kB more on the server in the end": figures["server_kb_left"] <= LEFT_BAR_KB,
        "no key more in the end": not figures["keys_left"],
    }
    missed = [bar for bar, kept in bars.items() if not kept]
    print(json.dumps({**figures, "missed": missed, **circumstances()}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
