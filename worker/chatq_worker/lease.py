"""The worker's lease: registering, saying once a second that we live, and hearing which jobs are to stop.

Everything that this worker holds goes with its lease. When the lease ran out (the process was stopped, Redis was
away for longer), others have the jobs: the calls here are aborted, and the worker registers anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from chatq.contract.errors import ServerError
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer

logger = logging.getLogger(__name__)

_PERIOD_S: Final = 1.0
_RENEWALS_IN_A_LEASE: Final = 4


class Lease:
    """One worker's lease. On the loop: `lease_s()` and `facts()` are asked at each renewal, and `stop_jobs(ids)`,
    `lost()` and `on_renewed(stalled=...)` are called."""

    def __init__(
        self,
        *,
        worker: str,
        lease_s: Callable[[], float],
        slots: int,
        facts: Callable[[], Mapping[str, Any]],
        ledger: Ledger,
        server: AsyncServer,
        stop_jobs: Callable[[Iterable[str]], None],
        lost: Callable[[], None],
        on_renewed: Callable[..., None],
    ) -> None:
        self._worker = worker
        self._lease_s = lease_s
        self._slots = slots
        self._facts = facts
        self._ledger = ledger
        self._server = server
        self._stop_jobs = stop_jobs
        self._lost = lost
        self._on_renewed = on_renewed
        self._registered = False
        self._soon = asyncio.Event()

    async def renew(self) -> None:
        """Register, or extend the lease. Raises a `ServerError` when Redis did not answer."""
        lease_s = self._lease_s()
        call = self._ledger.renew(
            self._worker,
            lease_s=lease_s,
            slots=self._slots,
            facts=self._facts(),
            registered=self._registered,
        )
        renewed = await self._server.run(call, patience_s=lease_s)
        if renewed.status == "lost":
            logger.warning("the lease ran out; dropping what ran here and registering anew")
            self._registered = False
            self._lost()
            await self.renew()
            return
        self._registered = True
        self._on_renewed(stalled=renewed.stalled)
        if renewed.stop:
            self._stop_jobs(renewed.stop)

    def renew_soon(self) -> None:
        """Renew before the second is over: the ledger has something to say, of a job that was cancelled perhaps."""
        self._soon.set()

    async def keep(self) -> None:
        """Renew until cancelled."""
        while True:
            period_s = min(_PERIOD_S, self._lease_s() / _RENEWALS_IN_A_LEASE)
            try:
                async with asyncio.timeout(period_s):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            try:
                await self.renew()
            except ServerError as error:
                logger.warning("the lease could not be renewed: %s", error.message)
