"""What a benchmark measures: a fresh embedded server, the simulator, one worker; all of it gone afterwards.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from chatq import ChatQueue, WaitTimeout
from chatq.embedded import stop
from chatq.embedded.program import find_program
from chatq_sandbox.process import SimulatorProcess

START_S = 120.0
OPENAI_KEY = "sim-openai-key"
SIM = {"source": "custom", "model": "local-model"}
OPENAI = {"source": "openai", "model": "gpt-5-mini", "api_key": "env:BENCH_OPENAI_KEY"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

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
    def of(cls, process: int) -> Self:
        proc = Path(f"/proc/{process}")
        ticks = proc.joinpath("stat").read_text().rsplit(")", 1)[1].split()[11:13]
        status = dict(line.split(":", 1) for line in proc.joinpath("status").read_text().splitlines())
        return cls(
            cpu_s=sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
            memory_kb=int(status["VmRSS"].split()[0]),
            peak_kb=int(status["VmHWM"].split()[0]),
        )


@contextlib.contextmanager
def installation(
    *,
    slots: int,
    workers: int = 1,
    sections: Mapping[str, Any] | None = None,
    connections: Mapping[str, Mapping[str, Any]] | None = None,
    provider: Mapping[str, Any] | None = None,
    supervised: bool = False,
) -> Iterator[tuple[ChatQueue, SimulatorProcess, list[int]]]:
    """A queue with the connection `sim`, its simulator, and the process ids of its workers, which have done one job.

    `connections`: further ones, of source custom or openai, or with the simulator's path as url; it takes `OPENAI_KEY`.
    `provider`: the simulator's configuration. `supervised`: whoever dies is replaced, also in the list.
    """
    with tempfile.TemporaryDirectory(prefix="chatq-bench-") as name, SimulatorProcess(provider) as simulator:
        folder = Path(name)
        config = folder / "config.yaml"
        stated = {
            id_: {**connection, "url": simulator.url + connection.get("url", f"/{connection['source']}/v1")}
            for id_, connection in {"sim": SIM, **(connections or {})}.items()
        }
        config.write_text(json.dumps({"worker": {"slots": slots}, "connections": stated, **(sections or {})}))
        try:
            with ChatQueue(config) as queue, (folder / "worker.log").open("wb") as log:

                def start() -> subprocess.Popen[bytes]:
                    return subprocess.Popen(
                        [sys.executable, "-m", "chatq_worker", "worker", "--config", str(config)],
                        stderr=log,
                        env={**os.environ, "BENCH_OPENAI_KEY": OPENAI_KEY},
                    )

                processes = [start() for _ in range(workers)]
                pids = [process.pid for process in processes]
                ends = threading.Event()

                def supervise() -> None:
                    while not ends.wait(0.1):
                        for place, process in enumerate(processes):
                            if process.poll() is not None:
                                processes[place] = start()
                                pids[place] = processes[place].pid

                supervisor = threading.Thread(target=supervise)
                try:
                    first = queue.enqueue("sim", "job:warm-up")
                    try:
                        record = queue.wait(first.id, START_S)
                    except WaitTimeout:
                        raise RuntimeError(f"the worker: {(folder / 'worker.log').read_text()}") from None
                    if record.result is None:
                        raise RuntimeError(f"the first job failed: {record.error}")
                    until(lambda: queue.overview()["workers"] == workers, within_s=START_S)
                    simulator.control("POST", "reset")
                    if supervised:
                        supervisor.start()
                    yield queue, simulator, pids
                finally:
                    ends.set()
                    if supervised:
                        supervisor.join()
                    for process in processes:
                        process.terminate()
                    for process in processes:
                        process.wait()
        finally:
            stop(folder / ".chatq", force=True)


def until(condition: Callable[[], object], *, within_s: float) -> None:
    """Look until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


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
