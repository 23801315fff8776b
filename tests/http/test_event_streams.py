"""What a stream is while nothing happens: kept alive. With a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn
from front_process import chat
from installation import Installation

from chatq.contract.config_file import load_settings
from chatq.http import completions
from chatq.http.access import Access
from chatq.http.application import application


@asynccontextmanager
async def served(installed: Installation) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    """A front in this process."""
    app, _front = application(load_settings(installed.config, environ={}), Access([]))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn tells it to nobody
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as session:
            yield f"http://127.0.0.1:{port}", session
    finally:
        server.should_exit = True
        await serving


def test_a_stream_that_waits_is_kept_alive(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "KEEP_ALIVE_S", 0.05)
    installed.hold_answers()

    async def ask() -> list[bytes]:
        async with served(installed) as (url, session):
            request = chat("job:alive hi", stream=True)
            async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
                assert answer.status == 200  # though nothing is known yet
                lines = [await answer.content.readline() for _ in range(4)]
                installed.release_answers()
                return lines + [line async for line in answer.content]

    try:
        lines = asyncio.run(ask())
    finally:
        installed.release_answers()
    assert lines[:4] == [b": keep-alive\n", b"\n", b": keep-alive\n", b"\n"]
    assert lines[-2:] == [b"data: [DONE]\n", b"\n"]
    assert "answer to job:alive " in text_of(lines)


def test_a_failure_after_the_head_was_sent_is_an_event(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "KEEP_ALIVE_S", 0.05)
    installed.hold_answers()

    async def ask() -> list[bytes]:
        async with served(installed) as (url, session):
            request = chat("job:late-failure [sim: server_error 500]", model="once", stream=True)
            async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
                assert answer.status == 200
                await answer.content.readline()
                installed.release_answers()
                return [line async for line in answer.content if line.startswith(b"data: ")]

    try:
        (line,) = asyncio.run(ask())
    finally:
        installed.release_answers()
    assert json.loads(line.removeprefix(b"data: "))["error"]["code"] == "server_error"


def text_of(lines: list[bytes]) -> str:
    events: list[dict[str, Any]] = [
        json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: {")
    ]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
