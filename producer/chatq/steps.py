"""Running the client's steps, blocking or on an event loop.

The client says what to ask of the ledger as generators that yield steps and get their answers; so the rules stand
once, and `ChatQueue` and `AsyncChatQueue` differ only in who drives them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import RedisError

from chatq.ledger.call import Call
from chatq.ledger.server import AsyncServer, Server

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hear:
    """Wait until something is said on a channel, at most `seconds`. Answer: whether it was.

    The channel is listened to from its first step on; with 0 seconds nothing is waited for.
    """

    channel: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Steps = Generator[Call[Any] | Hear | Pause, Any, T]


def drive(steps: Steps[T], server: Server) -> T:
    """Run steps, blocking."""
    with contextlib.ExitStack() as cleanup:
        subscription: Any = None
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Call):
                    answer = server.run(step)
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                    answer = None
                else:
                    try:
                        if subscription is None:
                            subscription = cleanup.enter_context(server.client().pubsub())
                            subscription.subscribe(step.channel)
                            subscription.get_message(timeout=step.seconds or 1.0)
                        answer = bool(step.seconds and _said(subscription.get_message(timeout=step.seconds)))
                    except RedisError:
                        # The next call says whether the server is there; the channel is only a wake-up.
                        subscription, answer = None, False
                        time.sleep(min(step.seconds, 0.1))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            steps.close()


async def drive_async(steps: Steps[T], server: AsyncServer) -> T:
    """Run steps on this event loop."""
    async with contextlib.AsyncExitStack() as cleanup:
        subscription: Any = None
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, Call):
                    answer = await server.run(step)
                elif isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    answer = None
                else:
                    try:
                        if subscription is None:
                            subscription = await cleanup.enter_async_context((await server.client()).pubsub())
                            await subscription.subscribe(step.channel)
                            await subscription.get_message(timeout=step.seconds or 1.0)
                        answer = bool(
                            step.seconds and _said(await subscription.get_message(timeout=step.seconds))
                        )
                    except RedisError:
                        subscription, answer = None, False
                        await asyncio.sleep(min(step.seconds, 0.1))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            steps.close()


def _said(message: dict[str, Any] | None) -> bool:
    return message is not None and message["type"] == "message"
