"""Whether jobs that kill their workers are found, and what that costs those beside them.

    python bench/poison.py [--poisons 1 2] [--innocents 300] [--workers 3] [--slots 120]

Innocents of 10 s, with the poisons in their midst. As soon as the simulator sees the call of a poison, the worker that
made it gets a SIGKILL; a supervisor starts another. Prints JSON for each number of poisons: the workers that died, the
time until all was done, and the calls that were made again. Exit code 1 when an innocent did not succeed, or a poison
did not end as `worker_lost`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import redis
from bench_installation import circumstances, installation

from chatq import ChatQueue
from chatq.ledger.locate import locator
from chatq_sandbox.process import SimulatorProcess

INNOCENT_S = 10
LEASE_S = 2
PATIENCE_S = 1_800.0


def measure(poisons: int, innocents: int, workers: int, slots: int) -> dict[str, Any]:
    """Run the jobs; the figures."""
    with installation(
        slots=slots,
        workers=workers,
        sections={"worker": {"slots": slots, "lease": f"{LEASE_S}s"}},
        supervised=True,
    ) as (queue, simulator, _workers):
        names = [f"innocent-{number}" for number in range(innocents)]
        for number in range(poisons):
            names.insert((2 * number + 1) * innocents // (2 * poisons), f"poison-{number}")
        answers = {"innocent": f"latency {INNOCENT_S}", "poison": "silence"}
        started_s = time.monotonic()
        batch = queue.enqueue_batch(
            [
                {"prompt": f"job:{name} Say hi [sim: {answers[name.split('-')[0]]}]", "custom_id": name}
                for name in names
            ],
            "sim",
        )
        killers = [
            threading.Thread(
                target=_kill_whoever_calls, args=(queue, simulator, batch.id, f"poison-{number}")
            )
            for number in range(poisons)
        ]
        for killer in killers:
            killer.start()
        records = {record.custom_id or "": record for record in queue.results(batch.id, follow=True)}
        took_s = time.monotonic() - started_s
        for killer in killers:
            killer.join()
        tallies = simulator.counts()["jobs"]
    found = [record for name, record in records.items() if name.startswith("poison")]
    others = {name: record for name, record in records.items() if name.startswith("innocent")}
    return {
        "poisons": poisons,
        "innocents": innocents,
        "workers": workers,
        "slots": slots,
        "took_s": round(took_s, 1),
        "workers_that_died": sum(len(record.attempts) for record in found),
        "deaths_by_each_poison": [len(record.attempts) for record in found],
        "poisons_found": sum(
            record.error is not None and record.error.code == "worker_lost" for record in found
        ),
        "innocents_succeeded": sum(record.state == "succeeded" for record in others.values()),
        "calls_of_innocents_made_again": sum(tallies[name]["received"] - 1 for name in others),
        "maybe_charged_by_their_records": sum(
            attempt.maybe_charged for record in others.values() for attempt in record.attempts
        ),
        "most_calls_of_an_innocent": max(tallies[name]["received"] for name in others),
    }


def _kill_whoever_calls(queue: ChatQueue, simulator: SimulatorProcess, batch_id: str, name: str) -> None:
    """Kill the worker that makes the call, whenever one does, until the job is final."""
    client = redis.Redis.from_url(locator(queue.settings().redis)(), decode_responses=True)
    job_id = client.get(f"chatq:idem:batch:{batch_id}\x1f{name}")
    seen = 0
    while not queue.get(job_id).final:
        if simulator.wait(job=name, received=seen + 1, timeout_s=1):
            seen += 1
            worker = client.hget(f"chatq:job:{job_id}", "worker")
            os.kill(int(worker.split("-")[-2]), signal.SIGKILL)
    client.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poisons", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--innocents", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--slots", type=int, default=120)
    arguments = parser.parse_args()
    missed = False
    for poisons in arguments.poisons:
        figures = measure(poisons, arguments.innocents, arguments.workers, arguments.slots)
        missed |= figures["innocents_succeeded"] < arguments.innocents or figures["poisons_found"] < poisons
        print(json.dumps({**figures, **circumstances()}, indent=2), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
