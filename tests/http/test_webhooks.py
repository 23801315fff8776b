"""Webhooks: a batch that has ended is told, signed, again and again, and only where that is allowed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from front_process import FrontProcess, batch_lines, error_of
from installation import Installation, until

from chatq.contract.config_problems import ConfigError
from chatq.contract.settings import Settings, Webhooks
from chatq.http import webhooks
from chatq.http.errors import BadRequest
from chatq.http.webhooks import Messenger, Notice, check_url, notice, read_secret, signature
from for_each import for_each

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Listener:
    """A service that wants to be told. Answers with `statuses`, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.told: list[tuple[dict[str, str], dict[str, Any]]] = []
        left = list(statuses)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.told.append(({**headers, "body": body.decode()}, json.loads(body)))
                self.send_response(left.pop(0) if left else 200)
                self.send_header("location", outer.url)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def deliver(told: Notice, settings: Webhooks) -> list[Notice]:
    """What was saved while it was delivered."""
    saved: list[Notice] = []
    messenger = Messenger(settings, SECRET, lambda _key, one: saved.append(one))
    asyncio.run(messenger.deliver("batch_1", told))
    return saved


INSIDE = Webhooks.model_validate({"hosts": ["127.0.0.1"], "internal": True, "secret": "env:X"})


def test_the_end_of_a_batch_is_told_and_signed(installed: Installation, listener: Listener) -> None:
    environ = {
        "CHATQ_HTTP__WEBHOOKS__HOSTS": "[127.0.0.1]",
        "CHATQ_HTTP__WEBHOOKS__INTERNAL": "true",
        "CHATQ_HTTP__WEBHOOKS__SECRET": "env:HOOK_SECRET",
        "HOOK_SECRET": SECRET,
    }
    with FrontProcess(installed, environ=environ) as front:
        file_id = front.upload(batch_lines("job:w1 hi")).json()["id"]
        made = front.batch(file_id, webhook_url=listener.url).json()["id"]
        until(lambda: listener.told, "the end to be told")
        assert front.ended(made)["status"] == "completed"
    headers, event = listener.told[0]
    assert (event["object"], event["type"], event["data"]) == ("event", "batch.completed", {"id": made})
    assert headers["webhook-id"] == event["id"]
    expected = signature(SECRET, event["id"], int(headers["webhook-timestamp"]), headers["body"])
    assert headers["webhook-signature"] == expected


def test_a_host_that_is_not_allowed_is_refused(front: FrontProcess) -> None:
    answer = front.batch("file-x", webhook_url="https://hooks.example.com/x")
    assert error_of(answer) == (400, "invalid_request")
    assert answer.json()["error"]["param"] == "webhook_url"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification."""
    signed = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_fails_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", (0.0, 0.0, 0.0))
    listener = Listener(500, 302)
    try:
        saved = deliver(notice(listener.url, "batch_1", "failed"), INSIDE)
    finally:
        listener.close()
    assert [event["type"] for _, event in listener.told] == ["batch.failed"] * 3
    assert len({headers["webhook-id"] for headers, _ in listener.told}) == 1
    assert (saved[-1].tries, saved[-1].next_at) == (3, None)
    assert saved[-1].told_at is not None


def test_it_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", (0.0, 0.0))
    saved = deliver(notice("http://127.0.0.1:1/x", "batch_1", "completed"), INSIDE)
    assert (saved[-1].tries, saved[-1].next_at, saved[-1].told_at) == (3, None, None)


def test_who_is_gone_is_not_told_again() -> None:
    listener = Listener(410)
    try:
        deliver(notice(listener.url, "batch_1", "completed"), INSIDE)
    finally:
        listener.close()
    assert len(listener.told) == 1


def test_a_name_that_leads_inside_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    monkeypatch.setattr(webhooks, "AGAIN_S", ())
    outside = Webhooks.model_validate({"hosts": ["localhost"], "secret": "env:X"})
    deliver(notice(listener.url.replace("127.0.0.1", "localhost"), "batch_1", "completed"), outside)
    assert listener.told == []


@for_each(
    "url",
    [
        "https://other.example.com/", "http://hooks.example.com/", "https://user@hooks.example.com/",
        "ftp://hooks.example.com/", "hooks.example.com", "", 1, None, "https://", "https://169.254.169.254/",
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://hooks.example.com/\n",
    ],
)  # fmt: skip
def test_no_other_url_is_taken(url: object) -> None:
    settings = Webhooks.model_validate(
        {
            "hosts": ["hooks.example.com", "169.254.169.254", "127.0.0.1", "::1", "::ffff:10.0.0.1"],
            "secret": "env:X",
        }
    )
    assert check_url("https://HOOKS.example.com/x?y", settings) == "https://HOOKS.example.com/x?y"
    with pytest.raises(BadRequest):
        check_url(url, settings)


def test_without_a_secret_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="who is told has to know that it is from here"):
        Settings.model_validate({"http": {"webhooks": {"hosts": ["x"]}}, "connections": {}})
    with pytest.raises(
        ConfigError,
        match="the environment variable X is not set; set X where the fronts run, and restart them",
    ):
        read_secret(INSIDE)
    monkeypatch.setenv("X", "whsec_not-base64!")
    with pytest.raises(ConfigError, match="expected base64 behind whsec_"):
        read_secret(INSIDE)
