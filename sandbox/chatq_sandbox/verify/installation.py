"""What the faults strike: an embedded server, workers, producers and the simulator, each a process of its own.

The server is named to the others by its socket, so that only this process starts it again, when the plan says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from chatq.contract.keys import Keys
from chatq.embedded import as_broker_url, ensure_running, running_url, stop
from chatq.processes import Children
from chatq_sandbox.process import SimulatorProcess
from chatq_sandbox.throwaway import Throwaway
from chatq_sandbox.verify.faults import GRACE_S, LEASE_S
from chatq_sandbox.verify.plan import ANSWER_BYTES, PRODUCERS, Plan

DATA: Final = "data"
KEYS: Final = Keys("chatq")
PACED_PER_MINUTE: Final = 900
"""The limit of the connection `paced`, which the simulator enforces and the settings state."""
_LEARNED_PER_MINUTE: Final = 600
_PLENTY_PER_MINUTE: Final = 6000
_SLOTS: Final = 40
_REPLY_S: Final = 2.0
_AGAIN_S: Final = 0.1
_START_S: Final = 60.0
_ENV: Final = {
    "openai": "VERIFY_OPENAI_KEY",
    "mistralai": "VERIFY_MISTRAL_KEY",
    "claude": "VERIFY_CLAUDE_KEY",
}

SIMULATED: Final[Mapping[str, Any]] = {
    "defaults": {"latency": {"lognormal": {"median_s": 0.7, "sigma": 0.6, "max_s": 5}}},
    "sources": {
        "custom": {"models": ["demo", "dear", "faulty", "untold"]},
        "openai": {
            "keys": ["sim-openai-key"],
            "models": ["gpt-5-mini"],
            "limits": {"requests_per_minute": PACED_PER_MINUTE, "bucket": "second"},
        },
        "mistralai": {
            "keys": ["sim-mistralai-key"],
            "models": ["mistral-small-latest"],
            "limits": {"requests_per_minute": _LEARNED_PER_MINUTE},
        },
        "claude": {
            "keys": ["sim-claude-key"],
            "models": ["claude-haiku-4-5"],
            "limits": {"requests_per_minute": _PLENTY_PER_MINUTE},
        },
    },
}


def _connections(url: str) -> dict[str, Any]:
    # With a limit that is never reached: what nobody states or tells is found by trying, and after a fault of the
    # provider's that takes minutes (docs/decisions/0008-limits.md). `untold` shows that it ends.
    custom = {
        "source": "custom",
        "url": f"{url}/custom/v1",
        "limits": {"requests_per_minute": _PLENTY_PER_MINUTE},
    }
    keyed = {source: {"source": source, "api_key": f"env:{variable}"} for source, variable in _ENV.items()}
    connections: dict[str, dict[str, Any]] = {
        "steady": {**custom, "model": "demo"},
        "never-twice": {**custom, "model": "dear", "retry": {"on_worker_lost": "fail"}},
        "faulty": {**custom, "model": "faulty"},
        "untold": {**custom, "model": "untold", "limits": {}},
        "paced": {
            **keyed["openai"],
            "url": f"{url}/openai/v1",
            "model": "gpt-5-mini",
            "limits": {"requests_per_minute": PACED_PER_MINUTE},
        },
        "learned": {**keyed["mistralai"], "url": f"{url}/mistralai/v1", "model": "mistral-small-latest"},
        "account": {**keyed["claude"], "url": f"{url}/claude", "model": "claude-haiku-4-5"},
    }
    # Longer than any answer takes, and no longer than it may take to notice that a provider is silent.
    timeout = {"connect": "2s", "total": "8s"}
    return {name: {**connection, "timeout": timeout} for name, connection in connections.items()}


@dataclass(eq=False)
class Worker:
    """A worker process. `killed`: by us; `told`: how many SIGTERMs it got; `ready`: it has been seen registered."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    suspended: bool = False
    killed: bool = False
    told: int = 0
    ready: bool = False


class Installation:
    """Everything that runs for one run in a folder. `started_at`: when the plan begins, seconds since 1970."""

    def __init__(
        self, place: Throwaway, plan: Plan, children: Children, simulator: SimulatorProcess, *, workers: int
    ) -> None:
        self.folder = folder = place.path
        self.plan = plan
        self.complaints: list[str] = []
        """Workers that ended by themselves, or not as they should."""
        self.started_at = 0.0
        self._place = place
        self._children = children
        self._simulator = simulator
        self._count = workers
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []
        self._producers: dict[int, subprocess.Popen[bytes]] = {}
        self._numbers = 0
        self.url = ensure_running(folder / DATA)
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(self._settings(simulator.url), indent=1), "utf-8")
        self.client = client(self.url)
        self._server = self._server_process()

    def _settings(self, simulator: str) -> dict[str, Any]:
        return {
            "redis": {"url": as_broker_url(self.url)},
            "worker": {"slots": _SLOTS, "lease": f"{LEASE_S:g}s", "grace": f"{GRACE_S:g}s"},
            "bounds": {"answer_bytes": ANSWER_BYTES},
            "log": {"format": "json", "level": "info"},
            "connections": _connections(simulator),
        }

    def start(self) -> None:
        """Start the workers, wait until they are there, then the producers: now the plan begins."""
        for _ in range(self._count):
            self.start_worker()
        deadline = time.monotonic() + _START_S
        while not self.workers_ready():
            self.look()
            if self.complaints or time.monotonic() > deadline:
                raise RuntimeError(f"the workers did not start: {self.complaints or 'not in time'}")
            time.sleep(0.05)
        self.started_at = time.time() + 0.2
        for number in range(PRODUCERS):
            part = self.folder / f"producer-{number}.json"
            units = [unit for unit in self.plan.units if unit.producer == number]
            part.write_text(
                json.dumps(
                    [
                        {
                            "number": unit.number,
                            "at_s": unit.at_s,
                            "batch": unit.batch,
                            "jobs": [
                                {"name": job.name, "job": job.job, "cancelled": job.cancelled}
                                for job in unit.jobs
                            ],
                        }
                        for unit in units
                    ]
                )
            )
            self.start_producer(number)

    # -- Workers

    def start_worker(self, *, clock_off_s: float | None = None) -> None:
        """Start one more. `clock_off_s`: its clock is off by so much."""
        self._numbers += 1
        name = f"worker-{self._numbers}"
        log = self.folder / f"{name}.log"
        arguments = ["worker", "--config", str(self.config)]
        module = "chatq_worker"
        if clock_off_s is not None:
            module, arguments = "chatq_sandbox.verify.wrong_clock", [f"{clock_off_s:g}", *arguments]
        environ = {variable: f"sim-{source}-key" for source, variable in _ENV.items()}
        with log.open("wb") as file:
            process = self._children.start(
                name, module, arguments, environ=environ, stdout=file.fileno(), stderr=file.fileno()
            )
        self._workers.append(Worker(name, process, log))

    def workers(self) -> list[Worker]:
        """Those that shall live."""
        return list(self._workers)

    def worker(self, draw: float) -> Worker:
        """One of those that are at work now; of all, when none is."""
        ready = [worker for worker in self._workers if worker.ready and not worker.suspended] or self._workers
        return ready[int(draw * len(ready))]

    def leader(self) -> Worker | None:
        """The worker that leads the clock; None when it is not known."""
        name = self._ask("HGET", f"{KEYS.prefix}:leader", "worker")
        return next((worker for worker in self._workers if name and _is(worker, name)), None)

    def workers_ready(self) -> bool:
        """Whether all are registered."""
        starting = [worker for worker in self._workers if not worker.ready]
        if not starting:
            return True
        names = self._ask("ZRANGE", KEYS.workers, "0", "-1") or []
        for worker in starting:
            worker.ready = any(_is(worker, name) for name in names)
        return all(worker.ready for worker in starting)

    def kill_worker(self, worker: Worker) -> None:
        """SIGKILL."""
        worker.killed = True
        self._workers.remove(worker)
        worker.process.kill()
        self._children.stop(worker.name)

    def suspend(self, worker: Worker) -> None:
        """SIGSTOP."""
        worker.suspended = True
        self._place.wake(worker.process.pid)
        worker.process.send_signal(signal.SIGSTOP)

    def go_on(self, worker: Worker) -> None:
        """SIGCONT."""
        worker.suspended = False
        worker.process.send_signal(signal.SIGCONT)

    def tell_to_stop(self, worker: Worker, *, signals: int) -> None:
        """SIGTERM."""
        if worker in self._workers:
            self._workers.remove(worker)
            self._leaving.append(worker)
        for _ in range(signals):
            worker.told += 1
            worker.process.terminate()

    def look(self) -> None:
        """Note who has ended though nobody wanted it, and start another in its place."""
        self.workers_ready()
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._workers.remove(worker)
            code = worker.process.returncode
            # One that starts while the server is away says so and ends; whoever runs it starts it again.
            if worker.ready or code != 1:
                self.complaints.append(f"{worker.name} ended by itself with exit code {code}")
            if self._numbers > 20 * self._count + 10 * len(self.plan.faults):
                raise RuntimeError("workers end as soon as they are started; see their logs")
            self.start_worker()
        for worker in [worker for worker in self._leaving if worker.process.poll() is not None]:
            self._leaving.remove(worker)
            code = worker.process.returncode
            # Told to stop while it was still starting, it ends by the signal.
            if code != 0 and (worker.ready or code != -signal.SIGTERM):
                self.complaints.append(f"{worker.name} was told to stop and ended with exit code {code}")

    def logs(self) -> list[Path]:
        """The workers' logs."""
        return sorted(self.folder.glob("worker-*.log"))

    # -- The server

    def kill_server(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self._server, signal.SIGKILL)
        while running_url(self.folder / DATA) is not None:
            time.sleep(0.005)

    def suspend_server(self) -> None:
        """SIGSTOP."""
        self._place.wake(self._server)
        os.kill(self._server, signal.SIGSTOP)

    def wake_server(self) -> None:
        """SIGCONT."""
        os.kill(self._server, signal.SIGCONT)

    def shut_server_down(self) -> None:
        """In order."""
        stop(self.folder / DATA, force=True)

    def start_server(self) -> None:
        """Start it again."""
        ensure_running(self.folder / DATA)
        self._server = self._server_process()

    def _server_process(self) -> int:
        return int(self._insist(lambda: self.client.info("server"))["process_id"])

    def cut_connections(self) -> None:
        """CLIENT KILL of all connections but this one."""
        for kind in ("normal", "pubsub"):
            self._ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def configured(self, name: str) -> str:
        """A setting of the server."""
        return str(self._insist(lambda: self.client.config_get(name))[name])

    def configure(self, name: str, value: str) -> None:
        """Change it."""
        self._insist(lambda: self.client.config_set(name, value))

    def command(self, *words: str) -> None:
        """Any command."""
        self._insist(lambda: self.client.execute_command(*words))

    def _insist(self, ask: Callable[[], Any]) -> Any:
        """What breaks or mends the server has to go through, however busy the machine is."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return ask()
            except (RedisConnectionError, RedisTimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_S)

    def empty_queue(self, worker: Worker) -> None:
        """Delete the worker's Celery queue."""
        queue = self._queue(worker)
        if queue is not None:
            self._ask("DEL", queue)

    def double_queue(self, worker: Worker) -> None:
        """Let each of its messages come three times."""
        queue = self._queue(worker)
        messages = self._ask("LRANGE", queue, "0", "-1") if queue else None
        if queue and messages:
            self._ask("LPUSH", queue, *messages, *messages)

    def _queue(self, worker: Worker) -> str | None:
        names = self._ask("ZRANGE", KEYS.workers, "0", "-1") or []
        return next((KEYS.worker_queue(name) for name in names if _is(worker, name)), None)

    def _ask(self, *words: str) -> Any:
        """The reply; None while the server is away."""
        try:
            return self.client.execute_command(*words)
        except RedisError:
            return None

    # -- Producers and the provider

    def start_producer(self, number: int) -> None:
        """Start a producer, or another in its place."""
        part = self.folder / f"producer-{number}.json"
        with part.with_suffix(".log").open("ab") as log:
            self._producers[number] = self._children.start(
                f"producer-{number}",
                "chatq_sandbox.verify.producer",
                [str(self.config), str(part), f"{self.started_at:.3f}"],
                stderr=log.fileno(),
            )

    def producer(self, draw: float) -> int:
        """One of them."""
        return int(draw * PRODUCERS)

    def kill_producer(self, number: int) -> None:
        """SIGKILL."""
        self._producers[number].kill()
        self._children.stop(f"producer-{number}")

    def acknowledged_bytes(self, number: int) -> int:
        """How far its list of acknowledged jobs has grown."""
        with contextlib.suppress(FileNotFoundError):
            return acknowledged_file(self.folder / f"producer-{number}.json").stat().st_size
        return 0

    def producing(self) -> bool:
        """Whether one of them still enqueues. Raises `RuntimeError` when one has failed."""
        codes = {number: process.poll() for number, process in self._producers.items()}
        for number, code in codes.items():
            if code:
                raise RuntimeError(f"producer {number} ended with exit code {code}")
        return any(code is None for code in codes.values())

    def provider_misbehaves(self, misbehaviour: Mapping[str, Any]) -> None:
        """Add a misbehaviour to all of the simulator's sources."""
        self._simulator.control("POST", "misbehave", misbehaviour)

    # -- The end

    def stop(self) -> None:
        """Tell every process to stop, and wait until all have."""
        for worker in [*self._workers, *self._leaving]:
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            self.wake_server()
        for worker in self.workers():
            self.tell_to_stop(worker, signals=1)
        self._children.stop()
        self.look()
        self.client.close()


def client(url: str) -> redis.Redis:
    """A client that says at once when the server is away."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        socket_timeout=_REPLY_S,
        socket_connect_timeout=_REPLY_S,
        retry=Retry(NoBackoff(), 0),
    )


def acknowledged_file(part: Path) -> Path:
    """Where the producer of this part notes what was acknowledged."""
    return part.with_suffix(".acknowledged")


def _is(worker: Worker, id_: str) -> bool:
    return f"-{worker.process.pid}-" in id_
