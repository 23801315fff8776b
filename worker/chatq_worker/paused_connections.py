"""Connections that were paused because their provider refused the account.

The refusal is confirmed by a status check, and the check is made again, in growing pauses, until it proves that the
cause is gone; such a check ends the pause (`status.py`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from chatq.contract.errors import ServerError
from chatq.contract.live_settings import LiveSettings
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq.logs import fields
from chatq_worker.key_holders import KeyHolders
from chatq_worker.status import CHECK, StatusChecker

logger = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""How often the leading worker looks which connections are paused."""
FIRST_PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 900.0


class PausedConnections:
    """Confirms and lifts pauses, for one worker. `leads()`: whether this worker leads the clock."""

    def __init__(
        self,
        *,
        settings: LiveSettings,
        ledger: Ledger,
        server: AsyncServer,
        checker: StatusChecker,
        holders: KeyHolders,
        leads: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._server = server
        self._checker = checker
        self._holders = holders
        self._leads = leads
        self._due: dict[str, tuple[float, float]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def confirm(self, connection: str, *, mended: bool = False) -> None:
        """Check a connection that was paused just now, or whose settings are others now (`mended`).

        On the worker's loop.
        """
        under_way = self._under_way.get(connection)
        if under_way is not None:
            if not mended:
                return
            under_way.cancel()  # it asks under settings that hold no more
        task = asyncio.create_task(
            self._look_into(connection, mended=mended), name=f"chatq-confirm-{connection}"
        )
        self._under_way[connection] = task
        task.add_done_callback(lambda _: self._ended(connection, task))

    def _ended(self, connection: str, task: asyncio.Task[None]) -> None:
        if self._under_way.get(connection) is task:
            del self._under_way[connection]

    async def watch(self) -> None:
        """Look at what is paused until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._leads():
                self._due.clear()
                continue
            try:
                paused = await self._server.run(self._ledger.paused())
            except ServerError as error:
                logger.warning("paused connections were not looked at: %s", error.message)
                continue
            self._schedule(paused)

    def _schedule(self, paused: Mapping[str, Mapping[str, Any]]) -> None:
        now = time.monotonic()
        refused = {name for name, reason in paused.items() if reason["code"] != "operator"}
        self._due = {name: due for name, due in self._due.items() if name in refused}
        for name in refused:
            at, pause_s = self._due.get(name, (now + FIRST_PAUSE_S, FIRST_PAUSE_S))
            if at <= now:
                self.confirm(name)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                at = now + pause_s
            self._due[name] = (at, pause_s)

    async def _look_into(self, name: str, *, mended: bool) -> None:
        if name not in self._settings.current.connections:
            return
        told = fields(connection=name)
        try:
            if await self._holders.are_others(name):
                question = {"id": secrets.token_hex(12), "kind": CHECK, "connection": name}
                await self._server.run(self._ledger.ask(orjson.dumps(question)))
                return
            await self._checker.check_and_tell(name, mended=mended)
            reason = (await self._server.run(self._ledger.paused())).get(name)
            if reason is not None:
                # Not its message: that has the provider's words, which may quote what it was sent.
                logger.warning("connection is paused: %s. %s", reason["code"], reason["remedy"], extra=told)
        except ServerError as error:
            logger.warning("the pause of a connection was not confirmed: %s", error.message, extra=told)

    async def stop(self) -> None:
        """Break off the checks under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
