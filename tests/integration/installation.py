"""A whole installation for a test: settings, embedded server, simulator, workers. Nothing in it is a stand-in.

    with Installation(folder) as installation:
        installation.start_worker()
        job = installation.queue.enqueue("sim", "job:greeting Say hi")
        record = installation.queue.wait(job.id, WAIT_S)
        installation.simulator.counts("greeting")["received"]   # 1

The prompt's marker `job:NAME` names the job to the simulator, `[sim: ...]` tells it how to answer (see
docs/simulator.md). Tests hold calls in flight with `hold_answers()` and let them go with `release_answers()`, so that
they depend on no latency.

Everything that was started ends with the `with` block; an error or traceback in a worker's log that the test did not
announce (`WorkerProcess.expect`) fails the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from worker_process import WorkerProcess

from chatq import ChatQueue, JobRecord
from chatq.embedded import ensure_running, running_url, stop
from forked import ForkedSimulator, run

WAIT_S = 30.0
"""How long an event is waited for. Far more than any takes: the machine may be busy."""
OPENAI_KEY = "sk-canary-7f3a91d2c8b64e05"
"""The simulator's one valid OpenAI key. It must be found nowhere but in requests to the provider."""
WRONG_KEY = "sk-wrong-canary-55aa01e7f9"
"""A key that the simulator refuses."""

LOST_CONNECTION = "consumer: Cannot connect to redis+socket://"
"""What Celery logs as an error when its server is away for a moment."""

CONNECTIONS: Mapping[str, Any] = {
    "sim": {"source": "custom", "url": "simulator", "model": "demo"},
    "once": {"source": "custom", "url": "simulator", "model": "demo", "retry": {"max_attempts": 1}},
    "openai": {
        "source": "openai",
        "url": "simulator",
        "model": "gpt-5-mini",
        "api_key": "env:TEST_OPENAI_KEY",
    },
}


class Installation:
    """A folder with its config.yaml and all that runs for it.

    `worker`, `redis`, `bounds`: sections of config.yaml; with `redis.url` there, on that server and not on an embedded
    one. `connections`: beside `CONNECTIONS`. `environ`: for workers and commands.
    """

    def __init__(
        self,
        folder: Path,
        *,
        connections: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.data = folder / ".chatq"
        self.config = folder / "config.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "worker": {"slots": 100, "lease": "2s", "grace": "10s"},
                    "log": {"format": "json"},
                    **sections,
                    "connections": {**CONNECTIONS, **(connections or {})},
                }
            )
        )
        self.simulator = ForkedSimulator(
            {
                "remember_requests": 100,
                "sources": {"custom": {"models": ["demo"]}, "openai": {"keys": [OPENAI_KEY]}},
            }
        )
        self.workers: list[WorkerProcess] = []
        self._environ = environ or {}
        self._server_url = sections.get("redis", {}).get("url")

    def __enter__(self) -> Self:
        self.simulator.__enter__()
        try:
            self.url = self._server_url or ensure_running(self.data)
            self.redis = redis.Redis.from_url(self.url, protocol=2, decode_responses=True)
            self.queue = ChatQueue(self.config)
        except BaseException:
            self.simulator.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.kill()  # ending in order takes a second, and is the subject of test_stopping.py
        self.queue.close()
        self.redis.close()
        self.simulator.stop()
        stop(self.data, force=True)
        left = processes_naming(self.folder)
        assert not left, f"processes were left behind: {left}"
        if error is None:
            faults = [fault for worker in self.workers for fault in worker.faults()]
            assert not faults, "\n".join(faults)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of workers and commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATQ_")}
        return {
            **kept,
            "CHATQ_INTERNAL_SIMULATOR_URL": self.simulator.url,
            "TEST_OPENAI_KEY": OPENAI_KEY,
            **self._environ,
        }

    # -- Workers

    def start_worker(
        self, *, wait: bool = True, fresh: bool = False, environ: Mapping[str, str] | None = None
    ) -> WorkerProcess:
        """Start a worker; with `wait` return when it is registered. `fresh`: see `WorkerProcess`."""
        return self.start_workers(1, wait=wait, fresh=fresh, environ=environ)[0]

    def start_workers(
        self, count: int, *, wait: bool = True, fresh: bool = False, environ: Mapping[str, str] | None = None
    ) -> list[WorkerProcess]:
        """Start workers at the same time; with `wait` return when all are registered. `environ`: of these only."""
        before = len(self.workers)
        environ = {**self.environ, **(environ or {})}
        self.workers += [
            WorkerProcess(self.config, self.folder / f"worker-{number}.log", environ, fresh=fresh)
            for number in range(before, before + count)
        ]
        started = self.workers[before:]
        if wait:
            until(lambda: all(self.is_registered(worker) for worker in started), "the workers to register")
        return started

    def is_registered(self, worker: WorkerProcess) -> bool:
        """Whether the ledger knows the worker."""
        assert worker.runs, f"a worker ended with exit code {worker.wait()}; its log:\n{worker.log}"
        return self.id_of(worker) is not None

    def id_of(self, worker: WorkerProcess) -> str | None:
        """The worker's id in the ledger, None when it is not registered."""
        return next((name for name in self.registered() if f"-{worker.pid}-" in name), None)

    def registered(self) -> list[str]:
        """The ids of the workers that the ledger takes for alive."""
        return list(self.redis.zrange("chatq:workers", 0, -1))

    def leader(self) -> WorkerProcess | None:
        """The worker that leads the clock now."""
        name = self.redis.hget("chatq:leader", "worker") or ""
        return next((worker for worker in self.workers if f"-{worker.pid}-" in name), None)

    def lease_end_ms(self, worker: WorkerProcess) -> float:
        """The moment, on the server's clock, at which the worker's lease ends unless it is renewed."""
        return float(self.redis.zscore("chatq:workers", self.id_of(worker)))

    def held_by(self, worker: WorkerProcess) -> int:
        """How many jobs the worker holds."""
        return int(self.redis.zcard(f"chatq:held:{self.id_of(worker)}"))

    # -- The server

    def now_ms(self) -> float:
        """The server's clock."""
        seconds, microseconds = self.redis.time()
        return seconds * 1000 + microseconds / 1000

    def kill_server(self) -> None:
        """SIGKILL the embedded server, and wait until it is gone."""
        process = int(self.redis.info("server")["process_id"])
        os.kill(process, signal.SIGKILL)
        until(lambda: running_url(self.data) is None, "the server to die")

    def restart_server(self) -> None:
        """Start it again, unless a worker already has."""
        ensure_running(self.data)

    def every_key(self) -> set[str]:
        """Every key of the server."""
        return set(self.redis.scan_iter(count=1000))

    # -- The provider

    def hold_answers(self) -> None:
        """Calls are taken in and not answered until `release_answers`."""
        self.simulator.control("POST", "pause")

    def release_answers(self) -> None:
        """Answer what was held, and what comes."""
        self.simulator.control("POST", "resume")

    def await_in_flight(self, count: int) -> None:
        """Wait until the provider works on exactly `count` calls."""
        reached = self.simulator.wait(in_flight=count, timeout_s=WAIT_S)
        assert reached, f"expected {count} calls in flight; {self.simulator.counts()['total']}"

    def calls(self) -> dict[str, int]:
        """How often each job was sent to the provider."""
        return {name: tally["received"] for name, tally in self.simulator.counts()["jobs"].items()}

    # -- The caller

    def run(self, connection: str, prompt: str, **keys: Any) -> JobRecord:
        """Enqueue a job and wait for its final record."""
        return self.queue.wait(self.queue.enqueue(connection, prompt, **keys).id, WAIT_S)

    def follow(self, batch_id: str) -> list[JobRecord]:
        """Every record of a batch, when it has ended."""
        return list(self.queue.results(batch_id, follow=True))

    def command(self, *arguments: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
        """Run `chatq ARGUMENTS` in the folder."""
        return chatq(*arguments, folder=self.folder, environ=self.environ, standard_input=standard_input)


def processes_naming(folder: Path) -> list[str]:
    """The command lines of processes in which the folder is named. Empty where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(
                process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
    return [line for line in found if f"{folder}/" in line]


Install = Callable[..., Installation]
"""Makes an installation of the test's own; keywords as `Installation`."""


def chatq(
    *arguments: str, folder: Path, environ: Mapping[str, str], standard_input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `chatq ARGUMENTS` in a folder, without a fresh interpreter (see `forked.py`)."""
    return run("chatq", *arguments, folder=folder, environ=environ, standard_input=standard_input)


def until(condition: Callable[[], Any], what: str, *, within_s: float = WAIT_S) -> Any:
    """Look until `condition()` is true; its value. Fails, naming `what` was waited for, after `within_s`.

    The longer it takes, the less often it looks: to look takes time from what is waited for.
    """
    start = time.monotonic()
    while not (value := condition()):
        waited_s = time.monotonic() - start
        assert waited_s < within_s, f"waited {within_s:g} s for {what}"
        time.sleep(min(0.02 + waited_s / 5, 0.1))
    return value
