"""A Celery worker, and who enqueues for it.

    celery_worker.py {load,latency} --pool {prefork,threads,gevent} --task {naive,pooled} ...

Measured is the worker. In `load` its jobs wait until the word. In `latency` they come `--rate` a second, and what is
said is how long each took beyond the provider's `--latency`: until the worker announces its result, where
`AsyncResult.get` listens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import celery_tasks
from celery_tasks import app
from contender import Work, contend_with, work_stated

START_S, LIMIT_S = 60.0, 600.0
parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["load", "latency"])
parser.add_argument("--pool", required=True)
parser.add_argument("--task", choices=["naive", "pooled"], required=True)
parser.add_argument("--rate", type=float)
parser.add_argument("--latency", type=float)


def send(work: Work, task: Any) -> list[Any]:
    return [task.apply_async((work.url, prompt)) for prompt in work.prompts()]


def wait(results: list[Any]) -> int:
    """Until each has its result; the successful ones. The keys are looked at rather than subscribed to: less work."""
    client = app.backend.client
    keys = [app.backend.get_key_for_task(result.id) for result in results]
    deadline = time.monotonic() + LIMIT_S
    while client.exists(*keys) < len(keys) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sum(json.loads(value)["status"] == "SUCCESS" for value in client.mget(keys) if value)


def load(work: Work, task: Any) -> Any:
    control = app.control
    control.cancel_consumer("celery", reply=True)
    results = send(work, task)

    def run() -> dict[str, Any]:
        control.add_consumer("celery")
        return {"done": wait(results)}

    return run


def latency(work: Work, task: Any, rate: float, latency_s: float) -> Any:
    client = app.backend.client
    topics = client.pubsub(ignore_subscribe_messages=True)
    topics.psubscribe("celery-task-meta-*")
    ended: dict[str, float] = {}

    def hear() -> None:
        while len(ended) < work.jobs:
            message = topics.get_message(timeout=1.0)
            if message and json.loads(message["data"])["status"] == "SUCCESS":
                ended[message["channel"].decode().removeprefix("celery-task-meta-")] = time.time()

    def run() -> dict[str, Any]:
        hearing = threading.Thread(target=hear)
        hearing.start()
        began: dict[str, float] = {}
        started_s = time.monotonic()
        for number, prompt in enumerate(work.prompts()):
            time.sleep(max(0.0, started_s + number / rate - time.monotonic()))
            asked = time.time()
            began[task.apply_async((work.url, prompt)).id] = asked
        hearing.join(LIMIT_S)
        added = [ended[each] - asked - latency_s for each, asked in began.items() if each in ended]
        return {"done": len(added), "added_s": added}

    return run


def main() -> None:
    work = work_stated()
    stated = parser.parse_args(work.extra)
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--loglevel", "ERROR"]
    worker = subprocess.Popen(
        [*command, "--task-events", "--pool", stated.pool, "--concurrency", str(work.at_once)],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        task = getattr(celery_tasks, stated.task)
        if wait(send(work.warm_up(), task)) == 0:
            raise RuntimeError("the worker did nothing")
        run = load(work, task) if stated.what == "load" else latency(work, task, stated.rate, stated.latency)
        contend_with(run, worker.pid, "celery", *(["gevent"] if stated.pool == "gevent" else []))
    finally:
        worker.terminate()
        worker.wait()


main()
