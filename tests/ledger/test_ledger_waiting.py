"""Waiting for jobs: many wait over few connections, ask nothing meanwhile, and hear of every end."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest
from ledger_driver import LedgerDriver
from redis.asyncio.client import PubSub

from chatq import AsyncChatQueue, ChatQueue
from chatq.contract.states import State
from chatq.core.jobs import POLL_S
from servers import RealServer

WAIT_S = 30.0
AT_ONCE_S = POLL_S / 2
"""What comes sooner was heard, not found by looking again."""


@pytest.fixture
def queue(real_ledger: LedgerDriver, valkey: RealServer) -> Iterator[ChatQueue]:
    with ChatQueue(redis_url=valkey.url, key_prefix=real_ledger.ledger.keys.prefix) as queue:
        yield queue


def cancel(ledger: LedgerDriver, job_id: str) -> None:
    """The jobs of these tests end so: no worker is needed."""
    assert ledger.run(ledger.ledger.cancel(job_id)) == "cancelled"


def listened_to(ledger: LedgerDriver) -> int:
    return len(ledger.client.pubsub_channels())


def until(condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connections(ledger: LedgerDriver) -> int:
    """All but the test's own."""
    return len(ledger.client.client_list()) - 1


def test_200_who_wait_in_one_event_loop_share_a_few_connections_and_hear_at_once(
    real_ledger: LedgerDriver, valkey: RealServer
) -> None:
    ids = real_ledger.add_many(200)

    async def wait_for_all() -> tuple[int, float, set[State]]:
        async with AsyncChatQueue(redis_url=valkey.url, key_prefix="t") as queue:
            waits = [asyncio.create_task(queue.wait(job_id, WAIT_S)) for job_id in ids]
            await asyncio.to_thread(until, lambda: listened_to(real_ledger) == 200)
            open_ = connections(real_ledger)
            for job_id in ids:
                cancel(real_ledger, job_id)
            ended = time.monotonic()
            states = {record.state for record in await asyncio.gather(*waits)}
            return open_, time.monotonic() - ended, states

    open_, took_s, states = asyncio.run(wait_for_all())
    assert open_ <= 5
    assert took_s < AT_ONCE_S
    assert states == {State.CANCELLED}


def test_threads_that_wait_share_a_few_connections_and_hear_at_once(
    real_ledger: LedgerDriver, queue: ChatQueue
) -> None:
    ids = real_ledger.add_many(50)
    with ThreadPoolExecutor(50) as threads:
        waits = [threads.submit(queue.wait, job_id, WAIT_S) for job_id in ids]
        until(lambda: listened_to(real_ledger) == 50)
        assert connections(real_ledger) <= 17
        for job_id in ids:
            cancel(real_ledger, job_id)
        ended = time.monotonic()
        assert {wait.result().state for wait in waits} == {State.CANCELLED}
        assert time.monotonic() - ended < AT_ONCE_S


@pytest.mark.thorough
def test_who_waits_asks_nothing_meanwhile(real_ledger: LedgerDriver, queue: ChatQueue) -> None:
    job_id = real_ledger.add()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(queue.wait, job_id, WAIT_S)
        until(lambda: listened_to(real_ledger))
        time.sleep(0.2)  # it looks once more when it listens
        asked = evaluated(real_ledger)
        time.sleep(1.5)
        assert evaluated(real_ledger) == asked
        cancel(real_ledger, job_id)
        wait.result()


def evaluated(ledger: LedgerDriver) -> int:
    return int(ledger.client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_channels_that_nobody_waits_on_any_more_are_left_when_they_are_many(
    real_ledger: LedgerDriver, queue: ChatQueue
) -> None:
    patient, *others = real_ledger.add_many(65)

    def give_up_soon(job_id: str) -> None:
        with pytest.raises(TimeoutError):
            queue.wait(job_id, 0.05)

    with ThreadPoolExecutor(16) as threads:
        wait = threads.submit(queue.wait, patient, WAIT_S)
        until(lambda: listened_to(real_ledger))
        list(threads.map(give_up_soon, others[1:]))
        assert listened_to(real_ledger) == 64
        give_up_soon(others[0])
        until(lambda: listened_to(real_ledger) == 1)
        cancel(real_ledger, patient)
        wait.result()


def test_what_is_announced_while_the_connection_is_broken_is_made_up_for(
    real_ledger: LedgerDriver, queue: ChatQueue
) -> None:
    first, second = real_ledger.add_many(2)
    with ThreadPoolExecutor(2) as threads:
        waits = [threads.submit(queue.wait, job_id, WAIT_S) for job_id in (first, second)]
        until(lambda: listened_to(real_ledger) == 2)
        call = real_ledger.ledger.cancel(first)
        real_ledger.run(real_ledger.ledger.read([first]))
        with real_ledger.client.pipeline() as unseen:
            unseen.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            unseen.execute_command(*call.command())
            ended = time.monotonic()
            unseen.execute()
        assert waits[0].result().state == State.CANCELLED
        channel = real_ledger.ledger.keys.done(second).encode()
        until(lambda: channel in real_ledger.client.pubsub_channels())
        cancel(real_ledger, second)
        assert waits[1].result().state == State.CANCELLED
        assert time.monotonic() - ended < AT_ONCE_S


def test_a_server_that_fell_silent_is_found_out_and_left(
    real_ledger: LedgerDriver, queue: ChatQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a firewall does it: nothing comes any more, and nobody says that the connection is gone."""
    monkeypatch.setattr("chatq.ledger.announcements._PING_S", 0.1)
    job_id = real_ledger.add()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(queue.wait, job_id, WAIT_S)
        until(lambda: listened_to(real_ledger))
        before = subscriber(real_ledger)
        real_ledger.client.execute_command("CLIENT", "REPLY", "ON")
        real_ledger.client.execute_command("CLIENT", "PAUSE", 400, "ALL")
        until(lambda: subscriber(real_ledger) not in {None, before})
        cancel(real_ledger, job_id)
        wait.result()


def subscriber(ledger: LedgerDriver) -> str | None:
    clients = ledger.client.client_list(_type="pubsub")
    return clients[0]["id"] if clients else None


def test_a_fork_of_a_process_that_waits_can_wait_too(real_ledger: LedgerDriver, queue: ChatQueue) -> None:
    job_id = real_ledger.add()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(queue.wait, job_id, WAIT_S)
        until(lambda: listened_to(real_ledger))
        ours, theirs = multiprocessing.Pipe()
        child = os.fork()
        if child == 0:
            _wait_in_a_fork(queue, job_id, theirs)
        theirs.close()
        until(lambda: len(real_ledger.client.client_list(_type="pubsub")) == 2)
        cancel(real_ledger, job_id)
        assert ours.recv() == "cancelled"
        os.waitpid(child, 0)
        assert wait.result().state == State.CANCELLED


def _wait_in_a_fork(queue: ChatQueue, job_id: str, result: Connection) -> None:
    with contextlib.suppress(BaseException):
        result.send(str(queue.wait(job_id, WAIT_S).state))
    os._exit(0)


def test_who_reads_while_another_task_finds_the_connection_broken_listens_again(
    real_ledger: LedgerDriver, valkey: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py takes the connection from under the reader then, and raises a RuntimeError in its `get_message`."""
    job_id = real_ledger.add()
    get_message = PubSub.get_message
    raised = []

    async def with_its_connection_gone_once(subscription: PubSub, *args: object, **keys: object) -> object:
        if not raised:
            raised.append(subscription)
            broken, subscription.connection = subscription.connection, None
            await broken.disconnect()
        return await get_message(subscription, *args, **keys)

    monkeypatch.setattr(PubSub, "get_message", with_its_connection_gone_once)

    async def wait() -> tuple[State, float]:
        async with AsyncChatQueue(redis_url=valkey.url, key_prefix="t") as queue:
            waits = asyncio.create_task(queue.wait(job_id, WAIT_S))
            await asyncio.to_thread(until, lambda: raised and listened_to(real_ledger) == 1)
            await asyncio.sleep(0.1)
            cancel(real_ledger, job_id)
            ended = time.monotonic()
            return (await waits).state, time.monotonic() - ended

    state, took_s = asyncio.run(wait())
    assert state == State.CANCELLED
    assert took_s < AT_ONCE_S
