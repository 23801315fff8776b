"""What chatq adds over the provider's own latency, one job at a time.

    python bench/added_latency.py [--jobs 300] [--latency 0.05]

A caller enqueues a job, waits for its record, and enqueues the next. The provider (the simulator) answers after a fixed
time, which is taken off. Prints JSON: p50, p90 and p99 in milliseconds of the whole and of its parts:

    enqueue            the caller's call of enqueue()
    until_begun        from the job's creation in the ledger until a worker holds it: admission, message, begin
    around_the_call    from there until the record is written, without the provider's time: translate, HTTP, settle
    until_seen         from there until the caller has the record

`whole_to_latency` is the median of the whole in units of the provider's latency. The ledger's moments are whole
milliseconds, so single figures of the parts are within 1 ms. Exit code 1 when a job has not its own answer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from bench_installation import circumstances, installation

WAIT_S = 30.0


def percentiles(values_s: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(values_s)
    return {
        f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1000, 2)
        for p in (50, 90, 99)
    }


def seconds(moment: datetime | None) -> float:
    assert moment is not None
    return moment.timestamp()


def measure(jobs: int, latency_s: float) -> dict[str, dict[str, float]]:
    """Run the jobs; the percentiles of the whole and of each part."""
    parts: dict[str, list[float]] = {
        name: [] for name in ("added", "enqueue", "until_begun", "around_the_call", "until_seen")
    }
    with installation(slots=100) as (queue, _simulator, _workers):
        for number in range(jobs):
            asked = time.time()
            job = queue.enqueue("sim", f"job:{number} [sim: latency {latency_s:g}]")
            accepted = time.time()
            record = queue.wait(job.id, WAIT_S)
            seen = time.time()
            if record.result is None or f"job:{number} " not in record.result.text:
                raise SystemExit(f"job {number} has not its own answer: {record.state}, {record.error}")
            begun, ended = seconds(record.started_at), seconds(record.finished_at)
            parts["added"].append(seen - asked - latency_s)
            parts["enqueue"].append(accepted - asked)
            parts["until_begun"].append(begun - seconds(record.created_at))
            parts["around_the_call"].append(ended - begun - latency_s)
            parts["until_seen"].append(seen - ended)
    return {f"{name}_ms": percentiles(values) for name, values in parts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--latency", type=float, default=0.05, metavar="S")
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.latency)
    whole_s = arguments.latency + figures["added_ms"]["p50"] / 1000
    settings = {"jobs": arguments.jobs, "latency_s": arguments.latency}
    ratios = {"whole_to_latency": round(whole_s / arguments.latency, 2)} if arguments.latency else {}
    print(json.dumps({**settings, **figures, **ratios, **circumstances()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
