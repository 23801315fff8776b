"""The Celery app that the pool's tests run in worker processes of their own.

POOL_BROKER: the broker's URL. POOL_REDIS: path of the server's socket. POOL_WORKER: the worker's name, its
queue's too. POOL_SERVICE: what `app.loop_service` is: `none`, `plain`, `unreachable`, `broken` or `slow`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections import Counter, defaultdict

import redis
import redis.asyncio
from celery import Celery
from celery.exceptions import Retry

from chatq.contract.errors import ServerUnreachable
from chatq_worker.coroutine_task import CoroutineTask
from chatq_worker.pool import CoroutinePool

WORKER = os.environ.get("POOL_WORKER", "worker")
REDIS = os.environ.get("POOL_REDIS", "")

app = Celery("pool", broker=os.environ.get("POOL_BROKER", "memory://"))
app.conf.update(
    worker_pool="chatq_worker.pool:CoroutinePool",
    worker_concurrency=1000,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    task_ignore_result=True,
    task_default_queue=WORKER,
    broker_transport_options={"polling_interval": 0.1},  # s; a worker's exit waits for the end of its BRPOP
)

gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
barriers: dict[int, asyncio.Barrier] = {}
executions: Counter[str] = Counter()
journal_server = redis.Redis(unix_socket_path=REDIS)
journal_lock = threading.Lock()
"""Needed by both threads, as the log's is."""


def note(text: str) -> None:
    with journal_lock:
        journal_server.rpush(f"journal:{WORKER}", text)


def task_id() -> str:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name()


class Meet(CoroutineTask):
    """Ends when `size` of them run at the same time."""

    name = "meet"

    async def execute(self, size: int) -> str:
        await barriers.setdefault(size, asyncio.Barrier(size)).wait()
        return f"{os.getpid()}"


class Wait(CoroutineTask):
    """Ends when its gate is opened."""

    name = "wait"

    async def execute(self, gate: str, word: str = "") -> str:
        executions[gate] += 1
        try:
            await gates[gate].wait()
        except asyncio.CancelledError:
            note(f"{task_id()} cancelled: {service.pool.cancel_reason(task_id()) if service.pool else None}")
            raise
        note(f"{task_id()} ended")
        return f"{gate} {word} x{executions[gate]}"


class WaitAndSettle(CoroutineTask):
    """Makes a result of its cancellation, as a job does that settles in the ledger."""

    name = "wait_and_settle"

    async def execute(self) -> str:
        note(f"{task_id()} waits")  # one that is cancelled before its first step settles nothing
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(f"{task_id()} settled")
        return "settled in its own way"


class Open(CoroutineTask):
    name = "open"

    async def execute(self, gate: str) -> str:
        gates[gate].set()
        return "open"


class Sleep(CoroutineTask):
    name = "sleep"

    async def execute(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "rested"


class Fail(CoroutineTask):
    name = "fail"

    async def execute(self) -> None:
        raise ValueError("no such model")


class RetryLater(CoroutineTask):
    name = "retry_later"

    async def execute(self) -> None:
        raise Retry("the lane is cooling", exc=ConnectionError("429"))


class Escape(CoroutineTask):
    """Ends with what would end a process."""

    name = "escape"

    async def execute(self, how: str) -> None:
        raise {
            "SystemExit": SystemExit(3),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "MemoryError": MemoryError(),
            "CancelledError": asyncio.CancelledError(),
        }[how]


class EscapeFromChild(CoroutineTask):
    name = "escape_from_child"

    async def execute(self) -> str:
        async def child() -> None:
            raise SystemExit(3)

        done, _ = await asyncio.wait([asyncio.create_task(child())])
        return repr(done.pop().exception())


class Cancel(CoroutineTask):
    """Cancels another one by the pool's own method, as the service does."""

    name = "cancel"

    async def execute(self, other: str) -> list[bool]:
        assert service.pool is not None
        return [service.pool.cancel(other, "by a test"), service.pool.cancel("nobody")]


class AskHub(CoroutineTask):
    name = "ask_hub"

    async def execute(self) -> list[str]:
        assert service.pool is not None
        loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def tell() -> None:
            loop.call_soon_threadsafe(answer.set_result, threading.current_thread().name)

        service.pool.call_in_hub(tell)
        return [await answer, threading.current_thread().name, str(service.pool.loop is loop)]


class Interrupt(CoroutineTask):
    """Has signals interrupt the hub thread while that holds the lock of the journal."""

    name = "interrupt"

    async def execute(self, *numbers: int) -> None:
        def interrupt() -> None:
            with journal_lock:
                for number in numbers:
                    signal.raise_signal(number)

        assert service.pool is not None
        service.pool.call_in_hub(interrupt)


for task in (
    *(Meet, Wait, WaitAndSettle, Open, Sleep, Fail, RetryLater),
    *(Escape, EscapeFromChild, Cancel, AskHub, Interrupt),
):
    app.register_task(task())


@app.task(name="plain")
def plain(what: str) -> str:
    if what == "exit":
        raise SystemExit(3)
    return f"{what} in {threading.current_thread().name}"


@app.task(name="garbage")
def garbage() -> list[str]:
    """What was left to the garbage collector since the last call of this: what Celery and the pool are made of."""
    gc.collect()
    names = [f"{type(thing).__module__}.{type(thing).__name__}" for thing in gc.garbage]
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.garbage.clear()
    return sorted(
        {
            name
            for name in names
            if name.startswith(("celery.", "billiard.", "kombu.", "chatq_worker.", "_pool"))
        }
    )


class Service:
    """Notes what the pool asks of it. Its drain waits for a word in the list `drain:<worker>`, or hurry."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pool: CoroutinePool | None = None
        self.hurried = asyncio.Event()

    async def start(self, pool: CoroutinePool) -> None:
        note("start")
        if self.kind == "unreachable":
            raise ServerUnreachable("No answer from example:6379.", remedy="Start the server.")
        if self.kind == "broken":
            raise ValueError("a bug in the service")
        if self.kind == "slow":
            try:
                await asyncio.Event().wait()
            finally:
                note("start was cancelled")
        self.pool = pool

    async def drain(self) -> None:
        note(f"drain, {self.pool.running} running")
        client = redis.asyncio.Redis(unix_socket_path=REDIS)
        word = asyncio.ensure_future(client.blpop([f"drain:{WORKER}"]))
        word.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else asks for it
        hurry = asyncio.create_task(self.hurried.wait())
        await asyncio.wait([word, hurry], return_when=asyncio.FIRST_COMPLETED)
        word.cancel()
        hurry.cancel()
        if self.hurried.is_set():
            for other in asyncio.all_tasks():
                self.pool.cancel(other.get_name(), "handed back")
        else:
            for gate in gates.values():
                gate.set()
        note("drained")
        await client.aclose()

    def hurry(self) -> None:
        note("hurry")
        self.hurried.set()

    async def stop(self) -> None:
        note(f"stop, {self.pool.running} running")


service = Service(os.environ.get("POOL_SERVICE", "none"))
if service.kind != "none":
    app.loop_service = service
