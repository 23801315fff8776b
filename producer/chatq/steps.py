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

from chatq.ledger.announcements import BlockingEar, Ear
from chatq.ledger.call import Call
from chatq.ledger.server import AsyncServer, Server

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hear:
    """Wait until something is said on a channel, at most `seconds`. Answer: whether it was, or may have been.

    The channel is listened to from the first step on, and steps have one; with 0 seconds nothing is waited for. While
    nothing can be heard it is `DEAF_S` at most.
    """

    channel: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Steps = Generator[Call[Any] | Hear | Pause, Any, T]


def resumed(steps: Steps[T], answer: object) -> Steps[T]:
    """The rest of steps, of which the last that was taken has this answer."""
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        answer = yield step


def drive(steps: Steps[T], server: Server) -> T:
    """Run steps, blocking."""
    try:
        step = steps.send(None)
    except StopIteration as stop:  # there is nothing to ask, as with most jobs of a batch
        return stop.value  # type: ignore[no-any-return]
    with contextlib.ExitStack() as cleanup:
        ear: BlockingEar | None = None
        answer: Any
        try:
            while True:
                if isinstance(step, Call):
                    answer = server.run(step)
                elif isinstance(step, Pause):
                    time.sleep(step.seconds)
                    answer = None
                else:
                    if ear is None:
                        server.client()
                        ear = cleanup.enter_context(
                            contextlib.closing(server.announcements.listen(step.channel))
                        )
                    answer = bool(step.seconds) and ear.hear(step.seconds)
                step = steps.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            steps.close()


async def drive_async(steps: Steps[T], server: AsyncServer) -> T:
    """Run steps on this event loop."""
    try:
        step = steps.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    with contextlib.ExitStack() as cleanup:
        ear: Ear | None = None
        answer: Any
        try:
            while True:
                if isinstance(step, Call):
                    answer = await server.run(step)
                elif isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    answer = None
                else:
                    if ear is None:
                        await server.client()
                        ear = server.announcements.listen(step.channel)
                        cleanup.callback(server.announcements.leave, ear)
                        await ear.ready()
                    answer = bool(step.seconds) and await ear.hear(step.seconds)
                step = steps.send(answer)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            steps.close()
