"""What is left when all work is done and deleted: nothing of it; and nowhere, ever, a key."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import redis
from installation import CONNECTIONS, OPENAI_KEY, WRONG_KEY, Install, Installation, until

PROMPT = "a prompt with the canary word flibbertigibbet"


@pytest.mark.thorough
def test_when_all_jobs_are_deleted_the_server_holds_what_it_held_before(install: Install) -> None:
    """Jobs of every ending, a batch, a worker that came and went, one that was killed, and a model that was named once.

    `results.keep` is 2 s for the batch.
    """
    passing = {
        "source": "custom", "url": "simulator", "model": "demo", "retry": {"max_elapsed": "1s"},
    }  # fmt: skip
    installation = install(connections=dict.fromkeys(CONNECTIONS, passing), results={"keep": "2s"})
    installation.start_worker()
    assert installation.run("sim", "job:warm-up").state == "succeeded"
    until(lambda: not any(":job:" in key for key in installation.every_key()), "the first job to be purged")
    before = snapshot(installation)

    killed, passing_by = installation.start_worker(), installation.start_worker(fresh=True)
    endings = {
        installation.run("sim", "job:success", metadata={"a": "b"}, idempotency_key="k").state,
        installation.run("sim", "job:failure [sim: bad_key]").state,
        installation.run("sim", "job:expiry", not_before="60s", expires_in="0.1s").state,
        installation.queue.cancel(installation.queue.enqueue("sim", "job:stop", not_before="60s").id).state,
    }
    assert endings == {"succeeded", "failed", "expired", "cancelled"}
    batch = installation.queue.enqueue_batch([f"job:{n} [sim: latency 0.1]" for n in range(50)], "sim")
    assert len(installation.follow(batch.id)) == 50
    killed.kill()
    passing_by.ask_to_end()
    assert passing_by.wait() == 0
    until(
        lambda: not any(":job:" in key or ":batch:" in key for key in installation.every_key()),
        "everything to be purged",
    )
    after = snapshot(installation)
    assert after.keys() == before.keys()
    assert {key: size for key, size in after.items() if size != before[key]} == {}


def snapshot(installation: Installation) -> dict[str, int]:
    """Every key, and how many members it has. (Hashes of ours are facts of one thing; their fields are few.)"""
    client = installation.redis
    sizes = {"zset": client.zcard, "set": client.scard, "list": client.llen}
    return {key: sizes.get(client.type(key), lambda _: 1)(key) for key in installation.every_key()}


@pytest.fixture
def said(install: Install) -> Iterator[tuple[Installation, list[str]]]:
    """An installation with a worker, and every command that its server gets."""
    wrong = {
        "source": "openai", "url": "simulator", "model": "gpt-5-mini", "api_key": "env:TEST_WRONG_KEY",
    }  # fmt: skip
    installation = install(connections={"wrong": wrong}, environ={"TEST_WRONG_KEY": WRONG_KEY})
    commands: list[str] = []
    client = redis.Redis.from_url(installation.url, protocol=2, decode_responses=True)
    with client.monitor() as monitor:

        def listen() -> None:
            for command in monitor.listen():
                commands.append(str(command["command"]))
                if "the test has ended" in commands[-1]:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        installation.start_worker()
        yield installation, commands
        installation.redis.echo("the test has ended")
        thread.join()
    client.close()


def test_no_key_is_ever_written_anywhere_and_no_prompt_into_a_message_or_a_log(
    said: tuple[Installation, list[str]],
) -> None:
    installation, commands = said
    refused = installation.queue.enqueue("wrong", f"job:wrong-key {PROMPT}")
    until(
        lambda: installation.queue.overview()["connections"]["wrong"]["paused"], "the wrong key to be refused"
    )
    jobs = [
        installation.run("openai", f"job:good-key {PROMPT}"),
        installation.queue.get(refused.id),
        installation.run("openai", f"job:retried {PROMPT} [sim: server_error first 1]"),
        installation.run("openai", f"job:odd-answer {PROMPT} [sim: html_page 200 first 1]"),
    ]
    assert [job.state for job in jobs] == ["succeeded", "queued", "succeeded", "succeeded"]
    overview, why = installation.queue.overview(), installation.queue.why(refused.id)
    assert overview["connections"]["wrong"]["paused"]["code"] == why.paused.code == "unauthorized"  # type: ignore[union-attr]
    assert [attempt["headers"]["authorization"] for attempt in requests(installation, "good-key")] == [
        f"***{OPENAI_KEY[-4:]}"
    ]
    [worker] = installation.workers
    worker.ask_to_end()
    assert worker.wait() == 0

    written = "\n".join(
        [
            *commands,
            *everything(installation),
            worker.log,
            *(job.model_dump_json() for job in jobs),
            repr(overview),
            why.model_dump_json(),
        ]
    )
    for key in (OPENAI_KEY, WRONG_KEY):
        for start in range(3, len(key) - 8):
            assert key[start : start + 8] not in written
    messages = [text for text in commands if "LPUSH" in text or "PUBLISH" in text]
    assert any(jobs[0].id in text for text in messages)
    assert not any("flibbertigibbet" in text for text in messages)
    assert "flibbertigibbet" not in worker.log


def requests(installation: Installation, job: str) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = installation.simulator.control("GET", f"requests?job={job}")
    return found


def everything(installation: Installation) -> Iterator[str]:
    """Every value on the server."""
    client = installation.redis
    for key in installation.every_key():
        read = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda key: client.lrange(key, 0, -1),
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1),
        }[client.type(key)]
        yield f"{key} {read(key)}"
