"""Many calls in flight in one worker: 5,000 jobs of 15 s, all at the provider at the same time.

    python bench/in_flight.py [--jobs 5000] [--latency 15]

Prints JSON: how many calls were in flight at once (counted by the simulator), the worker's memory and CPU,
and what became of the jobs. Exit code 1 when a bar is missed: all in flight together, the worker under 300 MB, every
answer its own job's, each job called once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from bench_installation import Usage, circumstances, installation

MEMORY_BAR_MB = 300


def measure(jobs: int, latency_s: float) -> dict[str, Any]:
    """Run the jobs; the figures."""
    with installation(slots=jobs) as (queue, simulator, [worker]):
        before = Usage.of(worker)
        started_s = time.monotonic()
        prompts = (f"job:{number} [sim: latency {latency_s:g}]" for number in range(jobs))
        batch = queue.enqueue_batch(prompts, "sim")
        enqueued_s = time.monotonic() - started_s
        together = simulator.wait(in_flight=jobs, timeout_s=4 * latency_s)
        in_flight_s = time.monotonic() - started_s
        at_work = Usage.of(worker)
        right = failed = attempts = 0
        numbers = set()
        for record in queue.results(batch.id, follow=True):
            attempts += len(record.attempts)
            if record.result is None:
                failed += 1
                continue
            number = record.result.text.split()[2].removeprefix("job:")
            numbers.add(number)
            right += 1
        ended_s = time.monotonic() - started_s
        after = Usage.of(worker)
        total = simulator.counts()["total"]
    return {
        "jobs": jobs,
        "latency_s": latency_s,
        "in_flight_together": total["max_in_flight"],
        "all_in_flight_after_s": round(in_flight_s, 2) if together else None,
        "enqueued_in_s": round(enqueued_s, 2),
        "ended_in_s": round(ended_s, 2),
        "ended_to_latency": round(ended_s / latency_s, 2),
        "succeeded": right,
        "own_answers": len(numbers),
        "failed": failed,
        "attempts": attempts,
        "calls": total["received"],
        "refused_with_429": total["refused"].get("rate_limited", 0),
        "worker_memory_idle_mb": before.memory_mb,
        "worker_memory_in_flight_mb": at_work.memory_mb,
        "worker_memory_peak_mb": after.peak_mb,
        "worker_cpu_ms_a_job": round((after.cpu_s - before.cpu_s) / jobs * 1000, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--latency", type=float, default=15.0, metavar="S")
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.latency)
    missed = [
        bar
        for bar, kept in {
            "all in flight together": figures["in_flight_together"] == arguments.jobs,
            f"worker under {MEMORY_BAR_MB} MB": figures["worker_memory_peak_mb"] < MEMORY_BAR_MB,
            "every job has its own answer": figures["own_answers"] == arguments.jobs,
            "each job was called once": figures["calls"] == figures["attempts"] == arguments.jobs,
            "no 429, no failure": figures["refused_with_429"] == figures["failed"] == 0,
        }.items()
        if not kept
    ]
    print(json.dumps({**figures, "missed": missed, **circumstances()}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
