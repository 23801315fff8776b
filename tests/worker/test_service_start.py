"""How the worker's service begins when its server is not quite there."""

from __future__ import annotations

import asyncio

import pytest

from chatq.contract.errors import ServerUnreachable
from chatq.ledger.server import AsyncServer
from chatq_worker import service
from chatq_worker.service import connect
from servers import RealServer


def test_a_server_that_is_restarted_just_now_is_waited_for() -> None:
    real = RealServer()

    async def attempt() -> None:
        server = AsyncServer(lambda: real.url)
        connecting = asyncio.create_task(connect(server))
        done, _ = await asyncio.wait([connecting], timeout=0.05)
        assert not done
        await asyncio.to_thread(real.start)
        await connecting
        assert await server.run_id()
        await server.close()

    try:
        asyncio.run(attempt())
    finally:
        real.remove()


def test_one_that_does_not_come_back_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.1)
    real = RealServer()

    async def attempt() -> None:
        with pytest.raises(ServerUnreachable):
            await connect(AsyncServer(lambda: real.url))

    asyncio.run(attempt())
    real.remove()
