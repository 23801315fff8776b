"""Whether everybody gets what is theirs when very many want it at once, of a server that is slow.

    python bench/overload.py [--jobs 50000] [--producers 100] [--waiters 2000] [--latency 0.02]

Callers and workers reach the server through a proxy that adds `--latency` seconds to each round trip.

1. So many producers, each with a `ChatQueue` of its own, enqueue the jobs at once, in batches and singly.
2. So many callers wait for a job each, with one `AsyncChatQueue` in each of two processes, while nothing happens.
3. Their jobs and all others run.

Prints JSON. Exit code 1 when a bar is missed: no error at any caller, every job succeeded with one call, few
connections whatever the number of callers, callers that wait use next to no CPU, and every end is heard at once (and
not found by looking again).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from bench_installation import Usage, circumstances, installation, until
from delaying_proxy import delaying_proxy

from chatq import AsyncChatQueue, ChatQueue
from chatq.core.jobs import POLL_S
from chatq.embedded import ensure_running, stop

SLOTS, WORKERS = 500, 2
PROCESSES = 4
"""Of producers; each has its share of them as threads."""
WAITING_PROCESSES = 2
SINGLY = 10
"""Jobs of each producer that it enqueues one by one."""
WATCHED_S = 20.0
PATIENCE_S = 3600.0
SPAWN = multiprocessing.get_context("spawn")

CPU_BAR_PERCENT = 5.0
"""Of a core, for all who wait in one process."""
CONNECTIONS_BAR = 6
"""Of one process in which many wait."""


def measure(jobs: int, producers: int, waiters: int, latency_s: float) -> dict[str, Any]:
    """Load it; the figures."""
    halted = {"source": "custom", "model": "local-model", "limits": {"scope": "halted"}}
    with (
        _server() as (socket, client),
        delaying_proxy(socket, latency_s) as port,
        installation(
            slots=SLOTS,
            workers=WORKERS,
            sections={"redis": {"url": f"redis://127.0.0.1:{port}"}, "worker": {"slots": SLOTS}},
            connections={"halted": halted},
        ) as (queue, simulator, _workers),
    ):
        url = f"redis://127.0.0.1:{port}"
        queue.pause("halted")
        idle = len(client.client_list())
        produced = _produce(url, client, jobs, producers)
        waited = _wait(queue, url, client, waiters)
        started_s = time.monotonic()
        until(lambda: _left(queue) == 0, within_s=PATIENCE_S)
        batches = [queue.batch(batch_id).counts for batch_id in produced.pop("batches")]
        single = client.hget("chatq:connection:sim", "succeeded")
        total = simulator.counts()["total"]
    return {
        "jobs": jobs,
        "producers": producers,
        "latency_s": latency_s,
        "connections_before": idle,
        **produced,
        **waited,
        "the_rest_took_s": round(time.monotonic() - started_s, 1),
        "in_batches_succeeded": sum(batch.succeeded for batch in batches),
        "on_the_connection_succeeded": int(single or 0) - 1,
        "calls": total["received"],
        "calls_answered": total["answered"],
    }


@contextlib.contextmanager
def _server() -> Iterator[tuple[str, redis.Redis]]:
    with tempfile.TemporaryDirectory(prefix="chatq-bench-") as folder:
        data = Path(folder, ".chatq")
        url = ensure_running(data)
        try:
            with redis.Redis.from_url(url, decode_responses=True) as client:
                yield urlsplit(url).path, client
        finally:
            stop(data, force=True)


def _produce(url: str, client: redis.Redis, jobs: int, producers: int) -> dict[str, Any]:
    """All producers at once; the figures, and the ids of the batches."""
    go = SPAWN.Event()
    pipes, processes = [], []
    for _ in range(PROCESSES):
        ours, theirs = SPAWN.Pipe()
        share = producers // PROCESSES
        process = SPAWN.Process(target=_producers, args=(url, share, jobs // producers, go, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()  # it is ready
    before, most, over = len(client.client_list()), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.1):
            most = max(most, len(client.client_list()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started_s = time.monotonic()
    go.set()
    reports = [pipe.recv() for pipe in pipes]
    took_s = time.monotonic() - started_s
    over.set()
    watcher.join()
    for process in processes:
        process.join()
    return {
        "enqueued_in_s": round(took_s, 2),
        "enqueued_a_second": round(jobs / took_s),
        "connections_of_a_producer": round((most - before) / producers, 2),
        "errors_of_producers": [error for report in reports for error in report["errors"]],
        "batches": [batch for report in reports for batch in report["batches"]],
    }


def _producers(url: str, share: int, jobs: int, go: Any, report: Connection) -> None:
    """In a process of its own: some producers as threads."""
    errors, batches = [], []

    def produce(number: int) -> None:
        try:
            with ChatQueue(redis_url=url) as queue:
                batch = queue.enqueue_batch(
                    (f"Say hi to {each} of {number}." for each in range(jobs - SINGLY)), "sim"
                )
                batches.append(batch.id)
                for each in range(SINGLY):
                    queue.enqueue("sim", f"Say hi to single {each} of {number}.")
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")

    with ThreadPoolExecutor(share) as threads:
        report.send("ready")
        go.wait()
        list(threads.map(produce, range(share)))
    report.send({"errors": errors, "batches": batches})


def _wait(queue: ChatQueue, url: str, client: redis.Redis, waiters: int) -> dict[str, Any]:
    """All waiters at once, first with nothing to hear; the figures."""
    ids = [queue.enqueue("halted", "Say hi, later.").id for _ in range(waiters)]
    until(lambda: _busy(queue) == 0, within_s=PATIENCE_S)
    before = len(client.client_list())
    pipes, processes = [], []
    for first in range(WAITING_PROCESSES):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_waiters, args=(url, ids[first::WAITING_PROCESSES], theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    until(lambda: len(client.pubsub_channels("chatq:done:*")) == waiters, within_s=PATIENCE_S)
    time.sleep(POLL_S)
    pids = [process.pid or 0 for process in processes]
    cpu_s = [Usage.of(pid).cpu_s for pid in pids]
    time.sleep(WATCHED_S)
    idle_s = [Usage.of(pid).cpu_s - before_s for pid, before_s in zip(pids, cpu_s, strict=True)]
    connections = (len(client.client_list()) - before) / WAITING_PROCESSES
    memory_mb = max(Usage.of(pid).memory_mb for pid in pids)
    queue.resume("halted")
    delays = [delay for pipe in pipes for delay in pipe.recv()]
    for process in processes:
        process.join()
    return {
        "waiters": waiters,
        "waiting_cpu_percent": round(max(idle_s) / WATCHED_S * 100, 2),
        "waiting_memory_mb": memory_mb,
        "connections_of_a_waiting_process": connections,
        "errors_of_waiters": [delay for delay in delays if isinstance(delay, str)],
        "heard": sum(not isinstance(delay, str) for delay in delays),
        "heard_after_s_at_most": round(max(delay for delay in delays if not isinstance(delay, str)), 2),
    }


def _waiters(url: str, ids: list[str], report: Connection) -> None:
    """In a process of its own: some waiters as coroutines. Reports how long after its end each heard of its job."""

    async def wait(queue: AsyncChatQueue, job_id: str) -> float | str:
        try:
            record = await queue.wait(job_id, PATIENCE_S)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        heard = datetime.now(UTC)
        if record.finished_at is None or record.state != "succeeded":
            return f"it is {record.state}"
        return (heard - record.finished_at).total_seconds()

    async def wait_for_all() -> list[float | str]:
        async with AsyncChatQueue(redis_url=url) as queue:
            return await asyncio.gather(*(wait(queue, job_id) for job_id in ids))

    report.send(asyncio.run(wait_for_all()))


def _busy(queue: ChatQueue) -> int:
    facts = queue.overview()["connections"]["sim"]
    return int(facts["waiting"] + facts["running"])


def _left(queue: ChatQueue) -> int:
    overview = queue.overview()
    return int(overview["waiting"] + overview["running"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--producers", type=int, default=100)
    parser.add_argument("--waiters", type=int, default=2_000)
    parser.add_argument("--latency", type=float, default=0.02)
    arguments = parser.parse_args()
    figures = measure(arguments.jobs, arguments.producers, arguments.waiters, arguments.latency)
    every = arguments.jobs + arguments.waiters
    bars = {
        "no error at a caller": not figures["errors_of_producers"] + figures["errors_of_waiters"],
        "every job enqueued and succeeded": figures["on_the_connection_succeeded"] == arguments.jobs
        and figures["heard"] == arguments.waiters,
        "one call each": figures["calls"] == figures["calls_answered"] == every,
        "a connection or two of a producer": figures["connections_of_a_producer"] <= 2,
        f"at most {CONNECTIONS_BAR} connections of a process in which many wait": figures[
            "connections_of_a_waiting_process"
        ]
        <= CONNECTIONS_BAR,
        f"who waits uses at most {CPU_BAR_PERCENT:g} % of a core": figures["waiting_cpu_percent"]
        <= CPU_BAR_PERCENT,
        f"heard within {POLL_S / 2:g} s": figures["heard_after_s_at_most"] <= POLL_S / 2,
    }
    missed = [bar for bar, kept in bars.items() if not kept]
    print(json.dumps({**figures, "missed": missed, **circumstances()}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
