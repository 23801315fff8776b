"""Batches while they run: paused, resumed, moved to another connection, and what failed of them tried again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from installation import WAIT_S, Install, Installation, until

from chatq import AsyncChatQueue, BatchOver, NothingToRetry, UnknownBatch, UnknownConnection

SIMULATED: dict[str, Any] = {"source": "custom", "url": "simulator"}


@pytest.fixture
def two(install: Install) -> Installation:
    """One worker; `sim` with one call at a time, and `other`, another account with a model of its own."""
    installation = install(
        connections={
            "sim": {**SIMULATED, "model": "demo", "limits": {"concurrency": 1}},
            "other": {
                **SIMULATED,
                "model": "demo-2",
                "limits": {"scope": "other"},
                "post_processing": "strict",
            },
        }
    )
    installation.start_worker()
    installation.simulator.control("POST", "config", {"sources": {"custom": {"models": ["demo", "demo-2"]}}})
    return installation


def test_a_paused_batch_lets_others_go_and_goes_on_when_it_is_resumed(two: Installation) -> None:
    two.hold_answers()
    batch = two.queue.enqueue_batch([f"job:paused-{number}" for number in range(3)], "sim")
    two.await_in_flight(1)
    assert two.queue.pause_batch(batch.id).paused_at is not None
    two.release_answers()
    assert two.run("sim", "job:beside-the-pause").state == "succeeded"
    held = two.queue.batch(batch.id)
    assert (held.counts.succeeded, held.counts.queued, held.counts.running) == (1, 2, 0)
    assert two.queue.resume_batch(batch.id).paused_at is None
    assert [record.state for record in two.follow(batch.id)] == ["succeeded"] * 3
    with pytest.raises(BatchOver, match="has ended"):
        two.queue.pause_batch(batch.id)


def test_the_rest_of_a_batch_moves_to_another_connection_and_its_model(two: Installation) -> None:
    two.hold_answers()
    jobs = [{"prompt": f"job:moved-{number}", "post_processing": "none"} for number in range(5)]
    batch = two.queue.enqueue_batch(jobs, "sim")
    two.await_in_flight(1)
    two.queue.move_batch(batch.id, "other")
    two.await_in_flight(5)
    two.release_answers()
    records = two.follow(batch.id)
    assert sorted(record.connection for record in records) == ["other"] * 4 + ["sim"]
    assert {(record.connection, record.result.model) for record in records if record.result} == {
        ("sim", "demo"),
        ("other", "demo-2"),
    }
    assert [record.warnings for record in records] == [[]] * 5
    assert set(two.calls().values()) == {1}


def test_a_batch_moves_only_to_a_connection_that_is_there(two: Installation) -> None:
    batch = two.queue.enqueue_batch([{"prompt": "job:stays", "not_before": "1h"}], "sim")
    with pytest.raises(UnknownConnection, match='did you mean "other"'):
        two.queue.move_batch(batch.id, "othr")
    with pytest.raises(UnknownBatch):
        two.queue.move_batch("batch_none", "other")
    two.queue.cancel_batch(batch.id)
    with pytest.raises(BatchOver, match=r"has ended|was cancelled"):
        two.queue.move_batch(batch.id, "other")


def test_what_failed_of_a_batch_is_tried_again_in_a_batch_of_its_own(two: Installation) -> None:
    jobs = [
        {"prompt": "job:works", "custom_id": "a"},
        {
            "prompt": "job:fails-once [sim: server_error first 1]",
            "custom_id": "b",
            "metadata": {"line": "2"},
        },
    ]
    batch = two.queue.enqueue_batch(jobs, "once", metadata={"file": "in.jsonl"})
    failed = next(record for record in two.follow(batch.id) if record.state == "failed")
    before = two.queue.batch(batch.id)
    again = two.queue.retry_batch(batch.id)
    assert (again.sealed, again.counts.total, again.retry_of) == (True, 1, batch.id)
    assert again.metadata == {"file": "in.jsonl"}
    [record] = two.follow(again.id)
    assert (record.state, record.custom_id, record.retry_of) == ("succeeded", "b", failed.id)
    assert record.metadata == {"line": "2"}
    assert two.queue.get(failed.id) == failed
    assert two.queue.batch(batch.id) == before
    kept = two.queue.batches()
    with pytest.raises(
        NothingToRetry, match=f"Of batch {batch.id} no job has failed that was not tried again"
    ):
        two.queue.retry_batch(batch.id)
    assert two.queue.batches() == kept


@pytest.mark.thorough
def test_the_commands_do_the_same(two: Installation) -> None:
    two.hold_answers()
    batch = two.queue.enqueue_batch([f"job:command-{number}" for number in range(3)], "sim")
    two.await_in_flight(1)

    def command(*arguments: str) -> Any:
        done = two.command("batch", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert command("pause", batch.id)["paused_at"] is not None
    assert (
        f"{batch.id}: paused; 3 total, 2 waiting, 1 running"
        in two.command("batch", "status", batch.id).stdout
    )
    assert command("move", batch.id, "other", "--model", "demo")["counts"]["queued"] == 2
    assert command("resume", batch.id)["paused_at"] is None
    assert [listed["id"] for listed in command("list")] == [batch.id]
    assert command("cancel", batch.id)["cancel_requested"]
    until(lambda: command("status", batch.id)["ended_at"], "the batch to end")
    none = two.command("batch", "retry", batch.id, "--code", "timeout")
    assert (none.returncode, none.stdout) == (1, "")
    assert "no job with the error timeout has failed" in none.stderr
    assert [listed["id"] for listed in command("list")] == [batch.id]
    over = two.command("batch", "resume", batch.id)
    assert (over.returncode, over.stdout) == (1, "")
    assert f"Batch {batch.id} has ended." in over.stderr


@pytest.mark.thorough
def test_the_command_retry_tries_failed_jobs_outside_batches_again(two: Installation) -> None:
    failed = two.run("once", "job:alone [sim: server_error first 1]")
    assert failed.state == "failed"
    assert failed.error is not None
    assert (
        two.command("retry", "--failed", "--code", "timeout").stdout == "0 failed jobs are enqueued again\n"
    )
    done = two.command("retry", "--failed", "--code", failed.error.code, "-c", "once", "--json")
    assert json.loads(done.stdout) == {"retried": 1}
    until(lambda: two.calls()["alone"] == 2, "the second call")
    assert two.command("retry").returncode == 2


@pytest.mark.thorough
def test_on_an_event_loop_batches_are_paused_moved_resumed_and_retried(two: Installation) -> None:
    async def story() -> None:
        async with AsyncChatQueue(two.config) as queue:
            batch = await queue.enqueue_batch(["job:loop-control [sim: server_error first 1]"], "once")
            [failed] = [record async for record in queue.results(batch.id, follow=True)]
            again = await queue.retry_batch(batch.id, code="server_error", connection="once")
            [record] = [record async for record in queue.results(again.id, follow=True)]
            assert (failed.state, record.state) == ("failed", "succeeded")
            waiting = await queue.enqueue_batch([{"prompt": "job:never", "not_before": "1h"}], "sim")
            assert (await queue.pause_batch(waiting.id)).paused_at
            await queue.move_batch(waiting.id, "other")
            await queue.resume_batch(waiting.id)
            assert [found.id for found in await queue.batches(2)] == [waiting.id, again.id]
            assert await queue.retry_failed() == 0
            await queue.cancel_batch(waiting.id)

    asyncio.run(asyncio.wait_for(story(), 2 * WAIT_S))
