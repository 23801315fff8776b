"""Whether one HTTP front holds very many clients that wait for their answers, whole or in events.

    python bench/waiting_clients.py [--clients 1000] [--latency 10] [--stream]

Every client is a connection of its own that asks for a chat completion and waits. The provider (the simulator) answers
each after `--latency` seconds, so that all wait at once. Prints JSON: how long it took until the last was answered
beyond the latency, the front's memory with one client and with all, its CPU time for each, and what /healthz took.
Exit code 1 when one has not its own answer, or a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
from bench_installation import Usage, circumstances, installation

MEMORY_BAR_KB = 100
"""For each client that waits."""


@contextlib.contextmanager
def front(config: str) -> Iterator[tuple[str, int]]:
    """Where a front listens, and its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chatq.http", "serve", "--config", config, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1], process.pid
    finally:
        process.terminate()
        process.wait()


async def ask(session: aiohttp.ClientSession, url: str, name: str, latency_s: float, *, stream: bool) -> bool:
    """Whether the answer is this client's own."""
    body = {
        "model": "sim",
        "stream": stream,
        "messages": [{"role": "user", "content": f"job:{name} [sim: latency {latency_s:g}]"}],
    }
    async with session.post(f"{url}/chat/completions", json=body) as answer:
        return answer.status == 200 and f"answer to job:{name} " in await answer.text()


async def healthy(session: aiohttp.ClientSession, url: str, took_s: list[float]) -> None:
    while True:
        started = time.monotonic()
        async with session.get(url.removesuffix("/v1") + "/healthz") as answer:
            await answer.read()
        took_s.append(time.monotonic() - started)
        await asyncio.sleep(0.1)


async def load(url: str, process: int, clients: int, latency_s: float, *, stream: bool) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=600)
    ) as session:
        assert await ask(session, url, "first", 0, stream=stream)
        before, started, took_s = Usage.of(process), time.monotonic(), list[float]()
        watching = asyncio.create_task(healthy(session, url, took_s))
        good = await asyncio.gather(
            *(ask(session, url, f"c{n}", latency_s, stream=stream) for n in range(clients))
        )
        whole_s = time.monotonic() - started
        watching.cancel()
        after = Usage.of(process)
    return {
        "clients": clients,
        "stream": stream,
        "latency_s": latency_s,
        "answered": sum(good),
        "beyond_the_latency_s": round(whole_s - latency_s, 2),
        "memory_mb_before": before.memory_mb,
        "memory_mb_most": after.peak_mb,
        "memory_kb_a_client": round((after.peak_kb - before.memory_kb) / clients, 1),
        "cpu_ms_a_client": round((after.cpu_s - before.cpu_s) / clients * 1000, 2),
        "healthz_ms_most": round(max(took_s) * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=10.0)
    parser.add_argument("--stream", action="store_true")
    arguments = parser.parse_args()
    with (
        installation(slots=arguments.clients) as (queue, _simulator, _workers),
        front(str(queue.settings().source_path)) as (url, process),
    ):
        found = asyncio.run(load(url, process, arguments.clients, arguments.latency, stream=arguments.stream))
    missed = [
        name
        for name, holds in {
            "answered": found["answered"] == found["clients"],
            "memory_kb_a_client": found["memory_kb_a_client"] <= MEMORY_BAR_KB,
        }.items()
        if not holds
    ]
    print(json.dumps({**found, "missed": missed, **circumstances()}, indent=2))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
