"""The clock: what time does to jobs, and who goes next.

Every worker runs one; the ledger lets one of them lead, and another takes over within `LEADER_S` when it falls
silent. The leader reaps what ran out, lets due jobs into line, and admits lanes that are due; a kick (a message on a
channel, sent at every enqueue) wakes it at once, and a lost kick costs one tick.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import orjson
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from chatq.contract.errors import ServerError
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq.logs import fields
from chatq_worker.publisher import Publisher
from chatq_worker.tasks import ASK

logger = logging.getLogger(__name__)

LEADER_S: Final = 2.5
"""How long a leader may be silent before another leads."""
TICK_S: Final = 1.0
_ADMIT_AT_A_TIME: Final = 100


class Clock:
    """The clock of one worker. `run` and `listen` go on until cancelled."""

    def __init__(
        self,
        *,
        worker: str,
        lease_s: Callable[[], float],
        ledger: Ledger,
        server: AsyncServer,
        publisher: Publisher,
        on_cancel: Callable[[], None],
        on_restart: Callable[[], Awaitable[None]],
        on_lead: Callable[[], Awaitable[None]],
        who_answers: Callable[[str, str], Awaitable[str]],
    ) -> None:
        """`who_answers(connection, worker)`: who is asked about a connection, where the ledger chose this worker."""
        self._worker = worker
        self._lease_s = lease_s
        self._ledger = ledger
        self._server = server
        self._publisher = publisher
        self._on_cancel = on_cancel
        self._on_restart = on_restart
        self._on_lead = on_lead
        self._who_answers = who_answers
        self._run_id = ""
        self._leads = False
        self._kicked: set[str] = set()
        self._kick = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this worker led the clock at its last tick."""
        return self._leads

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                wait_s = await self._tick()
            except ServerError as error:
                logger.warning("the clock waits: %s", error.message)
                wait_s = TICK_S
            wait_s = await self._serve_kicks_until(time.monotonic() + min(wait_s, TICK_S))

    async def _serve_kicks_until(self, deadline: float) -> float:
        """Admit kicked lanes as they come; returns when the next tick is due."""
        while (left := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._kick.wait()
            except TimeoutError:
                break
            self._kick.clear()
            lanes, self._kicked = self._kicked, set()
            if "" in lanes:
                break
            if self._leads:
                try:
                    deadline = min(deadline, time.monotonic() + await self._admit(lanes))
                except ServerError as error:
                    logger.warning("the clock waits: %s", error.message)
        return 0.0

    async def _tick(self) -> float:
        """One tick; returns the seconds until something is due."""
        run_id = await self._server.run_id()
        if run_id != self._run_id:
            if self._run_id:
                logger.warning("the Redis server was restarted; settling again what was settled last")
                await self._on_restart()
            self._run_id = run_id
        ticked = await self._server.run(
            self._ledger.tick(self._worker, run_id, leader_s=LEADER_S, lease_s=self._lease_s())
        )
        if not ticked.leads:
            self._leads = False
            return max(0.05, ticked.wait_ms / 1000)
        if not self._leads:
            self._leads = True
            logger.info("this worker leads the clock")
            await self._on_lead()
        for dead in ticked.dead_workers:
            logger.warning("a worker is silent; its jobs went back in line", extra=fields(worker=dead))
            self._publisher.delete_queue(dead)
        await self._pass_questions_on()
        return min(ticked.wait_ms / 1000, await self._admit(ticked.due_lanes))

    async def _pass_questions_on(self) -> None:
        """Send what callers asked about connections to workers; no limit and no pause holds it up."""
        for question, worker in await self._server.run(self._ledger.asked()):
            asked = orjson.loads(question)
            worker = await self._who_answers(asked["connection"], worker)
            arguments = (asked["id"], asked["kind"], asked["connection"])
            self._publisher.publish_task(ASK, arguments, worker=worker)

    async def _admit(self, lanes: Iterable[str]) -> float:
        """Admit from each lane in turn until none may go on; returns the seconds until one may."""
        ready = list(lanes)
        wait_s = TICK_S
        while ready:
            admissions = await asyncio.gather(
                *(self._server.run(self._ledger.admit(lane, _ADMIT_AT_A_TIME)) for lane in ready)
            )
            for admission in admissions:
                self._publisher.publish(admission.admitted)
            again = [
                lane for lane, admission in zip(ready, admissions, strict=True) if admission.reason == "more"
            ]
            for admission in admissions:
                if admission.reason not in {"more", "empty"}:
                    wait_s = min(wait_s, admission.wait_ms / 1000)
            ready = again
        return wait_s

    async def listen(self) -> None:
        """Hear kicks and cancellations until cancelled; the connection is made again when it breaks."""
        while True:
            try:
                client = await self._server.client()
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._ledger.keys.kick, self._ledger.keys.cancels(self._worker))
                    self._wake("")  # whatever was said while nobody listened
                    self._on_cancel()
                    await self._hear(channel)
            except (RedisError, ServerError, OSError):
                await asyncio.sleep(0.2)

    async def _hear(self, channel: PubSub) -> None:
        kick = self._ledger.keys.kick.encode()
        while True:
            message = await channel.get_message(timeout=None)
            if message is None:
                continue
            if message["channel"] == kick:
                self._wake(message["data"].decode())
            else:
                self._on_cancel()

    def _wake(self, lane: str) -> None:
        self._kicked.add(lane)
        self._kick.set()
