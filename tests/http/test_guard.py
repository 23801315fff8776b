"""What a front without tokens refuses before it looks at it, and what comes too slowly or is too much."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from front_process import FrontProcess, error_of
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chatq.contract.settings import Settings
from chatq.http import guard
from chatq.http.errors import BadRequest, error_response
from chatq.http.guard import Guard


def test_another_host_is_not_answered(front: FrontProcess) -> None:
    for host in ("evil.example.com", "127.0.0.1.evil.example.com", "", "[::1]"):
        assert error_of(front.client.get("/v1/models", headers={"host": host})) == (403, "invalid_request")
    for host in ("localhost:1234", "LOCALHOST", "127.0.0.1"):
        assert front.client.get("/v1/models", headers={"host": host}).status_code == 200


def test_no_answer_is_kept_or_taken_for_a_page(front: FrontProcess) -> None:
    file = front.upload(b"<script>alert(1)</script>").json()["id"]
    answers = [
        front.client.get(f"/v1/files/{file}/content"),
        front.client.get("/healthz"),
        front.client.get("/no-such-path"),
        front.client.get("/v1/models", headers={"host": "evil.example.com"}),
        front.ask("Say hi", model="sim"),
        front.ask("Say hi", model="sim", stream=True),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 403, 200, 200]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_web_page_cannot_spend_money(front: FrontProcess, kind: str) -> None:
    """These are the bodies that a page may send without the browser asking first."""
    body = b'{"model": "sim", "messages": [{"role": "user", "content": "job:page hi"}]}'
    answer = front.client.post(
        "/v1/chat/completions", content=body, headers={"content-type": kind} if kind else {}
    )
    assert error_of(answer) == (415, "invalid_request")
    assert "page" not in front.installation.calls()


def test_nor_without_a_body(front: FrontProcess) -> None:
    answer = front.client.post("/v1/connections/sim/test", headers={"origin": "http://evil.example.com"})
    assert error_of(answer) == (415, "invalid_request")


def test_a_browser_that_asks_first_is_told_no(front: FrontProcess) -> None:
    answer = front.client.options(
        "/v1/jobs",
        headers={"origin": "http://evil.example.com", "access-control-request-method": "POST"},
    )
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_a_body_that_is_too_large_is_refused_before_it_comes(front: FrontProcess) -> None:
    host, _, port = front.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10000000\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_nor_is_one_whose_length_is_not_said(front: FrontProcess) -> None:
    def pieces() -> Any:
        for _ in range(100):
            yield b" " * 10_000

    answer = front.client.post("/v1/jobs", content=pieces(), headers={"content-type": "application/json"})
    assert error_of(answer) == (413, "invalid_request")


def test_garbage_is_no_request(front: FrontProcess) -> None:
    host, _, port = front.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    assert front.client.get("/healthz").status_code == 200


# With a clock of the test's own: what is slow takes no time here.


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    try:
        answer: Response = PlainTextResponse(str(len(await Request(scope, receive).body())))
    except BadRequest as error:
        answer = error_response(error)
    await answer(scope, receive, send)


async def post(body: AsyncIterator[bytes]) -> httpx.Response:
    settings = Settings.model_validate({"connections": {}})
    app = Guard(read_all, settings, open_to_all=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.post("/", content=body)


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    assert error_of(asyncio.run(post(stuck()))) == (408, "invalid_request")


def test_a_body_that_comes_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 10

    assert asyncio.run(post(pieces())).text == "30"


def test_who_does_not_read_his_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SEND_S", 0.05)

    async def never(_message: Any) -> None:
        await asyncio.Event().wait()

    async def attempt() -> None:
        app = Guard(PlainTextResponse("x"), Settings.model_validate({"connections": {}}), open_to_all=False)
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await asyncio.wait_for(app(scope, lambda: asyncio.sleep(9), never), 5)  # type: ignore[arg-type]

    asyncio.run(attempt())
