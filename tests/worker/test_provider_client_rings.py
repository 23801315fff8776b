"""A call leaves no ring of objects behind: prompt and answer are gone with it, not at a collection of the garbage."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator

import pytest
import uvloop

from chatq.contract.connection import Timeout
from chatq_sandbox.process import SimulatorProcess
from chatq_worker.failures import CallFailed
from chatq_worker.provider_client import HttpProviderClient
from chatq_worker.providers import Request
from forked import ForkedSimulator

TIMEOUT = Timeout(connect=5.0, total=30.0)


@pytest.fixture(scope="module")
def simulator() -> Iterator[ForkedSimulator]:
    with ForkedSimulator({"sources": {"custom": {"models": ["demo"]}}}) as running:
        yield running


def request_to(base_url: str, directive: str) -> Request:
    content = f"job:ring Say hi [sim: {directive}]"
    return Request(
        "POST",
        f"{base_url}/chat/completions",
        {"content-type": "application/json"},
        json.dumps({"model": "demo", "messages": [{"role": "user", "content": content}]}).encode(),
    )


async def _send(client: HttpProviderClient, request: Request, timeout: Timeout) -> str:
    """What came of it."""
    try:
        answer = await client.send(request, timeout)
    except CallFailed as failure:
        return failure.code
    return str(answer.status)


def garbage_of(
    request: Request, *, timeout: Timeout = TIMEOUT, calls: int = 3
) -> tuple[set[str], Counter[str]]:
    """What came of the calls, and what they left to the garbage collector."""

    async def run() -> tuple[set[str], Counter[str]]:
        client = HttpProviderClient(answer_bytes=lambda: 1 << 20)
        try:
            await _send(client, request, timeout)  # what is made once
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            ends = {await _send(client, request, timeout) for _ in range(calls)}
            await asyncio.sleep(0)  # callbacks of what has ended
            gc.collect()
            return ends, Counter(type(thing).__qualname__ for thing in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            await client.close()

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as a worker does
            return runner.run(run())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("directive", "end"),
    [
        ("latency 0", "200"),
        ("gzip", "200"),
        ("server_error 500", "500"),
        ("reset_before_answer", "connect_error"),
        ("close_before_answer", "connect_error"),
        ("reset_mid_body", "connect_error"),
        ("close_mid_body", "connect_error"),
        ("huge_answer 2000000", "answer_too_large"),
    ],
)
def test_a_call_leaves_no_ring_behind_however_it_ends(
    simulator: SimulatorProcess, directive: str, end: str
) -> None:
    assert garbage_of(request_to(f"{simulator.url}/custom/v1", directive)) == ({end}, Counter())


@pytest.mark.thorough
@pytest.mark.parametrize("directive", ["silence", "silence_mid_body"])
def test_a_call_that_is_given_up_leaves_no_ring_behind(simulator: SimulatorProcess, directive: str) -> None:
    request = request_to(f"{simulator.url}/custom/v1", directive)
    assert garbage_of(request, timeout=Timeout(connect=0.1, total=0.1)) == ({"timeout"}, Counter())


def test_a_call_to_a_port_where_nobody_listens_leaves_no_ring_behind() -> None:
    assert garbage_of(request_to("http://127.0.0.1:9/v1", "latency 0")) == ({"connect_error"}, Counter())
