"""Telling a caller the answer while it grows: what goes out when, and that nothing of it holds anybody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import pytest
from ledger_driver import LedgerDriver

from chatq.ledger.replies import Admitted
from chatq.ledger.server import AsyncServer
from chatq_worker.providers import Delta
from chatq_worker.teller import Teller
from servers import RealServer

A_LONG_TIME_S = 30.0


@pytest.fixture
def own_server() -> Iterator[RealServer]:
    """A server to be killed or filled."""
    server = RealServer("--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.remove()


@pytest.fixture
def ledger(own_server: RealServer) -> Iterator[LedgerDriver]:
    client = own_server.client()
    yield LedgerDriver(client)
    client.close()


@pytest.fixture
def job(ledger: LedgerDriver) -> Admitted:
    """A job that streams, begun by a worker."""
    ledger.worker()
    ledger.add(stream=True)
    [begun] = ledger.start()
    return begun


def text(piece: str, name: str = "content", index: int = 0) -> Delta:
    return {"index": index, "delta": {name: piece}}


def told(ledger: LedgerDriver, job: Admitted) -> list[Any]:
    """Every delta that was told."""
    found = ledger.run(ledger.ledger.deltas(job.job_id, 0))
    assert found is not None
    return [orjson.loads(delta) for delta in found[2]]


def telling(
    own_server: RealServer,
    ledger: LedgerDriver,
    job: Admitted,
    story: Callable[[Teller], Awaitable[None]],
    *,
    most_bytes: int = 1 << 20,
    gather_s: float = A_LONG_TIME_S,
) -> Teller:
    """Play a story with a teller."""

    async def play() -> Teller:
        server = AsyncServer(lambda: own_server.url)
        teller = Teller(
            server, ledger.ledger, job.job_id, job.token, most_bytes=most_bytes, gather_s=gather_s
        )
        try:
            await server.client()  # as a worker, which has begun the job over it
            async with asyncio.timeout(A_LONG_TIME_S / 2):
                await story(teller)
        finally:
            await server.close()
        return teller

    return asyncio.run(play())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the server tells it to nobody here
        await asyncio.sleep(0.01)


def test_the_first_deltas_go_out_at_once_and_those_behind_them_gather(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("Hm", "reasoning_content"), text("Hel")])
        await until(lambda: len(told(ledger, job)) == 2)
        for piece in ("lo", " ", "there"):
            teller.add([text(piece)])
        assert len(told(ledger, job)) == 2
        await teller.end(whole=True)

    assert telling(own_server, ledger, job, story).spoke
    assert told(ledger, job) == [
        [text("Hm", "reasoning_content")],
        [text("Hel")],
        [text("lo there")],
    ]


def test_what_gathered_goes_out_after_a_moment(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("Hel")])
        await until(lambda: len(told(ledger, job)) == 1)
        teller.add([text("lo")])
        await until(lambda: len(told(ledger, job)) == 2)

    telling(own_server, ledger, job, story, gather_s=0.05)


def test_only_pieces_of_the_same_text_become_one(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    call = {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}
    deltas = [
        text("a", "reasoning_content"), text("b"), text("c", index=1), text("d"), text("e"), call, call, text("f"),
    ]  # fmt: skip

    async def story(teller: Teller) -> None:
        for delta in deltas:
            teller.add([delta])
        await teller.end(whole=True)

    telling(own_server, ledger, job, story)
    assert told(ledger, job) == [
        [text("a", "reasoning_content")], [text("b")], [text("c", index=1)], [text("de")], [call], [call], [text("f")],
    ]  # fmt: skip


def test_of_an_answer_that_failed_nothing_more_is_told(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("Hel")])
        await until(lambda: len(told(ledger, job)) == 1)
        teller.add([text("lo")])
        await teller.end(whole=False)
        teller.add([text("!")])
        await teller.end(whole=True)

    assert telling(own_server, ledger, job, story).spoke
    assert told(ledger, job) == [[text("Hel")]]


def test_an_answer_that_fails_before_anything_went_out_was_never_told(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("Hel")])
        await teller.end(whole=False)

    assert not telling(own_server, ledger, job, story).spoke
    assert told(ledger, job) == []


def test_beyond_its_bound_an_answer_is_not_told(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("x" * 60)])
        await until(lambda: len(told(ledger, job)) == 1)
        teller.add([text("y" * 60)])
        await teller.end(whole=True)

    telling(own_server, ledger, job, story, most_bytes=150)
    assert told(ledger, job) == [[text("x" * 60)]]


def test_a_job_that_is_someone_elses_by_now_is_told_nothing(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        ledger.settle(job)
        teller.add([text("Hel")])
        await teller.end(whole=True)

    telling(own_server, ledger, job, story)
    assert told(ledger, job) == []


def test_while_the_server_takes_no_more_deltas_gather_and_are_told_when_it_does(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        ledger.client.config_set("maxmemory", 100_000)
        teller.add([text("Hel")])
        await until(lambda: teller.spoke)
        teller.add([text("lo")])
        assert told(ledger, job) == []
        ledger.client.config_set("maxmemory", 0)
        await until(lambda: len(told(ledger, job)) == 1)
        await teller.end(whole=True)

    telling(own_server, ledger, job, story)
    assert told(ledger, job) == [[text("Hel")], [text("lo")]]


def test_a_server_that_takes_no_more_holds_up_an_answer_for_a_second_at_most(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        ledger.client.config_set("maxmemory", 100_000)
        teller.add([text("Hel")])
        await teller.end(whole=True)

    telling(own_server, ledger, job, story)
    assert told(ledger, job) == []


def test_while_the_server_is_away_deltas_gather(
    own_server: RealServer, ledger: LedgerDriver, job: Admitted
) -> None:
    async def story(teller: Teller) -> None:
        teller.add([text("Hel")])
        await until(lambda: len(told(ledger, job)) == 1)
        own_server.kill()
        for piece in "lo there":
            teller.add([text(piece)])
        own_server.start()
        await until(lambda: joined(ledger, job) == "Hello there")
        await teller.end(whole=True)

    telling(own_server, ledger, job, story, gather_s=0.01)
    assert len(told(ledger, job)) < 9


def joined(ledger: LedgerDriver, job: Admitted) -> str:
    """The text that was told."""
    return "".join(choice["delta"]["content"] for choices in told(ledger, job) for choice in choices)
