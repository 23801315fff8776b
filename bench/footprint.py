"""What a worker takes before its first call: time and disk; and what importing takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.metadata import Distribution, distributions
from pathlib import Path

from bench_installation import start_worker, until, without_workers
from celery import Celery
from contenders import PEERS, READY_S, Figures, NotMeasured, python_of, stock_redis
from fast_simulator import FastSimulator
from packaging.requirements import Requirement

EXECUTIONS = 5


def _until_called(simulator: FastSimulator, started_s: float) -> Figures:
    """Seconds from the start of a worker until the provider has its first call."""
    until(lambda: simulator.counts()["received"], within_s=READY_S, every_s=0.02)
    return {"start_s": simulator.counts()["first_s"] - started_s}


def start_of_chatq() -> Figures:
    with FastSimulator() as simulator, without_workers(simulator.url, slots=100) as (queue, config):
        queue.enqueue("sim", "the first")
        started_s = time.monotonic()
        process = start_worker(config)
        try:
            return _until_called(simulator, started_s)
        finally:
            process.terminate()
            process.wait()


def start_of_celery(pool: str) -> Figures:
    with FastSimulator() as simulator, stock_redis() as (url, _server):
        with Celery(broker=url, set_as_current=False) as app:
            app.send_task("celery_tasks.pooled", (f"{simulator.url}/v1", "the first"))
        words = ["-m", "celery", "-A", "celery_tasks", "worker", "--pool", pool, "--concurrency", "100"]
        started_s = time.monotonic()
        process = subprocess.Popen(
            [python_of("celery"), *words, "--task-events", "--loglevel", "ERROR"],
            cwd=PEERS,
            env={**os.environ, "BENCH_REDIS": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return _until_called(simulator, started_s)
        finally:
            process.terminate()
            process.wait()


def execution(*words: object) -> Figures:
    """Of a few executions the shortest, by the clock; whatever else the machine does only adds to it."""
    times_s = []
    for _ in range(EXECUTIONS):
        started_s = time.perf_counter()
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
        times_s.append(time.perf_counter() - started_s)
    return {"ms": min(times_s) * 1000}


def imports(modules: str) -> Figures:
    return execution(sys.executable, "-c", f"import {modules}")


def help_of_chatq() -> Figures:
    return execution(Path(sys.executable).with_name("chatq"), "--help")


def disk(requirement: str, environment: str | None = None) -> Figures:
    """MB of all that a requirement brings, without byte code. `environment`: default the one that this runs in."""
    python = python_of(environment) if environment else Path(sys.executable)
    [packages] = python.parent.parent.glob("lib/python3*/site-packages")
    there = {_name(each.name): each for each in distributions(path=[str(packages)])}
    needed: dict[str, Distribution] = {}
    asked = [Requirement(requirement)]
    seen = set()
    while asked:
        one = asked.pop()
        if str(one) in seen:
            continue
        seen.add(str(one))
        if (name := _name(one.name)) not in there:
            raise NotMeasured(f"{name} is not installed")
        needed[name] = there[name]
        for text in there[name].requires or []:
            further = Requirement(text)
            if further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)
            ):
                asked.append(further)
    size = sum(_size(each) for each in needed.values())
    return {"disk_mb": size / 1e6, "packages": len(needed)}


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _size(distribution: Distribution) -> int:
    files = [Path(str(file.locate())) for file in distribution.files or []]
    # What is installed to be edited has its code elsewhere: as much as a wheel would hold.
    for file in files:
        if file.suffix == ".pth":
            folders = [line for line in file.read_text().splitlines() if line.startswith("/")]
            files += [each for folder in folders for each in Path(folder).rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
