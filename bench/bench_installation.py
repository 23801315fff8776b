"""What a benchmark measures: a fresh embedded server, a provider, workers; all of it gone afterwards.

Linux only: the worker's memory and CPU time come from /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import redis

from chatq import ChatQueue, WaitTimeout
from chatq.embedded import stop
from chatq.embedded.program import find_program
from chatq.ledger.locate import locator
from chatq_sandbox.process import SimulatorProcess

START_S = 120.0
OPENAI_KEY = "sim-openai-key"
SIM = {"source": "custom", "model": "local-model"}
OPENAI = {"source": "openai", "model": "gpt-5-mini", "api_key": "env:BENCH_OPENAI_KEY"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its descendants have used so far."""

    cpu_s: float
    memory_kb: int
    peak_kb: int

    @property
    def memory_mb(self) -> int:
        return self.memory_kb // 1024

    @property
    def peak_mb(self) -> int:
        return self.peak_kb // 1024

    @classmethod
    def of(cls, *processes: int) -> Self:
        """Of the trees that begin with these processes; those that have ended count where they were waited for."""
        used = [cls.alone(process) for process in processes]
        for descendant in (each for process in processes for each in _descendants(process)):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                used.append(cls.alone(descendant))
        return cls(*(sum(of_each) for of_each in zip(*map(astuple, used), strict=True)))

    @classmethod
    def alone(cls, process: int) -> Self:
        """Of one process; the CPU time of children that it has waited for is in it."""
        # Linux' number for the CPU clock of another process: nanoseconds, where /proc has 10 ms.
        cpu_s = time.clock_gettime((~process << 3) | 2)
        of_children = _stat(process)[13:15]
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        return cls(
            cpu_s + sum(map(int, of_children)) / os.sysconf("SC_CLK_TCK"),
            memory_kb=int(status["VmRSS"].split()[0]),
            peak_kb=int(status["VmHWM"].split()[0]),
        )


def _stat(process: int | str) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name: the state is the first."""
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in (each.name for each in Path("/proc").iterdir() if each.name.isdigit()):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(name)[1]), []).append(int(name))
    descendants = children.get(process, [])
    for each in descendants:
        descendants += children.get(each, [])
    return descendants


@contextlib.contextmanager
def installation(
    *, provider: Mapping[str, Any] | None = None, **stated: Any
) -> Iterator[tuple[ChatQueue, SimulatorProcess, list[int]]]:
    """As `installed`, with the simulator as provider, and the simulator. `provider`: its configuration."""
    with SimulatorProcess(provider) as simulator, installed(simulator.url, **stated) as (queue, workers):
        simulator.control("POST", "reset")
        yield queue, simulator, workers


@contextlib.contextmanager
def without_workers(
    provider_url: str,
    *,
    slots: int,
    sections: Mapping[str, Any] | None = None,
    connections: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[tuple[ChatQueue, Path]]:
    """A queue with the connection `sim`, and its configuration, in a folder of their own.

    `connections`: further ones, of source custom or openai, or with the provider's path as url; it takes `OPENAI_KEY`.
    """
    with tempfile.TemporaryDirectory(prefix="chatq-bench-") as name:
        config = Path(name, "config.yaml")
        stated = {
            id_: {**connection, "url": provider_url + connection.get("url", f"/{connection['source']}/v1")}
            for id_, connection in {"sim": SIM, **(connections or {})}.items()
        }
        config.write_text(json.dumps({"worker": {"slots": slots}, "connections": stated, **(sections or {})}))
        try:
            with ChatQueue(config) as queue:
                yield queue, config
        finally:
            stop(config.parent / ".chatq", force=True)


def start_worker(config: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """It logs into `worker.log` beside its configuration. `environment`: further variables."""
    with config.with_name("worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "chatq_worker", "worker", "--config", str(config)],
            stderr=log,
            env={**os.environ, "BENCH_OPENAI_KEY": OPENAI_KEY, **(environment or {})},
        )


@contextlib.contextmanager
def installed(
    provider_url: str,
    *,
    workers: int = 1,
    supervised: bool = False,
    environment: Mapping[str, str] | None = None,
    **stated: Any,
) -> Iterator[tuple[ChatQueue, list[int]]]:
    """As `without_workers`, with the process ids of its workers, which have done one job.

    `supervised`: whoever dies is replaced, also in the list. `environment`: further variables of the workers.
    """
    with without_workers(provider_url, **stated) as (queue, config):
        processes = [start_worker(config, environment) for _ in range(workers)]
        pids = [process.pid for process in processes]
        ends = threading.Event()

        def supervise() -> None:
            while not ends.wait(0.1):
                for place, process in enumerate(processes):
                    if process.poll() is not None:
                        processes[place] = start_worker(config, environment)
                        pids[place] = processes[place].pid

        supervisor = threading.Thread(target=supervise)
        try:
            first = queue.enqueue("sim", "job:warm-up")
            try:
                record = queue.wait(first.id, START_S)
            except WaitTimeout:
                raise RuntimeError(f"the worker: {config.with_name('worker.log').read_text()}") from None
            if record.result is None:
                raise RuntimeError(f"the first job failed: {record.error}")
            until(lambda: queue.overview()["workers"] == workers, within_s=START_S)
            if supervised:
                supervisor.start()
            yield queue, pids
        finally:
            ends.set()
            if supervised:
                supervisor.join()
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def server_process(queue: ChatQueue) -> int:
    """The process id of the queue's Redis."""
    with redis.Redis.from_url(locator(queue.settings().redis)()) as client:
        return int(client.info("server")["process_id"])


def until(condition: Callable[[], object], *, within_s: float, every_s: float = 0.05) -> None:
    """Look until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(every_s)


def circumstances() -> dict[str, str]:
    """What a figure depends on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{os.cpu_count()} x {model}, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "server": str(find_program(Path(tempfile.gettempdir(), "chatq-bench-of-nobody")).edition),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
