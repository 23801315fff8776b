"""A batch of a million: how fast it is enqueued, in what memory, what it takes in Redis, what a job costs meanwhile.

    python bench/scale.py [--jobs 1000000] [--rounds 5]

Two installations stand side by side, one with the batch, one with a hundredth of it waiting. They do a thousand jobs
in turns, so that whatever else the machine does meets both. Prints JSON; exit code 1 when a bar of issue 7 is missed:

- 20,000 jobs enqueued a second by one process. Caller and server work beside each other, so on a machine with nothing
  else to do the slower of the two says how many; that is judged, by CPU time. `jobs_a_second` is what the clock says.
- The caller's memory does not grow with the batch: 8 MB at most between a tenth of it and its end.
- Redis takes less than 1 kB a waiting job beyond its prompt.
- Overview, batch and `why` of the last job in line take less than 10 ms.
- A job costs server and worker at most 10 % more CPU time than with a hundredth waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from bench_installation import Usage, circumstances, installation, until

from chatq import ChatQueue
from chatq.ledger.locate import locator

RATE_BAR, GROWTH_BAR_MB, BYTES_BAR, ASK_BAR_MS, COST_BAR = 20_000, 8, 1000, 10.0, 1.1
RUN_S = 600.0
JOBS_A_ROUND = 1000
ASKED = 25


class Waiting:
    """An installation whose jobs wait, because their connection is paused."""

    def __init__(self, queue: ChatQueue, worker: int) -> None:
        self.queue = queue
        self._worker = worker
        self._client = redis.Redis.from_url(locator(queue.settings().redis)())
        self._server: int = self._client.info("server")["process_id"]
        queue.pause("sim")

    def memory(self) -> int:
        """Bytes that Redis uses."""
        return int(self._client.info("memory")["used_memory"])

    def server_cpu_s(self) -> float:
        return Usage.of(self._server).cpu_s

    def _waiting(self) -> int:
        return int(self.queue.overview()["connections"]["sim"]["waiting"])

    def run(self) -> float:
        """Let some jobs run; the CPU time of server and worker for one, us."""
        before, cpu_s = self._waiting(), self._cpu_s()
        self.queue.resume("sim")
        until(lambda: self._waiting() <= before - JOBS_A_ROUND, within_s=RUN_S)
        self.queue.pause("sim")
        until(lambda: not self.queue.overview()["connections"]["sim"]["running"], within_s=RUN_S)
        return (self._cpu_s() - cpu_s) / (before - self._waiting()) * 1e6

    def _cpu_s(self) -> float:
        return Usage.of(self._worker).cpu_s + self.server_cpu_s()

    def close(self) -> None:
        self._client.close()


def prompt(number: int) -> str:
    return f"job:{number:07}"


def enqueue(waiting: Waiting, jobs: int) -> dict[str, Any]:
    """Enqueue the batch; what it took, and what asking takes then."""
    peaks_kb: list[int] = []

    def made() -> Iterator[dict[str, str]]:
        for number in range(jobs):
            if number == jobs // 10:
                peaks_kb.append(Usage.alone(os.getpid()).peak_kb)
            yield {"custom_id": f"line-{number}", "prompt": prompt(number)}

    memory, server_s = waiting.memory(), waiting.server_cpu_s()
    started_s, caller_s = time.perf_counter(), time.process_time()
    batch = waiting.queue.enqueue_batch(made(), "sim")
    elapsed_s, caller_s = time.perf_counter() - started_s, time.process_time() - caller_s
    server_s = waiting.server_cpu_s() - server_s
    peaks_kb.append(Usage.alone(os.getpid()).peak_kb)
    last = waiting.queue.enqueue("sim", prompt(jobs)).id
    return {
        "jobs": jobs,
        "jobs_a_second": round(jobs / elapsed_s),
        "jobs_a_second_by_cpu": round(jobs / max(caller_s, server_s)),
        "caller_cpu_us_a_job": round(caller_s / jobs * 1e6, 1),
        "server_cpu_us_a_job": round(server_s / jobs * 1e6, 1),
        "caller_peak_mb_at_a_tenth_and_at_the_end": [round(peak / 1024, 1) for peak in peaks_kb],
        "redis_bytes_a_job_beyond_its_prompt": round((waiting.memory() - memory) / jobs - len(prompt(0))),
        "ms_of_overview": median_ms(waiting.queue.overview),
        "ms_of_batch": median_ms(lambda: waiting.queue.batch(batch.id)),
        "ms_of_why": median_ms(lambda: waiting.queue.why(last)),
    }


def median_ms(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(ASKED):
        started_s = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started_s) * 1000)
    return round(statistics.median(times), 2)


def measure(jobs: int, rounds: int) -> dict[str, Any]:
    sections = {"bounds": {"backlog": {"jobs": 2 * jobs, "bytes": "64GiB"}}}
    with (
        installation(slots=100, sections=sections) as (few_queue, _, [few_worker]),
        installation(slots=100, sections=sections) as (many_queue, _, [many_worker]),
    ):
        few, many = Waiting(few_queue, few_worker), Waiting(many_queue, many_worker)
        enqueued = {"few": enqueue(few, max(jobs // 100, JOBS_A_ROUND * 2)), "many": enqueue(many, jobs)}
        costs: list[tuple[float, float]] = []
        for number in range(rounds + 1):
            # Each is first in turn: what else goes on may rise or fall meanwhile.
            cost = {each: each.run() for each in ((few, many) if number % 2 else (many, few))}
            costs.append((cost[few], cost[many]))
            few.queue.enqueue_batch((prompt(number) for number in range(JOBS_A_ROUND)), "sim")
        few.close()
        many.close()
    del costs[0]  # both are warm now
    ratios = [of_many / of_few for of_few, of_many in costs]
    return {
        **enqueued,
        "costs_us": {
            "few": [of_few for of_few, _ in costs],
            "many": [of_many for _, of_many in costs],
        },
        "cpu_us_a_job_with_few_waiting": round(statistics.median(of_few for of_few, _ in costs)),
        "cpu_us_a_job_with_many_waiting": round(statistics.median(of_many for _, of_many in costs)),
        "many_to_few": {
            "median": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
        },
    }


def missed(figures: dict[str, Any]) -> list[str]:
    many = figures["many"]
    at_a_tenth, at_the_end = many["caller_peak_mb_at_a_tenth_and_at_the_end"]
    kept = {
        f"{RATE_BAR:,} jobs enqueued a second": many["jobs_a_second_by_cpu"] >= RATE_BAR,
        "the caller's memory does not grow": at_the_end - at_a_tenth <= GROWTH_BAR_MB,
        "less than 1 kB a waiting job": many["redis_bytes_a_job_beyond_its_prompt"] < BYTES_BAR,
        "asking takes milliseconds": max(many[f"ms_of_{what}"] for what in ("overview", "batch", "why"))
        < ASK_BAR_MS,
        "a job costs no more with many waiting": figures["many_to_few"]["median"] <= COST_BAR,
    }
    return [bar for bar, is_kept in kept.items() if not is_kept]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.rounds)
    bars = missed(figures)
    print(json.dumps({**figures, "missed": bars, **circumstances()}, indent=2))
    return 1 if bars else 0


if __name__ == "__main__":
    sys.exit(main())
