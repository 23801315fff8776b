"""Answers that their callers see grow, and that a call is not made again once a caller has seen a part."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
from installation import WAIT_S, Install, Installation, until

from chatq import AsyncChatQueue, JobFailed, JobRecord

UNSTREAMED = {
    "source": "custom", "url": "simulator", "model": "demo", "include_body": {"stream": False},
}  # fmt: skip
"""A connection whose server is not asked for a stream."""


def told(installation: Installation, job_id: str) -> tuple[str, int, bool]:
    """The text of the first deltas, the position behind them, and whether no more will come."""
    position, over, deltas = installation.queue.deltas_page(job_id)
    while not deltas and not over:
        position, over, deltas = installation.queue.deltas_page(job_id, position)
    return "".join(choice["delta"]["content"] for choices in deltas for choice in choices), position, over


def failed(installation: Installation, job_id: str) -> JobRecord:
    record = installation.queue.wait(job_id, WAIT_S)
    assert record.state == "failed"
    return record


def test_a_caller_sees_an_answer_before_it_is_whole(installation: Installation) -> None:
    queue = installation.queue
    job = queue.enqueue("sim", "job:growing [sim: slow_drip 2]", stream=True)
    text, position, over = told(installation, job.id)
    assert text.startswith("answer to job:growing ")
    assert not over
    assert queue.get(job.id).state == "running"

    while not over:
        position, over, deltas = queue.deltas_page(job.id, position)
        text += "".join(choice["delta"]["content"] for choices in deltas for choice in choices)
    record = queue.get(job.id)
    assert record.result is not None
    assert text == record.result.text
    assert record.result.usage.completion_tokens > 0


@pytest.mark.thorough
def test_the_text_is_read_piece_by_piece(installation: Installation) -> None:
    pieces = list(installation.queue.stream("sim", "[sim: slow_drip 1]", id="piece-by-piece"))
    record = installation.queue.get("piece-by-piece")
    assert record.result is not None
    assert "".join(pieces) == record.result.text
    assert len(pieces) > 1


def test_the_text_of_a_source_that_does_not_stream_is_one_piece(install: Install) -> None:
    installation = install(connections={"unstreamed": UNSTREAMED})
    installation.start_worker()
    [text] = installation.queue.stream("unstreamed", "job:unstreamed", id="unstreamed")
    record = installation.queue.get("unstreamed")
    assert record.result is not None
    assert text == record.result.text
    [request] = installation.simulator.control("GET", "requests?job=unstreamed")
    assert request["body"]["stream"] is False
    assert "stream_options" not in request["body"]


def test_the_text_is_read_on_an_event_loop(installation: Installation) -> None:
    async def story() -> list[str]:
        async with AsyncChatQueue(installation.config) as queue:
            return [
                piece
                async for piece in queue.stream("sim", "[sim: slow_drip 0.5]", id="piece-by-piece-async")
            ]

    pieces = asyncio.run(story())
    record = installation.queue.get("piece-by-piece-async")
    assert record.result is not None
    assert "".join(pieces) == record.result.text


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose connection gives a call one second, and a job several calls."""
    connection = {
        "source": "custom", "url": "simulator", "model": "demo", "timeout": {"connect": "1s", "total": "1s"},
    }  # fmt: skip
    with Installation(tmp_path_factory.mktemp("impatient"), connections={"hasty": connection}) as own:
        own.start_worker()
        yield own


@pytest.mark.thorough
def test_a_failure_after_the_first_delta_is_not_tried_again(impatient: Installation) -> None:
    job = impatient.queue.enqueue("hasty", "job:midway [sim: silence_mid_body first 1]", stream=True)
    text, position, _ = told(impatient, job.id)
    assert text.startswith("answer to job:midway ")
    record = failed(impatient, job.id)
    assert record.error is not None
    assert record.error.code == "timeout"
    assert "A part of the answer had been sent to the caller" in record.error.message
    assert [(attempt.error_code, attempt.counted) for attempt in record.attempts] == [("timeout", True)]
    assert impatient.calls()["midway"] == 1
    assert impatient.queue.deltas_page(job.id, position) == (position, True, [])


@pytest.mark.thorough
def test_a_text_that_breaks_off_raises_the_jobs_failure(impatient: Installation) -> None:
    pieces = impatient.queue.stream("hasty", "job:breaks-off [sim: silence_mid_body first 1]")
    assert next(pieces).startswith("answer to job:breaks-off ")
    with pytest.raises(JobFailed) as caught:
        list(pieces)
    assert caught.value.record.error is not None
    assert caught.value.record.error.code == "timeout"
    assert "failed (timeout): " in caught.value.message
    assert caught.value.remedy == caught.value.record.error.remedy


def test_a_failure_before_the_first_delta_is_tried_again(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:before [sim: server_error 500 first 1]", stream=True)
    record = installation.queue.wait(job.id, WAIT_S)
    assert record.state == "succeeded"
    assert [attempt.error_code for attempt in record.attempts] == ["server_error", None]
    assert installation.calls()["before"] == 2


@pytest.mark.thorough
def test_of_a_job_that_does_not_stream_nothing_is_told_and_it_is_tried_again(
    installation: Installation,
) -> None:
    job = installation.queue.enqueue("sim", "job:unseen [sim: close_mid_body first 1]")
    record = installation.queue.wait(job.id, WAIT_S)
    assert (record.state, len(record.attempts)) == ("succeeded", 2)
    assert installation.queue.deltas_page(job.id) == (0, True, [])


def begun_and_seen(installation: Installation, name: str) -> str:
    """A job of which a caller has seen a part, and whose provider is silent since; its id."""
    job = installation.queue.enqueue("sim", f"job:{name} [sim: silence_mid_body first 1]", stream=True)
    text, _, over = told(installation, job.id)
    assert text.startswith(f"answer to job:{name} ")
    assert not over
    return job.id


@pytest.mark.thorough
def test_a_job_whose_worker_dies_after_a_delta_fails_and_is_never_called_twice(install: Install) -> None:
    installation = install(worker={"slots": 10, "lease": "1s"})
    worker = installation.start_worker()
    job_id = begun_and_seen(installation, "dies")
    worker.kill()
    installation.start_worker()
    record = failed(installation, job_id)
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert [attempt.maybe_charged for attempt in record.attempts] == [True]
    assert installation.calls() == {"dies": 1}


@pytest.mark.thorough
def test_a_job_whose_worker_dies_before_a_delta_is_called_again(install: Install) -> None:
    installation = install(worker={"slots": 10, "lease": "1s"})
    worker = installation.start_worker()
    installation.hold_answers()
    job = installation.queue.enqueue("sim", "job:dies-early", stream=True)
    installation.await_in_flight(1)
    worker.kill()
    installation.start_worker()
    installation.release_answers()
    assert installation.queue.wait(job.id, WAIT_S).state == "succeeded"
    assert installation.calls() == {"dies-early": 2}


@pytest.mark.thorough
def test_a_worker_that_stops_fails_what_a_caller_has_seen_and_hands_back_the_rest(install: Install) -> None:
    installation = install(worker={"slots": 10, "lease": "2s", "grace": "0.2s"})
    worker = installation.start_worker()
    seen = begun_and_seen(installation, "stops")
    unseen = installation.queue.enqueue("sim", "job:stops-early [sim: silence first 1]", stream=True)
    installation.await_in_flight(2)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    record = failed(installation, seen)
    assert record.error is not None
    assert record.error.code == "worker_lost"
    assert "after a part of the answer had been sent to the caller" in record.error.message
    assert installation.queue.get(unseen.id).state == "queued"


def test_a_cancelled_job_is_cancelled_whatever_a_caller_has_seen(installation: Installation) -> None:
    job_id = begun_and_seen(installation, "cancelled-midway")
    installation.queue.cancel(job_id)
    assert installation.queue.wait(job_id, WAIT_S).state == "cancelled"
    assert installation.simulator.wait(in_flight=0, timeout_s=WAIT_S)


def test_deltas_go_with_the_job(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:goes", stream=True)
    installation.queue.wait(job.id, WAIT_S)
    until(lambda: installation.redis.exists(f"chatq:deltas:{job.id}"), "the deltas")
    assert 0 < installation.redis.ttl(f"chatq:deltas:{job.id}") <= 600
    installation.queue.delete(job.id)
    assert not installation.redis.exists(f"chatq:deltas:{job.id}")
