"""What a queue adds to the provider's own time, with jobs that come at a steady rate.

From the caller's call until the caller knows the result, without the provider's latency: chatq's caller awaits its
record with `wait`; Celery's listens where `AsyncResult.get` listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench_installation import server_process
from contenders import PEERS, Figures, Work, by_program, measured, on_simulator, python_of, stock_redis

from chatq import AsyncChatQueue

WAIT_S = 120.0


def percentiles(added_s: Sequence[float]) -> Figures:
    """`p50_ms`, `p99_ms`, of the jobs in the order they came; the first tenth opens connections and does not count."""
    ordered = sorted(added_s[len(added_s) // 10 :])
    return {f"p{p}_ms": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1000 for p in (50, 99)}


def by_chatq(work: Work, rate: float) -> Figures:
    """`rate`: jobs a second."""
    figures: Figures = {}
    with on_simulator(work) as (queue, processes, simulator):

        async def jobs() -> list[float]:
            async with AsyncChatQueue(queue.settings()) as asking:
                started_s = time.monotonic()

                async def one(number: int, prompt: str) -> float:
                    await asyncio.sleep(max(0.0, started_s + number / rate - time.monotonic()))
                    asked_s = time.monotonic()
                    job = await asking.enqueue("measured", prompt)
                    await asking.wait(job.id, WAIT_S)
                    return time.monotonic() - asked_s - work.latency_s

                return await asyncio.gather(*(one(*each) for each in enumerate(work.prompts())))

        with measured(figures, work, processes, simulator, server_process(queue)):
            added_s = asyncio.run(jobs())
            figures |= {"done": len(added_s), **percentiles(added_s)}
    return figures


def by_celery(pool: str, work: Work, rate: float) -> Figures:
    """With a client that keeps its connections."""
    with stock_redis() as (url, server):
        words = [
            python_of("celery"),
            PEERS / "celery_worker.py",
            "latency",
            "--pool",
            pool,
            "--task",
            "pooled",
        ]
        paced = ["--rate", rate, "--latency", work.latency_s]
        figures = by_program([*words, *paced], work, {"BENCH_REDIS": url}, server)
    added_s = figures.pop("added_s")
    return {**figures, **percentiles(added_s)}
