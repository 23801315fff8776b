"""What lives on the pool's loop for as long as the worker does: lease, clock, publisher, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from celery import Celery, Task, signals
from celery.app.task import Context

from chatq.contract.errors import ServerError, ServerUnreachable
from chatq.contract.live_settings import LOOK_S, LiveSettings
from chatq.contract.states import State
from chatq.ledger.call import Call
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Admitted
from chatq.ledger.server import PATIENCE_S, AsyncServer
from chatq.traces import traces
from chatq_worker import transport
from chatq_worker.completion import Completer
from chatq_worker.dispatch import Clock
from chatq_worker.hearing import Hearing
from chatq_worker.key_holders import WITHOUT_KEY, KeyHolders, without_key
from chatq_worker.lease import Lease
from chatq_worker.paused_connections import PausedConnections
from chatq_worker.pool import CoroutinePool
from chatq_worker.prices import call_price, load_table, uses_table
from chatq_worker.provider_client import HttpProviderClient
from chatq_worker.published import digest_of, published, rules
from chatq_worker.publisher import make_publisher
from chatq_worker.status import StatusChecker
from chatq_worker.stopping import StopReason, StopReasons
from chatq_worker.submission import Submission
from chatq_worker.tasks import COMPLETE, Ask, Complete, Hear, Submit, register

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 0.2
_HURRY_S: Final = 5.0
"""Time to hand jobs back in, when the end was asked for twice or the grace is over."""
_SWALLOWED_S: Final = 0.5
"""After this a background task that was cancelled and goes on is cancelled again."""


def new_worker_id() -> str:
    """An id for one run of one worker process; it becomes part of key and queue names."""
    host = "".join(c if c.isalnum() or c in "-." else "-" for c in socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


async def connect(server: AsyncServer) -> None:
    """Connect to a server that was there a moment ago: one that is restarted just now is waited for, as by everybody.

    Raises a `ServerError`.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await server.client()
            return
        except ServerUnreachable:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_AGAIN_S)


class WorkerService:
    """The `LoopService` of a chatq worker."""

    def __init__(
        self, *, worker: str, settings: LiveSettings, app: Celery, server: AsyncServer, slots: int
    ) -> None:
        self._worker = worker
        self._settings = settings
        self._app = app
        self._server = server
        self._slots = slots
        self._ledger = Ledger(settings.current.redis.key_prefix)
        self._stops = StopReasons()
        self._publisher = make_publisher(
            app,
            self._ledger.keys,
            COMPLETE,
            self._hand_back,
            server=server,
            broker_url=settings.current.redis.broker_url,
            stock=transport.is_stock(),
        )
        self._version = version("chatq")
        self._without_key: list[str] = []
        self._look_at_settings()
        self._published = ""
        self._hurried = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._small: set[asyncio.Task[object]] = set()

    async def start(self, pool: CoroutinePool) -> None:
        """Connect, register and begin to tick. Raises a `ServerError` when Redis cannot carry the queue."""
        self._pool = self._stops.pool = pool
        self._loop = asyncio.get_running_loop()
        await connect(self._server)
        self._provider = HttpProviderClient(
            answer_bytes=lambda: int(self._settings.current.bounds.answer_bytes)
        )
        holders = KeyHolders(
            worker=self._worker, settings=self._settings, ledger=self._ledger, server=self._server
        )
        checker = StatusChecker(
            settings=self._settings,
            ledger=self._ledger,
            server=self._server,
            provider=self._provider,
            holders=holders,
        )
        self._paused = PausedConnections(
            settings=self._settings,
            ledger=self._ledger,
            server=self._server,
            checker=checker,
            holders=holders,
            leads=lambda: self._clock.leads,
        )
        self._completer = Completer(
            worker=self._worker,
            settings=self._settings,
            ledger=self._ledger,
            server=self._server,
            provider=self._provider,
            on_paused=self._paused.confirm,
            is_key_elsewhere=holders.are_others,
            traces=traces("chatq-worker"),
        )
        register(
            self._app,
            Complete(self._completer, self._publisher, self._stops),
            Ask(checker),
            Hear(self._worker, self._ledger, self._server),
            Submit(
                Submission(
                    settings=self._settings,
                    ledger=self._ledger,
                    server=self._server,
                    traces=traces("chatq-worker"),
                )
            ),
        )
        hearing = Hearing(worker=self._worker, publisher=self._publisher, reconnect=pool.reconnect)
        self._lease = Lease(
            worker=self._worker,
            lease_s=self._lease_s,
            slots=self._slots,
            facts=self._facts,
            ledger=self._ledger,
            server=self._server,
            stop_jobs=self._stop_jobs,
            lost=self._drop_everything,
            on_renewed=hearing.note,
        )
        self._clock = Clock(
            worker=self._worker,
            lease_s=self._lease_s,
            ledger=self._ledger,
            server=self._server,
            publisher=self._publisher,
            on_cancel=self._lease.renew_soon,
            on_restart=self._settle_again,
            on_lead=self._publish_settings,
            who_answers=holders.who_answers,
        )
        signals.task_revoked.connect(self._cancel_revoked, weak=False)
        await self._lease.renew()
        self._publisher.start()
        if any(uses_table(connection) for connection in self._settings.current.connections.values()):
            await asyncio.to_thread(load_table)
        self._background = [
            asyncio.create_task(self._lease.keep(), name="chatq-lease"),
            asyncio.create_task(self._clock.run(), name="chatq-clock"),
            asyncio.create_task(self._clock.listen(), name="chatq-listen"),
            asyncio.create_task(self._check_connections(checker), name="chatq-checks"),
            asyncio.create_task(self._paused.watch(), name="chatq-paused"),
            asyncio.create_task(self._watch_settings(), name="chatq-settings"),
        ]

    def _look_at_settings(self) -> None:
        settings = self._settings.current
        self._digest, self._same_as = digest_of(settings), digest_of(settings, keys=False)
        lacking = without_key(settings)
        if lacking and lacking != self._without_key:
            logger.warning(
                "no key can be read here for %s: jobs go to workers that have it", ", ".join(lacking)
            )
        self._without_key = lacking

    async def _check_connections(self, checker: StatusChecker) -> None:
        try:
            await checker.check_all()
        except ServerError as error:
            logger.warning("the connections were not checked: %s", error.message)

    def _lease_s(self) -> float:
        return self._settings.current.worker.lease

    def _facts(self) -> dict[str, Any]:
        return {
            "version": self._version,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "settings": self._same_as,
            "config_problems": self._settings.problems,
            "needs_restart": self._settings.kept,
            WITHOUT_KEY: self._without_key,
        }

    async def _publish_settings(self) -> None:
        settings, digest = self._settings.current, self._digest
        if await self._server.run(self._ledger.publish(digest, published(settings), rules(settings))):
            logger.info("published the settings of this worker")
        self._published = digest

    async def _watch_settings(self) -> None:
        """Take up what changes in config.yaml, until cancelled; the leading worker publishes it, and prices."""
        while True:
            await asyncio.sleep(LOOK_S)
            change = await asyncio.to_thread(self._settings.look)
            if change is not None:
                self._look_at_settings()
            if not self._clock.leads:
                continue
            try:
                if self._published != self._digest:
                    await self._publish_settings()
                await self._tell_prices()
            except ServerError as error:
                logger.warning("settings or prices were not published: %s", error.message)
            for name in change.connections if change is not None else ():
                self._paused.confirm(name, mended=True)

    async def _tell_prices(self) -> None:
        """Tell the ledger the prices that budgets ask for."""
        wanted = await self._server.run(self._ledger.wanted_prices())
        connections = self._settings.current.connections
        known = [(name, model) for name, model in wanted if name in connections]
        if known:
            prices = await asyncio.to_thread(
                lambda: {(name, model): call_price(connections[name], model) for name, model in known}
            )
            await self._server.run(self._ledger.tell_prices(prices))

    async def _settle_again(self) -> None:
        self._publisher.publish(await self._completer.settle_again())

    def _stop_jobs(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            self._pool.cancel(job_id, StopReason.CANCELLED)

    def _drop_everything(self) -> None:
        for job_id in self._pool.running_ids():
            self._pool.cancel(job_id, StopReason.LOST)

    def _hand_back(self, admitted: Admitted) -> None:
        """The publisher could not send a message: its job goes elsewhere. From any thread."""
        self._ask_soon(
            self._ledger.settle(admitted.job_id, admitted.token, State.QUEUED),
            otherwise=f"job {admitted.job_id} waits for its claim to end",
        )

    def _cancel_revoked(self, sender: Task, request: Context, terminated: bool, **_: object) -> None:
        """Celery has thrown a message away because the task had been revoked: a revoke is a cancel. In the hub thread.

        (What runs already is cancelled by the pool; Celery says `terminated` then.)
        """
        if sender.name == COMPLETE and not terminated:
            self._ask_soon(self._ledger.cancel(request.id), otherwise=f"job {request.id} was not cancelled")

    def _ask_soon(self, call: Call[Any], *, otherwise: str) -> None:
        """Make a call of the ledger. From any thread; `otherwise` is logged when it fails."""

        async def ask() -> None:
            try:
                await self._server.run(call)
            except ServerError as error:
                logger.warning("%s: %s", otherwise, error.message)

        def begin() -> None:
            task: asyncio.Task[object] = asyncio.ensure_future(ask())
            self._small.add(task)
            task.add_done_callback(self._small.discard)

        self._loop.call_soon_threadsafe(begin)

    async def drain(self) -> None:
        """Take no more; let calls end within `worker.grace`; hand the rest back in line at once."""
        grace_s = self._settings.current.worker.grace
        deadline = time.monotonic() + grace_s
        logger.info("stopping: no new jobs; %d running have %g s", self._pool.running, grace_s)
        await self._leave_line(leave=False)
        while self._pool.running and time.monotonic() < deadline and not self._hurried.is_set():
            await self._wait_a_little(min(0.05, deadline - time.monotonic()))
        if self._pool.running:
            logger.info("handing back %d running jobs", self._pool.running)
            for job_id in self._pool.running_ids():
                self._pool.cancel(job_id, StopReason.HANDED_BACK)
            end = time.monotonic() + _HURRY_S
            while self._pool.running and time.monotonic() < end:  # noqa: ASYNC110 - the pool tells its end to nobody
                await asyncio.sleep(0.01)
        if self._pool.running:
            # Redis is away: what cannot be handed back is found when the lease runs out.
            self._server.give_up()

    async def _wait_a_little(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def hurry(self) -> None:
        """Asked again to stop: hand back now."""
        self._hurried.set()

    async def stop(self) -> None:
        """Leave the fleet and close everything."""
        await self._end_background()
        await self._paused.stop()
        await self._leave_line(leave=True)
        await self._publisher.stop()
        await asyncio.gather(*self._small, return_exceptions=True)
        await self._provider.close()
        await self._server.close()

    async def _end_background(self) -> None:
        # More than once: redis-py swallows a cancellation that comes while it gives up a broken connection.
        left = set(self._background)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_SWALLOWED_S)
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _leave_line(self, *, leave: bool) -> None:
        most = 500
        try:
            while await self._server.run(self._ledger.drain(self._worker, leave=leave, most=most)) >= most:
                pass
        except ServerError as error:
            logger.warning("could not take leave of the ledger: %s", error.message)
