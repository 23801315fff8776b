"""A Celery task whose work is a coroutine.

Celery's tracer (`celery.app.trace`) calls a task's body, times it, and turns what the body did into results,
signals, log lines and events. A coroutine cannot run inside that call: it would hold Celery's hub thread. So
the work comes first, on an asyncio loop, and is kept as an `Outcome`; then Celery's own tracer runs with a
body that only replays the outcome. `chatq_worker.pool` does both halves.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import Task
from celery.app.trace import build_tracer
from celery.exceptions import ImproperlyConfigured, Retry

__all__ = ["CoroutineAbortedError", "CoroutineTask", "Outcome", "trace_outcome"]


class CoroutineAbortedError(RuntimeError):
    """The coroutine ended with something that Celery would take for the end of the process.

    Stands in for SystemExit, KeyboardInterrupt, MemoryError, a cancellation that nobody asked for and every
    other exception that is no `Exception`. The original is its `__cause__`.
    """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a coroutine ended: with `error`, or else with `value`. Times are `time.monotonic()`, in seconds."""

    started_s: float
    ended_s: float
    value: Any = None
    error: BaseException | None = None

    def replay(self) -> Any:
        """Return or raise what the coroutine did; `CoroutineAbortedError` for what would end the process."""
        if self.error is None:
            return self.value
        # Celery ends the worker upon a MemoryError (Request.on_failure), but here one job's oversized answer
        # must not take thousands of others along.
        if isinstance(self.error, Exception) and not isinstance(self.error, MemoryError):
            raise self.error
        raise CoroutineAbortedError(f"the coroutine ended with {self.error!r}") from self.error


class _Replay:
    """An outcome on its way through the tracer, with the clock that the tracer reads meanwhile."""

    __slots__ = ("_clock_was_read", "_outcome", "_raised")

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._clock_was_read = False
        self._raised: Exception | None = None

    def run(self) -> Any:
        """The task's body."""
        try:
            return self._outcome.replay()
        except Exception as error:
            self._raised = error
            raise

    def untie(self) -> None:
        """Part the error, which is told by now, from its traceback and from its arguments.

        The tracer's frame holds the error, whose traceback holds the frame: a ring of some 3,000 objects, with what
        billiard notes down of each line of the tracer. And Celery has a Retry among its own arguments. Untied they are
        gone at once.
        """
        if self._raised is not None:
            self._raised.__traceback__ = None
        if isinstance(self._raised, Retry):
            self._raised.args = ()

    def clock(self) -> float:
        """First the moment the coroutine started, from then on the moment it ended."""
        if self._clock_was_read:
            return self._outcome.ended_s
        self._clock_was_read = True
        return self._outcome.started_s


# A context variable, because replays nest: a cold shutdown reports outcomes from inside a signal handler,
# which may have interrupted another replay.
_current: ContextVar[_Replay | None] = ContextVar("chatq_replay", default=None)


def _monotonic() -> float:
    replay = _current.get()
    return time.monotonic() if replay is None else replay.clock()


class CoroutineTask(Task):  # type: ignore[misc]  # celery has no types: its Task is Any
    """Base of the tasks that `chatq_worker.pool.CoroutinePool` runs as coroutines.

        class Complete(CoroutineTask):
            name = "chatq.complete"

            async def execute(self, job_id: str) -> dict[str, str]: ...

        app.register_task(Complete())

    `execute` runs on the pool's loop, another thread than Celery's: it uses nothing of `self` that belongs to
    the tracer (`request`, `retry()`, `update_state()`). Its asyncio task is named by the Celery task id. It
    ends by returning, by raising (a failure), or by raising `celery.exceptions.Retry`, `Ignore` or `Reject`.
    A `Retry` is only reported: to send the job again is up to whoever raises it. It is cancelled, at most
    once, by a revoke with `terminate`, by its hard time limit and by the end of the worker;
    `CoroutinePool.cancel_reason` tells which. Celery's own hooks and signals (`before_start`, `task_prerun`,
    ...) come with the replay, in the hub thread, when the work is done.
    """

    _replay_tracer: Callable[..., Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "run" in vars(cls):
            raise TypeError(
                f"{cls.__name__}: a coroutine task has `async def execute`; its `run` belongs to the pool. "
                "Write a class and app.register_task(), not @app.task(base=CoroutineTask)."
            )
        if not inspect.iscoroutinefunction(cls.execute):
            raise TypeError(f"{cls.__name__}.execute must be `async def`.")

    @classmethod
    def running_id(cls, task_id: str) -> str:
        """Under which id it runs here: a delivery of one that runs already waits for its outcome. Another than Celery's
        where tasks of other kinds may have the same."""
        return task_id

    def work(self, request: Mapping[str, Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
        """What is run for a message. `request`: what Celery knows of it, its arguments and headers."""
        return partial(self.execute, *request["args"], **request["kwargs"])

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work; the arguments are the message's."""
        raise NotImplementedError(f"{type(self).__name__} has no `async def execute`")

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the outcome that the pool is reporting.

        Raises ImproperlyConfigured when there is none, that is in any other pool.
        """
        replay = _current.get()
        if replay is None:
            raise ImproperlyConfigured(
                f"Task {self.name} is a coroutine and runs in no other pool: start its worker with "
                'worker_pool = "chatq_worker.pool:CoroutinePool".'
            )
        return replay.run()


def trace_outcome(
    task: CoroutineTask,
    target: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    hostname: str | None,
    outcome: Outcome,
) -> Any:
    """Call `target(*args, **kwargs)`, Celery's tracer for `task`, so that it reports `outcome`.

    Returns what the tracer returns: `(failed, result, runtime in seconds)`. The runtime is the coroutine's,
    in the event, the log line and the `task_success` signal alike: Celery's `build_tracer` makes the tracer
    as ever, but it reads the replay's clock. (Celery makes a new one after each reconnect, hence the check.)
    """
    if task.__trace__ is not task._replay_tracer or task._replay_tracer is None:
        task._replay_tracer = build_tracer(
            task.name, task, task.app.loader, hostname, app=task.app, monotonic=_monotonic
        )
        task.__trace__ = task._replay_tracer
    replay = _Replay(outcome)
    token = _current.set(replay)
    try:
        return target(*args, **kwargs)
    finally:
        _current.reset(token)
        replay.untie()
