"""What a job costs the worker that runs it, beside a bare aiohttp loop that makes the same calls in the same run.

    python bench/message_path.py [--jobs 3000] [--rounds 3] [--latency 0 0.2] [--flight 1000]

Every round makes a bare loop, a worker, and one on stock kombu (`CHATQ_INTERNAL_TRANSPORT=stock`) do their calls to
the same kind of simulator, one after the other. Prints JSON: for each latency the CPU time a job and the jobs a second
of the median round, and their ratios to the bare loop of the same round. CPU time is the operating system's account of
the process; the simulator's and the server's are not in it. A worker that has not done its jobs in time is judged by
those that it has done, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import aiohttp
import orjson
import uvloop
from bench_installation import Usage, circumstances, installation

from chatq_sandbox.process import SimulatorProcess
from chatq_worker.transport import VARIABLE

LIMIT_S = 60.0
"""A worker has this long for its jobs."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one contender used and did."""

    cpu_us_a_job: float
    jobs_a_second: float
    done: int


def prompt(number: int, latency_s: float) -> str:
    return f"job:{number} [sim: latency {latency_s:g}]"


async def calls(url: str, jobs: int, latency_s: float, flight: int) -> Round:
    """The calls alone, `flight` of them at once."""
    gate = asyncio.Semaphore(flight)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(number: int) -> None:
            message = {"role": "user", "content": prompt(number, latency_s)}
            body = orjson.dumps({"model": "local-model", "messages": [message]})
            async with (
                gate,
                session.post(url, data=body, headers={"content-type": "application/json"}) as answer,
            ):
                if orjson.loads(await answer.read())["choices"][0]["finish_reason"] != "stop":
                    raise RuntimeError("the simulator gave no answer")

        cpu_s, started_s = time.process_time(), time.perf_counter()
        await asyncio.gather(*(call(number) for number in range(jobs)))
        cpu_s, elapsed_s = time.process_time() - cpu_s, time.perf_counter() - started_s
        return Round(cpu_s / jobs * 1e6, jobs / elapsed_s, jobs)


def in_bare_loop(url: str, jobs: int, latency_s: float, flight: int) -> Round:
    return uvloop.run(calls(url, jobs, latency_s, flight))


def by_bare_loop(jobs: int, latency_s: float, flight: int) -> Round:
    """In a process of its own, as the worker is."""
    with SimulatorProcess() as simulator, ProcessPoolExecutor(1, get_context("spawn")) as processes:
        url = f"{simulator.url}/custom/v1/chat/completions"
        processes.submit(in_bare_loop, url, 100, 0.0, flight).result()
        return processes.submit(in_bare_loop, url, jobs, latency_s, flight).result()


def by_worker(jobs: int, latency_s: float, flight: int, transport: str) -> Round:
    os.environ[VARIABLE] = transport
    with installation(slots=flight) as (queue, _simulator, [worker]):
        list(queue.results(queue.enqueue_batch(["job:warm-up"] * 100, "sim").id, follow=True))
        before, started_s = Usage.of(worker), time.perf_counter()
        batch = queue.enqueue_batch((prompt(number, latency_s) for number in range(jobs)), "sim")
        done, elapsed_s = 0, 0.0
        while done < jobs and elapsed_s < LIMIT_S:
            time.sleep(0.05)
            done, elapsed_s = queue.batch(batch.id).counts.succeeded, time.perf_counter() - started_s
        cpu_s = Usage.of(worker).cpu_s - before.cpu_s
    return Round(cpu_s / max(1, done) * 1e6, done / elapsed_s, done)


def measure(jobs: int, rounds: int, latency_s: float, flight: int) -> dict[str, Any]:
    """The median round of each contender, and the median of its ratios to the bare loop of the same round."""
    contenders: dict[str, Callable[[], Round]] = {
        "bare_loop": lambda: by_bare_loop(jobs, latency_s, flight),
        "worker": lambda: by_worker(jobs, latency_s, flight, "bulk"),
        "worker_on_stock_kombu": lambda: by_worker(jobs, latency_s, flight, "stock"),
    }
    results: dict[str, list[Round]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            results[name].append(run())
    bare = results["bare_loop"]
    return {
        name: {
            "cpu_us_a_job": round(statistics.median(one.cpu_us_a_job for one in each)),
            "jobs_a_second": round(statistics.median(one.jobs_a_second for one in each)),
            "not_done_in_time": sum(jobs - one.done for one in each),
            "cpu_to_bare_loop": spread(
                [one.cpu_us_a_job / base.cpu_us_a_job for one, base in zip(each, bare, strict=True)]
            ),
            "jobs_a_second_to_bare_loop": spread(
                [one.jobs_a_second / base.jobs_a_second for one, base in zip(each, bare, strict=True)]
            ),
        }
        for name, each in results.items()
    }


def spread(ratios: list[float]) -> dict[str, float]:
    figures = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {name: round(figure, 2) for name, figure in figures.items()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=[0.0, 0.2], nargs="+", metavar="S")
    parser.add_argument("--flight", type=int, default=1000, help="calls at once, and slots of the worker")
    arguments = parser.parse_args()
    figures = {
        f"latency_{latency_s:g}_s": measure(arguments.jobs, arguments.rounds, latency_s, arguments.flight)
        for latency_s in arguments.latency
    }
    print(
        json.dumps(
            {"jobs": arguments.jobs, "flight": arguments.flight, **figures, **circumstances()}, indent=2
        )
    )
    return 1 if any(one["not_done_in_time"] for each in figures.values() for one in each.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
