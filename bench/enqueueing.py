"""How fast one caller enqueues, before any worker is there."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench_installation import without_workers
from celery import Celery
from contenders import Figures, Work, stock_redis

from chatq import ChatQueue


def timed(work: Work, enqueue: Callable[[], object]) -> Figures:
    started_s, cpu_s = time.perf_counter(), time.process_time()
    enqueue()
    elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    return {"per_s": work.jobs / elapsed_s, "caller_cpu_us": cpu_s / work.jobs * 1e6}


def one_by_one(queue: ChatQueue, work: Work) -> None:
    for prompt in work.prompts():
        queue.enqueue("sim", prompt)


def by_chatq(work: Work, enqueue: Callable[[ChatQueue, Work], object]) -> Figures:
    with without_workers("http://127.0.0.1:1", slots=1) as (queue, _config):
        queue.enqueue("sim", "warm-up")
        return timed(work, lambda: enqueue(queue, work))


def complete(url: str, prompt: str) -> None:
    """The task; nobody runs it."""


def by_celery(work: Work) -> Figures:
    """One message after the other, and without a result backend, for which it would subscribe at each."""
    with stock_redis() as (url, _server), Celery(broker=url, set_as_current=False) as app:
        task = app.task(complete)
        provider = "http://127.0.0.1:1/v1"
        task.apply_async((provider, "warm-up"))
        return timed(work, lambda: [task.apply_async((provider, prompt)) for prompt in work.prompts()])
