"""A call of the ledger is awaited to its end, whatever happens to who awaits it."""

from __future__ import annotations

import asyncio

import pytest

from chatq_worker.completion import _to_the_end


def test_what_was_begun_is_awaited_however_often_its_caller_is_cancelled() -> None:
    """A worker that loses its lease twice while its answer waits for the server cancels its calls twice."""

    async def cancelled(times: int) -> tuple[str, bool]:
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def ask() -> str:
            return await reply

        waiting = asyncio.ensure_future(_to_the_end(ask()))
        for _ in range(times):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        reply.set_result("the reply")
        return await waiting

    assert asyncio.run(cancelled(0)) == ("the reply", False)
    assert asyncio.run(cancelled(1)) == ("the reply", True)
    assert asyncio.run(cancelled(3)) == ("the reply", True)


def test_a_call_that_is_itself_cancelled_is_not_waited_for() -> None:
    """So a loop that is closing can end."""

    async def cancel_all() -> None:
        waiting = asyncio.ensure_future(_to_the_end(asyncio.sleep(3600)))
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await waiting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel_all())
