"""What a slow connection costs another's single job.

    python bench/fairness.py [--jobs 100] [--slow 2000] [--slots 200]

One connection answers in 60 s and has 2,000 jobs waiting, more than there are slots. Single jobs on another
connection, one after the other, are timed from their enqueueing until a worker holds them: first while nothing else
waits, then with the slow connection's jobs. Prints JSON: p50, p90 and p99 of both in milliseconds. Exit code 1 when
the second p99 is more than 50 ms above the first.
"""

from __future__ import annotations

import argparse
import json
import sys

from added_latency import percentiles, seconds
from bench_installation import SIM, circumstances, installation

from chatq import ChatQueue

WAIT_S = 60.0
MOST_MS = 50.0


def time_singles(queue: ChatQueue, jobs: int, name: str) -> dict[str, float]:
    """Run single jobs one after the other; how long each waited until it began."""
    waited = []
    for number in range(jobs):
        job = queue.enqueue("other", f"job:{name}-{number} [sim: latency 0.02]")
        record = queue.wait(job.id, WAIT_S)
        waited.append(seconds(record.started_at) - seconds(record.created_at))
    return percentiles(waited)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--slow", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=200)
    arguments = parser.parse_args()
    other = {**SIM, "limits": {"scope": "other"}}
    with installation(slots=arguments.slots, connections={"other": other}) as (queue, simulator, _worker):
        alone = time_singles(queue, arguments.jobs, "alone")
        slow = (f"job:slow-{number} [sim: latency 60]" for number in range(arguments.slow))
        queue.enqueue_batch(slow, "sim")
        simulator.wait(in_flight=arguments.slots, timeout_s=WAIT_S)
        beside = time_singles(queue, arguments.jobs, "beside")
    good = beside["p99"] - alone["p99"] <= MOST_MS
    figures = {"jobs": arguments.jobs, "slow": arguments.slow, "slots": arguments.slots}
    print(
        json.dumps(
            {**figures, "alone_ms": alone, "beside_ms": beside, "ok": good, **circumstances()}, indent=2
        )
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
