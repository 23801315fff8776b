"""What a provider's trouble costs jobs: a limit, a revoked key, an outage.

    python bench/failures.py [--jobs 1000] [--slots 20] [--retry-after 40] [--outage 60] [--only CASE]

Two workers; the provider is the simulator. Each CASE prints its figures as JSON, and `ok`:

    retry_after    a 429 with Retry-After in the middle: no call begins before the moment it named, no attempt counts
    revoked_key    the key is revoked in the middle: the connection pauses after the calls then in flight; after a
                   resume all jobs succeed, none with more than its one counted attempt
    outage         every call fails for a while: no job loses more than one counted attempt

Exit code 1 when a case is not ok.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from bench_installation import OPENAI, OPENAI_KEY, circumstances, installation, until

from chatq import ChatQueue, JobRecord
from chatq_sandbox.process import SimulatorProcess

Figures = dict[str, Any]
WAIT_S = 60.0
LATENCY = "[sim: latency 0.2]"


def prompts(jobs: int) -> list[str]:
    return [f"job:{number} {LATENCY}" for number in range(jobs)]


def counted(record: JobRecord) -> int:
    return sum(attempt.counted for attempt in record.attempts)


def ended(records: list[JobRecord]) -> Figures:
    return {
        "succeeded": sum(record.state == "succeeded" for record in records),
        "most_counted": max(map(counted, records)),
    }


def retry_after(queue: ChatQueue, simulator: SimulatorProcess, arguments: argparse.Namespace) -> Figures:
    given = prompts(arguments.jobs)
    middle = len(given) // 2
    given[middle] = f"job:refused [sim: rate_limit {arguments.retry_after} first 1]"
    records = list(queue.results(queue.enqueue_batch(given, "sim").id, follow=True))
    attempts = [attempt for record in records for attempt in record.attempts]
    [refused] = [attempt for attempt in attempts if attempt.error_code == "rate_limited"]
    assert refused.ended_at is not None
    moment = refused.ended_at + timedelta(seconds=arguments.retry_after)
    early = sum(refused.ended_at < attempt.started_at < moment for attempt in attempts)
    figures = {**ended(records), "refused": 1, "calls_too_early": early}
    return {**figures, "ok": (figures["succeeded"], figures["most_counted"], early) == (len(given), 1, 0)}


def revoked_key(queue: ChatQueue, simulator: SimulatorProcess, arguments: argparse.Namespace) -> Figures:
    batch = queue.enqueue_batch(prompts(arguments.jobs), "openai")
    simulator.wait(answered=arguments.jobs // 4)
    simulator.control("POST", "keys", {"key": OPENAI_KEY, "state": "revoked"})
    until(lambda: queue.overview()["connections"]["openai"]["paused"], within_s=WAIT_S)
    until(lambda: not queue.overview()["connections"]["openai"]["running"], within_s=WAIT_S)
    refused = sum(simulator.counts()["total"]["refused"].values())
    simulator.control("POST", "keys", {"key": OPENAI_KEY, "state": "valid"})
    queue.resume("openai")
    records = list(queue.results(batch.id, follow=True))
    figures = {**ended(records), "refused_calls": refused, "slots": 2 * arguments.slots}
    good = figures["succeeded"] == arguments.jobs and figures["most_counted"] == 1
    return {**figures, "ok": good and refused <= 2 * arguments.slots}


def outage(queue: ChatQueue, simulator: SimulatorProcess, arguments: argparse.Namespace) -> Figures:
    batch = queue.enqueue_batch(prompts(arguments.jobs), "sim")
    simulator.wait(answered=arguments.jobs // 4)
    simulator.control("POST", "misbehave", {"name": "server_error", "value": 503})
    time.sleep(arguments.outage)
    failed_calls = simulator.counts()["total"]["misbehaved"]["server_error"]
    simulator.control("DELETE", "misbehave")
    records = list(queue.results(batch.id, follow=True))
    figures = {**ended(records), "failed_calls": failed_calls}
    return {**figures, "ok": figures["succeeded"] == arguments.jobs and figures["most_counted"] <= 2}


CASES: dict[str, Callable[[ChatQueue, SimulatorProcess, argparse.Namespace], Figures]] = {
    "retry_after": retry_after,
    "revoked_key": revoked_key,
    "outage": outage,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=[*CASES], metavar="CASE")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--retry-after", type=float, default=40, metavar="S")
    parser.add_argument("--outage", type=float, default=60, metavar="S")
    arguments = parser.parse_args()
    good = True
    for name in [arguments.only] if arguments.only else CASES:
        started = time.monotonic()
        running = installation(slots=arguments.slots, workers=2, connections={"openai": OPENAI})
        with running as (queue, simulator, _worker):
            figures = CASES[name](queue, simulator, arguments)
        good = good and figures["ok"]
        print(
            json.dumps(
                {"case": name, "jobs": arguments.jobs, **figures, "s": round(time.monotonic() - started, 1)}
            )
        )
    print(json.dumps(circumstances(), indent=2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
