"""How long it takes until work goes on after something died, was cut off or restarted.

    python bench/recovery.py [--repeat 3] [--lease 30] [--outage 60] [--only CASE]

A server of its own (AOF, fsync always), the simulator, two or three workers of 20 slots. Each CASE prints its times in
seconds, the worst and the median of the repetitions, its bar, and `ok`:

    dead_worker    a worker is killed with 20 calls in flight: until all of them run again; bar: the lease + 2 s
    server_killed  the server is killed and started at once: until every slot of both workers calls; bar 5 s
    server_frozen  the server is stopped for 20 s and goes on: the same
    outage         the server is killed, and started after a while: the same, from when it answers
    cut            all connections to the server are cut: the same
    leader         the worker that leads the clock is killed: until another leads; bar 3 s
    sigterm        a worker is told to stop: until its calls, longer than its grace of 1 s, run elsewhere; bar: 1 s more
    rolling        three workers are replaced one after the other under load: the longest time in which no call began;
                   bar 1.5 s

No case may lose a job, or call one more often than it has to: a call is made twice only where its worker was killed, or
its grace was over. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis
from bench_installation import circumstances, until

from chatq import ChatQueue
from chatq.embedded.program import find_program
from chatq_sandbox.process import SimulatorProcess

SLOTS: Final = 20
START_S: Final = 60.0
WAIT_S: Final = 120.0
GRACE_S: Final = 1.0
FROZEN_S: Final = 20.0


class Server:
    """A server that can be killed, frozen and started again. Its data outlive it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self.client = redis.Redis.from_url(self.url, protocol=2, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Returns the moment at which it answered."""
        program = find_program(self._folder).path
        options = (
            f"--port 0 --unixsocket {self.socket} --dir {self._folder} --appendonly yes --appendfsync always"
        )
        words = [program, *options.split(), "--save", ""]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(redis.RedisError):
                self.client.ping()
                return time.monotonic()
            time.sleep(0.005)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


class Fleet:
    """Workers on a server, with a provider. `lease_s`, `grace_s`: the workers'."""

    def __init__(
        self, folder: Path, server: Server, simulator: SimulatorProcess, lease_s: float, grace_s: float
    ) -> None:
        self.server, self.simulator = server, simulator
        self.config = folder / "config.yaml"
        sim = {"source": "custom", "model": "local-model", "url": f"{simulator.url}/custom/v1"}
        settings = {
            "redis": {"url": server.url},
            "worker": {"slots": SLOTS, "lease": f"{lease_s:g}s", "grace": f"{grace_s:g}s"},
            "connections": {"sim": sim},
        }
        self.config.write_text(json.dumps(settings))
        self.queue = ChatQueue(self.config)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._names = itertools.count()
        self._log = (folder / "workers.log").open("wb")

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; returns when it is registered."""
        command = [sys.executable, "-m", "chatq_worker", "worker", "--config", str(self.config)]
        worker = subprocess.Popen(command, stderr=self._log)
        self.workers.append(worker)
        until(lambda: any(f"-{worker.pid}-" in name for name in self.registered()), within_s=START_S)
        return worker

    def registered(self) -> list[str]:
        return list(self.server.client.zrange("chatq:workers", 0, -1))

    def leader(self) -> str | None:
        return self.server.client.hget("chatq:leader", "worker")

    def enqueue(self, count: int, directive: str = "") -> str:
        """A batch of so many jobs; its id."""
        names = [f"job:{next(self._names)} {directive}" for _ in range(count)]
        return self.queue.enqueue_batch(names, "sim").id

    def hold(self) -> None:
        self.simulator.control("POST", "pause")

    def release(self) -> None:
        self.simulator.control("POST", "resume")

    def await_in_flight(self, count: int) -> float:
        """The moment at which the provider works on so many calls."""
        assert self.simulator.wait(in_flight=count, timeout_s=WAIT_S), self.simulator.counts()["total"]
        return time.monotonic()

    def await_received(self, count: int) -> float:
        """The moment at which it has been sent so many."""
        assert self.simulator.wait(received=count, timeout_s=WAIT_S), self.simulator.counts()["total"]
        return time.monotonic()

    def received(self) -> int:
        return int(self.simulator.counts()["total"]["received"])

    def check(self, batch: str, *, called_twice: int = 0) -> None:
        """Every job of the batch succeeds, and so many calls were made twice."""
        records = list(self.queue.results(batch, follow=True))
        assert {record.state for record in records} == {"succeeded"}
        again = sum(len(record.attempts) - 1 for record in records)
        assert again == called_twice, f"{again} calls were made again, {called_twice} had to be"

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.queue.close()
        self._log.close()


@contextlib.contextmanager
def fleet(workers: int, *, lease_s: float, grace_s: float = 10.0) -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="chatq-bench-") as name, SimulatorProcess() as simulator:
        server = Server(Path(name))
        try:
            server.start()
            made = Fleet(Path(name), server, simulator, lease_s, grace_s)
            try:
                for _ in range(workers):
                    made.start_worker()
                made.check(made.enqueue(10))
                yield made
            finally:
                made.close()
        finally:
            server.client.close()
            server.kill()


Times = list[float]


def dead_worker(arguments: argparse.Namespace) -> tuple[Times, float]:
    times = []
    with fleet(2, lease_s=arguments.lease) as running:
        for _ in range(arguments.repeat):
            running.hold()
            before = running.received()
            batch = running.enqueue(2 * SLOTS)
            running.await_in_flight(2 * SLOTS)
            victim = running.workers[-1]
            running.start_worker()  # with slots for what the victim leaves
            victim.kill()
            killed = time.monotonic()
            times.append(running.await_received(before + 3 * SLOTS) - killed)
            running.release()
            running.check(batch, called_twice=SLOTS)
    return times, arguments.lease + 2


def _until_all_call(arguments: argparse.Namespace, break_it: Callable[[Fleet], float]) -> tuple[Times, float]:
    """From when what `break_it` broke is mended until every slot calls."""
    times = []
    with fleet(2, lease_s=arguments.lease) as running:
        pids = [worker.pid for worker in running.workers]
        for _ in range(arguments.repeat):
            running.hold()
            first = running.enqueue(SLOTS)
            running.await_in_flight(SLOTS)
            mended = break_it(running)
            second = running.enqueue(3 * SLOTS)
            times.append(running.await_in_flight(2 * SLOTS) - mended)
            running.release()
            running.check(first)
            running.check(second)
        assert [worker.pid for worker in running.workers if worker.poll() is None] == pids, "a worker died"
    return times, 5.0


def server_killed(arguments: argparse.Namespace) -> tuple[Times, float]:
    def kill(running: Fleet) -> float:
        running.server.kill()
        return running.server.start()

    return _until_all_call(arguments, kill)


def outage(arguments: argparse.Namespace) -> tuple[Times, float]:
    def be_away(running: Fleet) -> float:
        running.server.kill()
        time.sleep(arguments.outage)
        return running.server.start()

    return _until_all_call(arguments, be_away)


def server_frozen(arguments: argparse.Namespace) -> tuple[Times, float]:
    def freeze(running: Fleet) -> float:
        running.server.send(signal.SIGSTOP)
        time.sleep(FROZEN_S)
        running.server.send(signal.SIGCONT)
        return time.monotonic()

    return _until_all_call(arguments, freeze)


def cut(arguments: argparse.Namespace) -> tuple[Times, float]:
    def kill_clients(running: Fleet) -> float:
        for kind in ("normal", "pubsub"):
            running.server.client.client_kill_filter(_type=kind, skipme=True)
        return time.monotonic()

    return _until_all_call(arguments, kill_clients)


def leader(arguments: argparse.Namespace) -> tuple[Times, float]:
    times = []
    with fleet(3, lease_s=arguments.lease) as running:
        for _ in range(arguments.repeat):
            until(lambda: running.leader() in running.registered(), within_s=START_S)
            led = running.leader()
            victim = next(worker for worker in running.workers if f"-{worker.pid}-" in str(led))
            victim.kill()
            killed = time.monotonic()
            victim.wait()
            while running.leader() == led:
                time.sleep(0.005)
            times.append(time.monotonic() - killed)
            running.start_worker()
    return times, 3.0


def sigterm(arguments: argparse.Namespace) -> tuple[Times, float]:
    times = []
    with fleet(2, lease_s=arguments.lease, grace_s=GRACE_S) as running:
        for _ in range(arguments.repeat):
            other = running.start_worker()  # with slots for what is handed back
            running.hold()
            before = running.received()
            batch = running.enqueue(3 * SLOTS)
            running.await_in_flight(3 * SLOTS)
            running.start_worker()
            other.terminate()
            told = time.monotonic()
            times.append(running.await_received(before + 4 * SLOTS) - told)
            running.release()
            assert other.wait() == 0
            running.check(batch, called_twice=SLOTS)
            running.workers.pop().terminate()
    return times, GRACE_S + 1


def rolling(arguments: argparse.Namespace) -> tuple[Times, float]:
    times = []
    with fleet(3, lease_s=arguments.lease) as running:
        for _ in range(arguments.repeat):
            done = threading.Event()
            batches: list[str] = []

            def produce(done: threading.Event = done, batches: list[str] = batches) -> None:
                while not done.wait(0.1):
                    if running.queue.overview()["waiting"] < 3 * SLOTS:
                        batches.append(running.enqueue(3 * SLOTS, "[sim: latency 0.3..0.9]"))

            producer = threading.Thread(target=produce)
            producer.start()
            for worker in running.workers[-3:]:
                running.start_worker()
                worker.terminate()
                assert worker.wait() == 0
            done.set()
            producer.join()
            for batch in batches:
                running.check(batch)
            began = sorted(
                attempt.started_at.timestamp()
                for batch in batches
                for record in running.queue.results(batch)
                for attempt in record.attempts
            )
            times.append(max(b - a for a, b in itertools.pairwise(began)))
        jobs = running.simulator.counts()["jobs"]
        assert {tally["received"] for tally in jobs.values()} == {1}, "calls were made twice"
    return times, 1.5


CASES: Mapping[str, Callable[[argparse.Namespace], tuple[Times, float]]] = {
    "dead_worker": dead_worker,
    "server_killed": server_killed,
    "server_frozen": server_frozen,
    "outage": outage,
    "cut": cut,
    "leader": leader,
    "sigterm": sigterm,
    "rolling": rolling,
}


def figures(name: str, times: Sequence[float], bar_s: float) -> dict[str, Any]:
    return {
        "case": name,
        "worst_s": round(max(times), 2),
        "median_s": round(statistics.median(times), 2),
        "bar_s": bar_s,
        "times_s": [round(one, 2) for one in times],
        "ok": max(times) <= bar_s,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=[*CASES], metavar="CASE")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--lease", type=float, default=30, metavar="S")
    parser.add_argument("--outage", type=float, default=60, metavar="S")
    arguments = parser.parse_args()
    good = True
    for name in [arguments.only] if arguments.only else CASES:
        result = figures(name, *CASES[name](arguments))
        good = good and result["ok"]
        print(json.dumps(result), flush=True)
    print(json.dumps(circumstances(), indent=2))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
