"""The front's side of the process that runs its batches: starts it, tells it of new ones, starts it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

from chatq.contract.settings import Settings

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0
_END_S: Final = 10.0


class KeeperProcess:
    """A child, from when there is something to do on. What it was told before it died it finds by itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Have it look for what there is to do."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="chatq-batch-keeper")

    def tell(self, batch_id: str) -> None:
        """There is something to do about a batch."""
        self.start()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(f"{batch_id}\n".encode())

    async def close(self) -> None:
        """End it; batches stay where they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _run(self) -> None:
        while True:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "chatq.http",
                "keeper",
                "--config",
                str(self._settings.source_path),
                stdin=PIPE,
                start_new_session=True,  # Ctrl-C is for the front; it ends this one
            )
            code = await self._process.wait()
            logger.error("the process that runs batches ended with exit code %s; it is started again", code)
            await asyncio.sleep(_AGAIN_S)
