"""Providers that are away, or ask to wait: no attempt is lost to it but one, and fallbacks serve meanwhile."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from installation import WAIT_S, Install, Installation, until

from forked import ForkedSimulator


def state_of(installation: Installation, connection: str) -> dict[str, Any]:
    found: dict[str, Any] = installation.queue.overview()["connections"][connection]
    return found


@pytest.mark.thorough
def test_an_outage_costs_each_job_at_most_one_attempt(install: Install) -> None:
    """The provider's server is gone, and comes back at its address."""
    installation = install(worker={"slots": 10, "lease": "5s"})
    port = urlsplit(installation.simulator.url).port
    assert port is not None
    installation.start_worker()
    installation.simulator.stop()
    batch = installation.queue.enqueue_batch([f"job:{n}" for n in range(40)], "sim")
    until(lambda: state_of(installation, "sim")["breaker"] != "closed", "the breaker to open")
    with ForkedSimulator({"sources": {"custom": {"models": ["demo"]}}}, port=port) as again:
        records = installation.follow(batch.id)
        received = again.counts()["total"]["received"]
    assert Counter(record.state for record in records) == {"succeeded": 40}
    assert max(sum(attempt.counted for attempt in record.attempts) for record in records) <= 2
    assert received == 40


@pytest.mark.thorough
def test_after_a_429_no_worker_calls_before_the_moment_that_it_named(install: Install) -> None:
    installation = install(worker={"slots": 5, "lease": "5s"})
    installation.start_workers(2)
    prompts = [f"job:{n} Say hi [sim: latency 0.1]" for n in range(60)]
    prompts[15] = "job:refused Say hi [sim: rate_limit 4 first 1]"
    records = installation.follow(installation.queue.enqueue_batch(prompts, "sim").id)
    attempts = [attempt for record in records for attempt in record.attempts]
    [refused] = [attempt for attempt in attempts if attempt.error_code == "rate_limited"]
    assert refused.ended_at is not None
    until_then = refused.ended_at + timedelta(seconds=4)
    too_early = [a.started_at for a in attempts if refused.ended_at < a.started_at < until_then]
    assert too_early == []
    assert Counter(record.state for record in records) == {"succeeded": 60}
    assert {sum(attempt.counted for attempt in record.attempts) for record in records} == {1}


FALLBACK = {
    "main": {
        "source": "openai",
        "url": "simulator",
        "model": "gpt-5-mini",
        "api_key": "env:TEST_OPENAI_KEY",
        "params": {"max_tokens": 77},
        "fallback": ["spare"],
    },
    "spare": {
        "source": "custom",
        "url": "simulator",
        "model": "demo",
        "params": {"temperature": 0.25},
        "post_processing": "single",
    },
}


def test_a_fallback_answers_with_its_own_model_parameters_and_mode(install: Install) -> None:
    installation = install(connections=FALLBACK)
    installation.start_worker()
    installation.queue.pause("main")
    job = installation.queue.enqueue(
        "main",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "job:spare Say hi"},
        ],
        model="gpt-4o",
        post_processing="none",
    )
    record = installation.queue.wait(job.id, WAIT_S)
    assert record.result is not None
    assert (record.connection, record.result.model) == ("main", "demo")
    assert [attempt.connection for attempt in record.attempts] == ["spare"]
    [sent] = installation.simulator.control("GET", "requests?job=spare")
    assert (sent["body"]["model"], sent["body"]["temperature"]) == ("demo", 0.25)
    assert "max_tokens" not in sent["body"]
    assert [message["role"] for message in sent["body"]["messages"]] == ["user"]


@pytest.mark.thorough
def test_a_connection_whose_key_is_refused_hands_its_jobs_to_the_fallback(install: Install) -> None:
    installation = install(
        connections={**FALLBACK, "main": {**FALLBACK["main"], "api_key": "env:TEST_WRONG_KEY"}},
        environ={"TEST_WRONG_KEY": "sk-wrong"},
    )
    installation.start_worker()
    record = installation.run("main", "job:moved Say hi")
    assert [(a.connection, a.error_code, a.counted) for a in record.attempts] == [
        ("main", "unauthorized", False),
        ("spare", None, True),
    ]


@pytest.mark.thorough
def test_a_connection_that_fails_in_a_row_hands_its_jobs_to_the_fallback_until_it_is_back(
    install: Install,
) -> None:
    installation = install(connections=FALLBACK, worker={"slots": 5, "lease": "5s"})
    installation.start_worker()
    installation.simulator.control("POST", "misbehave", {"source": "openai", "name": "server_error"})
    records = installation.follow(
        installation.queue.enqueue_batch([f"job:{n}" for n in range(30)], "main").id
    )
    assert Counter(record.state for record in records) == {"succeeded": 30}
    answered = Counter(record.attempts[-1].connection for record in records)
    assert answered == {"spare": 30}
    assert max(sum(attempt.counted for attempt in record.attempts) for record in records) <= 2

    installation.simulator.control("DELETE", "misbehave")
    until(
        lambda: installation.run("main", "job:later Say hi").attempts[-1].connection == "main",
        "the connection to be back",
    )
