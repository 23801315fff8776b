"""Refusals that nothing but an account's owner can mend: jobs wait, none is burnt, and go on when it is mended."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from installation import OPENAI_KEY, Install, Installation, until

from chatq import JobRecord


class Nothing(ThreadingHTTPServer):
    """A server that knows nothing but 404. `calls`: how often a job was sent to it; checks are not counted."""

    def __init__(self) -> None:
        self.calls = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                server.calls += b"job:" in body
                self.do_GET()

            def do_GET(self) -> None:
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def nothing() -> Iterator[Nothing]:
    """At the address there is a web server, and no API."""
    with Nothing() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def set_key(installation: Installation, state: str) -> None:
    installation.simulator.control("POST", "keys", {"key": OPENAI_KEY, "state": state})


def pause_of(installation: Installation, connection: str) -> dict[str, Any] | None:
    pause: dict[str, Any] | None = installation.queue.overview()["connections"][connection]["paused"]
    return pause


def await_pause(installation: Installation, connection: str) -> dict[str, Any]:
    """Wait until the connection is paused and none of its calls is in flight; why it is."""
    until(lambda: pause_of(installation, connection), f"{connection} to pause")
    until(
        lambda: installation.queue.overview()["connections"][connection]["running"] == 0, "calls to come back"
    )
    pause = pause_of(installation, connection)
    assert pause is not None
    return pause


def counted(records: list[JobRecord]) -> Counter[int]:
    """How many jobs had so many attempts that counted."""
    return Counter(sum(attempt.counted for attempt in record.attempts) for record in records)


@pytest.mark.thorough
def test_a_key_that_is_revoked_in_the_middle_pauses_its_connection_and_burns_no_job(install: Install) -> None:
    installation = install(worker={"slots": 10, "lease": "5s"})
    installation.start_worker()
    queue = installation.queue
    installation.hold_answers()
    batch = queue.enqueue_batch([f"job:{n}" for n in range(60)], "openai")
    installation.await_in_flight(10)
    set_key(installation, "revoked")
    installation.release_answers()
    assert await_pause(installation, "openai")["code"] == "unauthorized"

    refused = installation.simulator.counts()["total"]["refused"]
    assert sum(refused.values()) <= 10, "more calls were refused than were in flight"
    received = installation.simulator.counts()["total"]["received"]
    assert installation.run("sim", "job:other Say hi").state == "succeeded"
    assert installation.simulator.counts()["total"]["received"] == received + 1

    set_key(installation, "valid")
    assert queue.resume("openai")
    records = installation.follow(batch.id)
    assert Counter(record.state for record in records) == {"succeeded": 60}
    assert counted(records) == {1: 60}


@pytest.mark.thorough
def test_when_the_key_works_again_a_check_resumes_the_connection(install: Install) -> None:
    installation = install()
    set_key(installation, "revoked")
    installation.start_worker()
    job = installation.queue.enqueue("openai", "job:waits Say hi")
    await_pause(installation, "openai")
    set_key(installation, "valid")
    record = installation.queue.wait(job.id, 60)
    assert [(a.error_code, a.counted) for a in record.attempts] == [("unauthorized", False), (None, True)]
    assert pause_of(installation, "openai") is None


@pytest.mark.thorough
def test_a_refusal_that_a_check_disproves_holds_nothing_up(install: Install) -> None:
    installation = install()
    installation.start_worker()
    record = installation.run("openai", "job:refused-once [sim: bad_key first 1]")
    assert [(a.error_code, a.counted) for a in record.attempts] == [("unauthorized", False), (None, True)]


@pytest.mark.thorough
def test_a_job_that_is_refused_again_though_a_check_proved_the_account_fails(install: Install) -> None:
    installation = install()
    installation.start_worker()
    record = installation.run("openai", "job:always-refused [sim: bad_key]")
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "unauthorized")
    assert [a.counted for a in record.attempts] == [False, True]
    assert installation.run("openai", "job:next Say hi").state == "succeeded"


@pytest.mark.thorough
def test_an_operators_pause_is_lifted_by_no_check(install: Install) -> None:
    installation = install()
    installation.start_worker()
    queue = installation.queue
    queue.pause("openai", "Maintenance.")
    job = queue.enqueue("openai", "job:waits Say hi")
    assert queue.check("openai").state == "ok"
    assert (pause_of(installation, "openai") or {})["code"] == "operator"
    assert queue.get(job.id).state == "queued"
    queue.resume("openai")
    assert queue.wait(job.id, 30).state == "succeeded"


FIREWORKS = "accounts/fireworks/models/"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("source", "refusal", "allowed", "forbidden", "code"),
    [
        ("fireworks", "forbidden", f"{FIREWORKS}qwen3-8b", f"{FIREWORKS}deepseek-v4-pro", "forbidden"),
        # "Your API key does not have permission": only a check tells that it has for all else.
        ("claude", "permission", "claude-sonnet-5", "claude-opus-5-5", "unauthorized"),
    ],
)
def test_a_model_that_the_key_may_not_use_fails_only_the_jobs_that_name_it(
    install: Install, source: str, refusal: str, allowed: str, forbidden: str, code: str
) -> None:
    connection = {"source": source, "url": "simulator", "model": allowed, "api_key": "env:TEST_KEY"}
    installation = install(connections={"own": connection}, environ={"TEST_KEY": f"sim-{source}-key"})
    refuse = {"source": source, "name": "refuse", "what": refusal, "model": forbidden}
    installation.simulator.control("POST", "misbehave", refuse)
    installation.start_worker()
    jobs = [{"prompt": f"job:{n} Say hi", **({"model": forbidden} if n % 2 else {})} for n in range(20)]
    batch = installation.queue.enqueue_batch(jobs, "own")
    records = installation.follow(batch.id)
    ended = Counter((record.state, record.error and record.error.code) for record in records)
    assert ended == {("succeeded", None): 10, ("failed", code): 10}
    assert pause_of(installation, "own") is None


@pytest.mark.thorough
def test_a_wrong_url_pauses_after_a_few_jobs_instead_of_failing_all(
    install: Install, nothing: Nothing
) -> None:
    url = f"http://127.0.0.1:{nothing.server_port}/v1"
    installation = install(
        connections={"wrong": {"source": "custom", "url": url, "model": "demo"}},
        worker={"slots": 10, "lease": "5s"},
    )
    installation.start_worker()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(60)], "wrong")
    pause = await_pause(installation, "wrong")
    assert pause["code"] in {"wrong_url", "not_found"}
    counts = installation.queue.batch(batch.id).counts
    assert (counts.failed, counts.queued) == (4, 56)
    # The fifth pauses; those that were in flight beside it come back.
    assert nothing.calls <= 4 + 10
