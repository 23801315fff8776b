"""The thread with the asyncio loop on which coroutines and their service live.

It knows nothing of Celery. What has to be said in the caller's thread is put into the caller's mailbox.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from chatq_worker.coroutine_task import Outcome
from chatq_worker.mailbox import Call, Mailbox

if TYPE_CHECKING:
    from chatq_worker.pool import CoroutinePool

__all__ = ["CancelReason", "LoopService", "LoopThread", "Run"]

logger = logging.getLogger(__name__)

# Coroutines started before the loop may look at its sockets again: a few milliseconds of work.
_CALLS_A_TURN = 256


class CancelReason(StrEnum):
    """Why the pool itself cancelled a coroutine; a service gives `CoroutinePool.cancel` its own reasons."""

    REVOKED = "revoked"
    """Somebody wants the task ended: `app.control.revoke(..., terminate=True)`, Flower's Terminate."""
    TIME_LIMIT = "time limit"
    """The task's hard time limit."""
    SHUTDOWN = "shutdown"
    """The worker ends at once (cold shutdown); nobody has anything against the task."""


class LoopService(Protocol):
    """What may live on the pool's loop, as `app.loop_service`. Every method is called on the loop.

    In this order: `start`, `drain`, `hurry` (if at all; it may come before `drain`'s first step), `stop`.
    """

    async def start(self, pool: CoroutinePool) -> None:
        """Get ready; no task starts before this returns. An exception ends the worker with exit code 1.

        Cancelled when the worker is told to stop meanwhile.
        """

    async def drain(self) -> None:
        """Called once: the worker has been asked to stop; it may still take messages for a moment.

        Bounds the time that running jobs have: wait, then `pool.cancel` what remains. The worker waits for
        it. (Without a service it waits for its jobs, for as long as they take.) In a cold shutdown the pool
        cancels all jobs itself, and five seconds are all that they, `drain` and `stop` get.
        """

    def hurry(self) -> None:
        """End `drain` as soon as can be: asked to stop again (each further SIGTERM), or to stop cold."""

    async def stop(self) -> None:
        """Every job has ended; the last thing on the loop."""


@dataclass(eq=False, slots=True)
class Run:
    """One coroutine to run. Limits in seconds, None for no limit."""

    task_id: str
    work: Callable[[], Awaitable[Any]]
    on_end: Callable[[Outcome, str | None], object]
    """Called in the caller's thread with the outcome and the reason of the cancellation, if there was one."""
    on_soft_limit: Call
    """Called in the caller's thread when the soft limit is over; the coroutine goes on."""
    soft_limit_s: float | None = None
    hard_limit_s: float | None = None
    # What follows belongs to the loop.
    cancel_reason: str | None = field(init=False, default=None)
    _outcome: Outcome | None = field(init=False, default=None)
    _task: asyncio.Task[None] | None = field(init=False, default=None)
    _timers: list[asyncio.TimerHandle] = field(init=False, default_factory=list)

    def start(self, loop: AbstractEventLoop, to_caller: Mailbox, on_end: Call) -> None:
        self._task = loop.create_task(self._execute(), name=self.task_id)
        self._task.add_done_callback(lambda _: self._end(to_caller, on_end))
        if self.hard_limit_s:
            self._timers.append(loop.call_later(self.hard_limit_s, self.cancel, CancelReason.TIME_LIMIT))
        if self.soft_limit_s:
            self._timers.append(loop.call_later(self.soft_limit_s, to_caller.put, self.on_soft_limit))

    def cancel(self, reason: str) -> None:
        """Cancel, once: a second cancellation would interrupt what the job does about the first."""
        if self.cancel_reason is None and self._task is not None:
            self.cancel_reason = reason
            self._task.cancel()

    async def _execute(self) -> None:
        started_s = time.monotonic()
        value, error = None, None
        try:
            value = await self.work()
        except BaseException as exc:  # asyncio would let a SystemExit end the loop
            # Without this frame, which holds the error: a ring. Untied it is gone at once.
            error = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
        self._outcome = Outcome(started_s, time.monotonic(), value, error)

    def _end(self, to_caller: Mailbox, on_end: Call) -> None:
        for timer in self._timers:
            timer.cancel()
        on_end()
        if self._outcome is None:  # cancelled before its first step
            now_s = time.monotonic()
            self._outcome = Outcome(now_s, now_s, error=asyncio.CancelledError())
        to_caller.put(partial(self.on_end, self._outcome, self.cancel_reason))


class LoopThread:
    """An asyncio loop on a thread of its own (uvloop's, where there is one)."""

    def __init__(self, to_caller: Mailbox, service: LoopService | None) -> None:
        self._to_caller = to_caller
        self._service = service
        self._mailbox = Mailbox(self._wake)
        self._ready: Future[AbstractEventLoop] = Future()
        # A daemon: the interpreter's end must not wait for a coroutine that swallows its cancellation.
        self._thread = threading.Thread(target=self._main, name="chatq-loop", daemon=True)
        self._runs: dict[str, Run] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining: asyncio.Task[None] | None = None
        self._winding_down: asyncio.Task[None] | None = None
        self._may_end = False

    # -- From any thread -------------------------------------------------------------------------------------

    @property
    def loop(self) -> AbstractEventLoop:
        return self._ready.result()

    @property
    def running(self) -> int:
        return len(self._runs)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Return when the loop runs; raises what kept it from that."""
        self._thread.start()
        self._ready.result()

    def start_service(self, pool: CoroutinePool) -> Future[None]:
        """The future of the service's start, done at once without a service."""
        if self._service is None:
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return asyncio.run_coroutine_threadsafe(self._service.start(pool), self.loop)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function, such as the methods below, on the loop, in the order of the requests."""
        self._mailbox.put(partial(function, *args))

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    # -- On the loop -----------------------------------------------------------------------------------------

    def launch(self, run: Run) -> None:
        self._runs[run.task_id] = run
        self._idle.clear()
        run.start(self.loop, self._to_caller, partial(self._forget, run))

    def cancel(self, task_id: str, reason: str) -> bool:
        run = self._runs.get(task_id)
        if run is None:
            return False
        run.cancel(reason)
        return True

    def cancel_reason(self, task_id: str) -> str | None:
        run = self._runs.get(task_id)
        return None if run is None else run.cancel_reason

    def running_ids(self) -> list[str]:
        return list(self._runs)

    def cancel_all(self, reason: str) -> None:
        for run in self._runs.values():
            run.cancel(reason)

    def drain(self) -> None:
        """Begin the service's drain; a second call does nothing."""
        if self._draining is None:
            self._draining = self.loop.create_task(self._drain(), name="chatq-drain")

    def hurry(self) -> None:
        if self._service is not None:
            try:
                self._service.hurry()
            except Exception:
                logger.exception("%s.hurry failed", type(self._service).__name__)

    def wind_down(self, on_end: Call) -> None:
        """Wait for drain and runs, stop the service, call `on_end` in the caller's thread, end the loop.

        What the caller's mailbox got from the runs comes before `on_end`. A second call does nothing.
        """
        if self._winding_down is None:
            self._winding_down = self.loop.create_task(self._wind_down(on_end), name="chatq-wind-down")

    def end(self) -> None:
        """End the loop as it is: what still runs there is cancelled. A second call does nothing."""
        if not self._may_end:  # a second stop would cut the loop's own clean-up short
            self._may_end = True
            self.loop.stop()

    # -- Inside ----------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                loop = runner.get_loop()
                loop.call_soon(self._ready.set_result, loop)
                while not self._may_end:
                    try:
                        loop.run_forever()
                    except BaseException as exc:  # a SystemExit in a task that some coroutine has made
                        logger.error("Something on the pool's loop tried to end it by %r; it goes on", exc)
        except BaseException as exc:
            if self._ready.done():
                raise
            self._ready.set_exception(exc)

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and with it all that the call was about
            self.loop.call_soon_threadsafe(self._mailbox.serve, _CALLS_A_TURN)

    def _forget(self, run: Run) -> None:
        del self._runs[run.task_id]
        if not self._runs:
            self._idle.set()

    async def _drain(self) -> None:
        if self._service is not None:
            await self._bear("drain", self._service.drain())

    async def _wind_down(self, on_end: Call) -> None:
        if self._draining is not None:
            await self._draining
        await self._idle.wait()
        if self._service is not None:
            await self._bear("stop", self._service.stop())
        self._to_caller.put(on_end)
        self.end()

    async def _bear(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BaseException:  # whatever it was, the worker has to end in order
            logger.exception("%s.%s failed", type(self._service).__name__, name)


def _new_event_loop() -> AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # there is none for PyPy and Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
