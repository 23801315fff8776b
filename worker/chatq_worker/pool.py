"""The Celery worker pool that runs coroutines: `worker_pool = "chatq_worker.pool:CoroutinePool"`.

    hub thread (Celery; this file)                     loop thread (asyncio; loop_thread.py)
    on_apply: accept, so that Celery acknowledges ──►  task.execute(...) runs
        early and sends task-started
    terminate: revoke, cold shutdown              ──►  it is cancelled
    report: Celery's own tracer replays it        ◄──  it has ended: the outcome
    stop: report until there is nothing left      ◄─►  service.drain(), runs end, service.stop()

Invariants
- Nothing of Celery or kombu is touched on the loop, nothing of asyncio in the hub thread: between them there
  are only two mailboxes.
- One task id runs once. A second delivery of an id that still runs here is adopted, whatever its arguments:
  it gets the first one's outcome and starts nothing.
- Celery hears exactly one ending of each delivery. What it has announced itself (revoked, cancelled) stays.
- A coroutine cannot end the loop: what it raises, SystemExit included, is that task's failure.

What differs from prefork
- Every delivery starts at once. The limit (`worker_concurrency`) is what Celery and Flower are told and no
  bound: a message may wait in the ledger at no cost, but not here. Where Celery has to bound a worker, set
  `worker_disable_prefetch`.
- The hard time limit cancels the coroutine and is reported when that has ended. The soft time limit is
  logged and raises nothing: no coroutine expects an exception out of the blue.
- A cancelled coroutine may finish in its own way, but a task that Celery has down as revoked stays revoked.
  A revoke without `terminate` stops no running task, as ever in Celery.
- A task that is no `CoroutineTask` runs in the hub thread, as in the pool `solo`, and holds it up meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import signals
from celery.concurrency.base import BasePool
from celery.exceptions import Terminated, WorkerShutdown, WorkerTerminate
from celery.platforms import EX_FAILURE, EX_OK
from celery.worker import state

from chatq.contract.errors import ChatQueueError
from chatq_worker.coroutine_task import CoroutineTask, Outcome, trace_outcome
from chatq_worker.loop_thread import CancelReason, LoopService, LoopThread, Run
from chatq_worker.mailbox import Mailbox

__all__ = ["CancelReason", "CoroutinePool", "LoopService"]

logger = logging.getLogger(__name__)

# How long a cold shutdown waits for cancelled jobs and the service: what Celery gives its broker's sockets.
_COLD_STOP_S = 5.0
# Outcomes reported before the hub may look at its other sockets again: some 20 ms of work.
_REPORTS_A_TURN = 64


def _ignore(*_: object, **__: object) -> None:
    pass


class _Delivery:
    """One message: what `on_apply` returns to Celery's Request, and the Request's callbacks."""

    def __init__(
        self, cancel: Callable[[], object], callbacks: Mapping[str, Callable[..., object] | None]
    ) -> None:
        self.terminated = False
        self.succeeded = callbacks.get("callback") or _ignore
        self.failed = callbacks.get("error_callback") or _ignore
        self.timed_out = callbacks.get("timeout_callback") or _ignore
        self._cancel = cancel

    def terminate(self, signum: int) -> None:
        """Called by the Request that has just announced the task as revoked or cancelled."""
        self.terminated = True
        self._cancel()


class CoroutinePool(BasePool):  # type: ignore[misc]  # celery has no types: its BasePool is Any
    """See the module's text. Made by Celery. `app.loop_service`, if the app has it, is a `LoopService`."""

    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hostname: str | None = (self.options.get("initargs") or (None, None))[1]
        self._service: LoopService | None = getattr(self.app, "loop_service", None)
        self._hub: Any = None
        self._connected_s = 0.0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._mailbox = Mailbox(self._wake)
        self._thread = LoopThread(self._mailbox, self._service)
        # Strong references: the Request has but a weak one to what on_apply returned, and once that is gone a
        # revoke reaches nothing.
        self._deliveries: dict[str, list[_Delivery]] = {}
        self._accepts = False
        self._starting: Future[None] | None = None
        self._stop_was_asked = False
        self._wound_down = False
        self._given_up = False

    # -- For the service -------------------------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the coroutines. From any thread, once the pool starts."""
        return self._thread.loop

    @property
    def running(self) -> int:
        """Coroutines that have begun and not ended. From any thread."""
        return self._thread.running

    def running_ids(self) -> list[str]:
        """The task ids of the running coroutines. On the loop only."""
        return self._thread.running_ids()

    def cancel(self, task_id: str, reason: str = "cancelled") -> bool:
        """Cancel the running coroutine of `task_id`; False when there is none. On the loop only.

        A coroutine is cancelled once: a second call changes neither its clean-up nor the reason. If it lets
        the cancellation through, Celery hears that the task was terminated, else what it returns or raises.
        """
        return self._thread.cancel(task_id, reason)

    def cancel_reason(self, task_id: str) -> str | None:
        """Why this running coroutine was cancelled: a `CancelReason`, or `cancel`'s. On the loop only."""
        return self._thread.cancel_reason(task_id)

    def call_in_hub(self, function: Callable[..., object], *args: object) -> None:
        """Call `function(*args)` soon in the hub thread, in the order of the requests. From any thread.

        What it raises is logged. Once the pool has stopped, nothing is called any more.
        """
        self._mailbox.put(partial(_guarded, function, *args))

    def reconnect(self) -> None:
        """Have Celery connect to the broker anew, unless it has by then. From any thread. What runs goes on."""
        self.call_in_hub(self._reconnect, time.monotonic())

    def _reconnect(self, asked_s: float) -> None:
        if self._hub is not None and self._connected_s < asked_s:
            self._connected_s = time.monotonic()  # what was asked for meanwhile is done by this as well
            # Not from here: what a call of the mailbox raises is only logged.
            self._hub.call_soon(_break_off)

    # -- Taking messages -------------------------------------------------------------------------------------

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        accept_callback: Callable[..., object] | None = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> _Delivery | None:
        """Take a message. `args[:3]`: task name, task id, request; `target(*args, **kwargs)`: the tracer."""
        if not self._accepts:
            # Neither accepted nor acknowledged: the transport gives it back when its channel closes.
            return None
        name, celery_id, request = args[:3]
        task = self.app.tasks[name]
        task_id = task.running_id(celery_id) if isinstance(task, CoroutineTask) else celery_id
        accept = partial(accept_callback or _ignore, os.getpid(), time.monotonic())
        delivery = _Delivery(partial(self._cancel_for_celery, task_id, request), options)
        if not isinstance(task, CoroutineTask):
            accept()
            _trace([delivery], partial(target, *args, **kwargs))
            return None
        accept()
        deliveries = self._deliveries.setdefault(task_id, [])
        deliveries.append(delivery)
        if len(deliveries) > 1:
            logger.info("Task %s[%s] runs here already: this delivery waits for its outcome", name, task_id)
            return delivery
        soft_limit_s = soft_timeout or self.options.get("soft_timeout")
        hard_limit_s = timeout or self.options.get("timeout")
        replay = partial(trace_outcome, task, target, args, kwargs, self._hostname)
        run = Run(
            task_id,
            work=task.work(request),
            on_end=partial(_guarded, self._report, task_id, replay, hard_limit_s),
            on_soft_limit=partial(_guarded, self._report_soft_limit, task_id, soft_limit_s),
            soft_limit_s=soft_limit_s,
            hard_limit_s=hard_limit_s,
        )
        self._thread.call(self._thread.launch, run)
        return delivery

    def _cancel_for_celery(self, task_id: str, request: Mapping[str, Any]) -> None:
        # Request.terminate (a revoke) and Request.cancel (a cold shutdown) come in by the same door; only the
        # lists of the revoked tell them apart.
        revoked = task_id in state.revoked or (state.revoked_stamps and request.get("stamped_headers"))
        reason = CancelReason.REVOKED if revoked else CancelReason.SHUTDOWN
        self._thread.call(self._thread.cancel, task_id, reason)

    # -- Reporting outcomes ----------------------------------------------------------------------------------

    def _report(
        self,
        task_id: str,
        replay: Callable[[Outcome], Any],
        hard_limit_s: float | None,
        outcome: Outcome,
        cancel_reason: str | None,
    ) -> None:
        cancelled = cancel_reason is not None and isinstance(outcome.error, asyncio.CancelledError)
        untold = []
        for delivery in self._deliveries.pop(task_id, ()):
            if delivery.terminated:
                _tell_terminated(delivery, CancelReason.REVOKED)
            elif cancel_reason == CancelReason.TIME_LIMIT:
                _guarded(delivery.timed_out, soft=False, timeout=hard_limit_s)
            elif cancelled:
                _tell_terminated(delivery, cancel_reason)
            else:
                untold.append(delivery)
        if untold:
            _trace(untold, partial(replay, outcome))

    def _report_soft_limit(self, task_id: str, soft_limit_s: float | None) -> None:
        for delivery in self._deliveries.get(task_id, ()):
            _guarded(delivery.timed_out, soft=True, timeout=soft_limit_s)

    def register_with_event_loop(self, hub: Any) -> None:
        """Called by Celery with kombu's hub, for each connection: a lost one takes registrations along."""
        self._hub = hub
        self._connected_s = time.monotonic()
        hub.add_reader(self._wake_reader, self._serve_mailbox)

    def _serve_mailbox(self) -> None:
        with suppress(OSError):  # nothing to read; or closed, by an on_stop that interrupted another one
            self._wake_reader.recv(4096)
        self._mailbox.serve(_REPORTS_A_TURN)

    def _wake(self) -> None:
        # A socket of our own and not hub.call_soon, which takes a lock: a cold shutdown waits for the loop in
        # a signal handler, which may have interrupted the hub thread with that lock in its hand.
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    # -- Start and stop --------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the loop and the service; if they cannot, log the reason and raise WorkerShutdown."""
        if self.options.get("threads"):
            _refuse(
                "The pool for coroutines needs a broker that Celery reads with an event loop: redis://, "
                "rediss://, redis+socket://, sentinel:// or amqp://. This worker's broker is none of these."
            )
        self._thread.start()
        self._starting = self._thread.start_service(self)
        # Never disconnected: a signal handler that came while Celery's signal holds its lock would hang.
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        try:
            error = self._starting.exception()
        except CancelledError:
            self._end_loop()
            raise WorkerShutdown(EX_OK) from None
        self._starting = None
        if error is not None:
            self._end_loop()
            _refuse(f"{type(self._service).__name__} did not start: {error}", error)
        self._postpone_cold_shutdown(signal.SIGQUIT)
        self._accepts = True

    def _postpone_cold_shutdown(self, number: signal.Signals) -> None:
        """Have the cold shutdown that Celery begins at a signal begin between two steps of the hub.

        Celery does it all in its signal handler, events included, and waits there for the lock of the event
        dispatcher, and for the loop: in vain, if the signal came while the hub thread had that lock, or the
        log's, which the loop needs. The next signal is Celery's again, at once.
        """
        cold_shutdown = signal.getsignal(number)
        if not callable(cold_shutdown) or threading.current_thread() is not threading.main_thread():
            return

        def postpone(signum: int, frame: FrameType | None) -> None:
            signal.signal(signum, cold_shutdown)
            if self._stop_was_asked or (
                self._hub is not None and self._wake_reader.fileno() in self._hub.readers
            ):
                self._mailbox.put(partial(cold_shutdown, signum, frame))
            else:  # no connection, or none yet: nobody would look into the mailbox
                cold_shutdown(signum, frame)

        signal.signal(number, postpone)

    def did_start_ok(self) -> bool:
        return self._thread.is_alive

    def _on_shutting_down(self, sig: str, how: str, **_: object) -> None:
        """Celery's signal for SIGTERM, SIGINT and SIGQUIT: in a signal handler, in the hub thread."""
        if (sig, how) == ("SIGINT", "Warm"):  # from now on SIGINT is what SIGQUIT is
            self._postpone_cold_shutdown(signal.SIGINT)
        # An idle hub would look whether it has been stopped when its poll times out, a second later perhaps.
        self._wake()
        if self._starting is not None:
            self._starting.cancel()
        elif self._stop_was_asked:
            self._thread.call(self._thread.hurry)
        else:
            self._stop_was_asked = True
            self._thread.call(self._thread.drain)

    def on_close(self) -> None:
        """The worker stops, its consumer next. The first that is heard of `app.control.shutdown()`."""
        self._accepts = False
        self._stop_was_asked = True
        self._thread.call(self._thread.drain)

    def on_stop(self) -> None:
        """Wait until the jobs and the service have ended; report everything.

        Celery calls it at the end of a warm shutdown and at the beginning of a cold one: the latter perhaps in
        a signal handler (see `_postpone_cold_shutdown`), which may well interrupt the former.
        """
        if self._starting is not None:
            self._starting.cancel()
            return
        if self._wound_down or self._given_up or not self._thread.is_alive:
            return
        cold = state.should_terminate is not None and state.should_terminate is not False
        self.on_close()
        if cold:
            self._thread.call(self._thread.hurry)
            self._thread.call(self._thread.cancel_all, CancelReason.SHUTDOWN)
        self._thread.call(self._thread.wind_down, self._note_wound_down)
        if self._work_until_wound_down(_COLD_STOP_S if cold else None):
            self._end_loop()
            self._close_wake_sockets()
        else:
            self._given_up = True
            logger.error("The worker ends although %d coroutines have not", self.running)

    def on_terminate(self) -> None:
        self.on_stop()

    def _work_until_wound_down(self, limit_s: float | None) -> bool:
        """Do the hub's work in its place: the loop in which Celery runs it has ended by now."""
        end_s = None if limit_s is None else time.monotonic() + limit_s
        poller = select.poll()
        poller.register(self._wake_reader, select.POLLIN)
        while not self._wound_down and self._thread.is_alive:
            # With a limit this may be a signal handler, in the middle of a timer or callback of the hub.
            wait_s = self._work_for_hub() if end_s is None else end_s - time.monotonic()
            if wait_s < 0:
                break
            poller.poll(min(wait_s, 1.0) * 1000)
            self._serve_mailbox()
        if not self._thread.is_alive:  # then all that it will ever have put is there
            self._mailbox.serve(sys.maxsize)
        return self._wound_down

    def _work_for_hub(self) -> float:
        """Run kombu's due timers (heartbeats) and queued callbacks (acks, events); seconds until the next."""
        if self._hub is None:
            return 1.0
        # No public name for this. One pass only: the reader of an AMQP socket queues itself anew each time.
        for callback in self._hub._pop_ready():
            _guarded(callback)
        wait_s = 1.0
        try:
            wait_s = self._hub.fire_timers()
        except Exception:
            logger.exception("A timer of the worker failed")
        return wait_s

    def _note_wound_down(self) -> None:
        self._wound_down = True

    def _end_loop(self) -> None:
        self._thread.call(self._thread.end)
        self._thread.join(_COLD_STOP_S)
        self._mailbox.serve(sys.maxsize)

    def _close_wake_sockets(self) -> None:
        if self._hub is not None and self._wake_reader.fileno() != -1:
            self._hub.remove(self._wake_reader)
        self._wake_reader.close()
        self._wake_writer.close()

    # -- Celery's remote commands ----------------------------------------------------------------------------

    def terminate_job(self, pid: int, signum: int | None = None) -> None:
        """Nothing: the pid is the worker's own. The cancellation comes by `_Delivery.terminate`."""

    def grow(self, n: int = 1) -> None:
        logger.info("The pool for coroutines starts every task at once; growing it by %d changes nothing", n)

    def shrink(self, n: int = 1) -> None:
        logger.info(
            "The pool for coroutines starts every task at once; shrinking it by %d changes nothing", n
        )

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),
            "running": self.running,
            "processes": [os.getpid()],
            "timeouts": [self.options.get("soft_timeout") or 0, self.options.get("timeout") or 0],
        }


def _trace(deliveries: Sequence[_Delivery], trace: Callable[[], Any]) -> None:
    """Run Celery's tracer once and tell each delivery what came of it."""
    try:
        result = trace()
    except (WorkerShutdown, WorkerTerminate):
        raise
    except BaseException:  # the tracer lets a plain task's SystemExit through
        failure = ExceptionInfo()
        for delivery in deliveries:
            _guarded(delivery.failed, failure)
    else:
        failed, value, _runtime_s = result
        if failed and isinstance(value.exception, ExceptionWithTraceback):
            # On its way out of a prefork child it loses this wrapping, without which task-retried shows the
            # reason of the retry and not the repr of a Retry.
            value.exception = value.exception.exc
        for delivery in deliveries:
            _guarded(delivery.succeeded, result)


def _tell_terminated(delivery: _Delivery, reason: str | None) -> None:
    # Request.on_failure announces the revoke, unless that has been done.
    try:
        raise Terminated(reason)
    except Terminated:
        _guarded(delivery.failed, ExceptionInfo())


def _break_off() -> NoReturn:
    """In the hub's loop: Celery takes its connection for lost, and makes everything that depends on it anew."""
    raise ConnectionResetError("the connection brings no messages")


def _guarded(function: Callable[..., object], *args: object, **kwargs: object) -> None:
    # In the hub's loop an exception would end the worker.
    try:
        function(*args, **kwargs)
    except Exception:
        # By its name: the repr of a Request's method shows the task's arguments.
        name = getattr(function, "__qualname__", type(function).__name__)
        logger.exception("A call of the pool in the hub thread failed: %s", name)


def _refuse(message: str, error: BaseException | None = None) -> NoReturn:
    # Errors of ours say what to do; any other needs its traceback.
    logger.critical(
        "The worker cannot start. %s", message, exc_info=None if isinstance(error, ChatQueueError) else error
    )
    raise WorkerShutdown(EX_FAILURE)
