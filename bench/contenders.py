"""Who does the same work, and what it took: a program that makes the calls, or a worker of chatq's.

What is measured is from the word until the last answer: CPU time of the contender's processes by the operating
system's account, and the time by the clock. The provider's own is in neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_installation import Usage, installed, server_process, until
from fast_simulator import FastSimulator

from chatq import ChatQueue
from chatq.embedded.program import find_program

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent.parent / ".venv" / "foreign"
READY_S, LIMIT_S = 120.0, 600.0
WARM_UP = 100

Figures = dict[str, Any]
"""Of one repetition, by name: see `FIGURES` in `page.py`. `versions`: of what the contender is made of."""


class NotMeasured(RuntimeError):
    """A contender could not be run; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Work:
    """`jobs` prompts of `prompt_bytes`, `at_once` calls at the same time, each answered after `latency_s`."""

    jobs: int
    at_once: int
    latency_s: float
    prompt_bytes: int = 500

    def prompts(self) -> Iterator[str]:
        return (f"job:{number} ".ljust(self.prompt_bytes, ".") for number in range(self.jobs))


class Program:
    """A program as `peers/contender.py` has it: says that it is ready, waits for a line, does its work and says so."""

    def __init__(self, words: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        self._words = [str(word) for word in words]
        self._environment = {**os.environ, **(environment or {})}

    def __enter__(self) -> Program:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=self._environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate(timeout=READY_S)
        finally:
            self._process.kill()
            self._errors.close()

    def says(self, within_s: float) -> Any:
        """The next that it says."""
        assert self._process.stdout
        line = b""
        if select.select([self._process.stdout], [], [], within_s)[0]:
            line = self._process.stdout.readline()
        if not line:
            self._process.kill()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().splitlines()[-3:]
            raise NotMeasured(" / ".join(last) or f"it said nothing within {within_s:g} s")
        return json.loads(line)

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"\n")


@contextlib.contextmanager
def measured(
    figures: Figures,
    work: Work,
    processes: Sequence[int],
    simulator: FastSimulator,
    server: int | None = None,
) -> Iterator[None]:
    """Put into the figures what the processes used and did in the block; `done` jobs are there already at its end.

    `server`: the process of its Redis; `server_cpu_us` is what that used for a job meanwhile.
    """
    simulator.reset()
    server_cpu_s = Usage.of(server).cpu_s if server else 0.0
    before, started_s = Usage.of(*processes), time.perf_counter()
    yield
    elapsed_s, after, counts = time.perf_counter() - started_s, Usage.of(*processes), simulator.counts()
    if server:
        figures["server_cpu_us"] = (Usage.of(server).cpu_s - server_cpu_s) / work.jobs * 1e6
    figures |= {
        "cpu_us": (after.cpu_s - before.cpu_s) / max(1.0, figures["done"]) * 1e6,
        "per_s": figures["done"] / elapsed_s,
        "wall_s": elapsed_s,
        "memory_mb": after.peak_kb / 1024,
        "memory_kb_a_job": (after.peak_kb - before.memory_kb) / work.at_once,
        "jobs": work.jobs,
        "calls": counts["received"],
        "in_flight": counts["max_in_flight"],
    }


def by_program(
    words: Sequence[object],
    work: Work,
    environment: Mapping[str, str] | None = None,
    server: int | None = None,
) -> Figures:
    """`words`: the command line up to the work. `server`: the process of its Redis."""
    figures: Figures = {}
    with FastSimulator() as simulator:
        given = ["--url", simulator.url + simulator.path(work.latency_s)]
        for name in ("jobs", "at_once", "prompt_bytes"):
            given += [f"--{name.replace('_', '-')}", getattr(work, name)]
        with Program([*words, *given], environment) as program:
            ready = program.says(READY_S)
            with measured(figures, work, [ready["process"]], simulator, server):
                program.go()
                figures |= program.says(LIMIT_S)
            figures["versions"] = ready["versions"]
    return figures


def python_of(environment: str) -> Path:
    """Of an environment in which `make bench` installs a peer."""
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not (python.parent.parent / ".installed").exists():
        raise NotMeasured(f"it is not installed in .venv/foreign/{environment}")
    return python


def by_peer(environment: str, script: str, work: Work) -> Figures:
    return by_program([python_of(environment), PEERS / script], work)


def by_celery(pool: str, task: str, work: Work) -> Figures:
    with stock_redis() as (url, server):
        words = [python_of("celery"), PEERS / "celery_worker.py", "load", "--pool", pool, "--task", task]
        return by_program(words, work, {"BENCH_REDIS": url}, server)


@contextlib.contextmanager
def on_simulator(
    work: Work, environment: Mapping[str, str] | None = None, workers: int = 1
) -> Iterator[tuple[ChatQueue, list[int], FastSimulator]]:
    """A queue whose connection `measured` takes as long as the work says, its workers, which share the calls at once,
    and the simulator."""
    with FastSimulator() as simulator:
        connection = {"source": "custom", "model": "local-model", "url": simulator.path(work.latency_s)}
        with installed(
            simulator.url,
            slots=work.at_once // workers,
            connections={"measured": connection},
            environment=environment,
            workers=workers,
        ) as (queue, processes):
            warm_up = queue.enqueue_batch(["warm-up"] * WARM_UP, "sim")
            list(queue.results(warm_up.id, follow=True))
            queue.wait(queue.enqueue("measured", "warm-up").id, READY_S)
            yield queue, processes, simulator


def by_chatq(work: Work, environment: Mapping[str, str] | None = None, workers: int = 1) -> Figures:
    """Workers with stock settings and as many slots as calls at once; their jobs wait for the word."""
    figures: Figures = {}
    with on_simulator(work, environment, workers) as (queue, processes, simulator):
        batch = queue.open_batch()
        queue.pause_batch(batch)
        queue.add_to_batch(batch, work.prompts(), "measured")
        queue.seal_batch(batch)
        with measured(figures, work, processes, simulator, server_process(queue)):
            queue.resume_batch(batch)
            until(lambda: _ended(queue, batch), within_s=LIMIT_S, every_s=0.02)
            figures["done"] = queue.batch(batch).counts.succeeded
    return figures


def _ended(queue: ChatQueue, batch: str) -> bool:
    counts = queue.batch(batch).counts
    return counts.queued == counts.running == 0


@contextlib.contextmanager
def stock_redis() -> Iterator[tuple[str, int]]:
    """A server as it is without settings, but without its snapshots; URL and process id."""
    with tempfile.TemporaryDirectory(prefix="chatq-bench-") as folder:
        program = find_program(Path(folder)).path
        words = ["--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder, "--save", ""]
        with subprocess.Popen([str(program), *words], stdout=subprocess.DEVNULL) as server:
            until(Path(folder, "s").exists, within_s=READY_S)
            try:
                yield f"redis+socket://{folder}/s", server.pid
            finally:
                server.kill()
