"""Many jobs together, blocking and on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from installation import WAIT_S, Install, Installation, until

from chatq import AsyncChatQueue, BatchInterrupted, InvalidJob, JobRecord


def test_results_of_a_batch_are_followed_in_the_order_in_which_they_end(installation: Installation) -> None:
    batch = installation.queue.enqueue_batch(
        [
            {"prompt": "job:follow-slow [sim: latency 0.6]", "custom_id": "slow"},
            {"prompt": "job:follow-fast", "custom_id": "fast", "connection": "once"},
        ],
        "sim",
        metadata={"order": "17"},
    )
    assert (batch.sealed, batch.counts.total, batch.metadata) == (True, 2, {"order": "17"})
    records = installation.follow(batch.id)
    assert [(record.custom_id, record.connection, record.state) for record in records] == [
        ("fast", "once", "succeeded"),
        ("slow", "sim", "succeeded"),
    ]
    assert {record.batch for record in records} == {batch.id}
    assert installation.queue.batch(batch.id).ended


def test_results_are_resumed_from_a_cursor(installation: Installation) -> None:
    batch = installation.queue.enqueue_batch([f"job:cursor-{n}" for n in range(5)], "sim")
    records = installation.follow(batch.id)
    assert list(installation.queue.results(batch.id, cursor=3)) == records[3:]


def test_a_job_given_twice_under_one_custom_id_is_enqueued_once(installation: Installation) -> None:
    job = {"prompt": "job:same-custom-id", "custom_id": "one"}
    batch = installation.queue.enqueue_batch([job, job], "sim")
    assert batch.counts.total == 1
    assert len(installation.follow(batch.id)) == 1
    assert installation.simulator.counts("same-custom-id")["received"] == 1


def test_an_empty_batch_has_ended_at_once(installation: Installation) -> None:
    batch = installation.queue.enqueue_batch([], "sim")
    assert batch.ended
    assert installation.follow(batch.id) == []


def test_jobs_start_while_the_iterable_still_gives_others(installation: Installation) -> None:
    """The first chunk is called before the iterable has ended."""

    def jobs() -> Iterator[str]:
        for number in range(20):  # more than the megabyte that travels at a time
            yield f"job:streamed-{number} {'x' * 60_000}"
        assert installation.simulator.wait(job="streamed-0", answered=1, timeout_s=WAIT_S)

    batch = installation.queue.enqueue_batch(jobs(), "sim")
    assert {record.state for record in installation.follow(batch.id)} == {"succeeded"}


def test_an_iterable_that_raises_cancels_what_it_gave(installation: Installation) -> None:
    def jobs() -> Iterator[dict[str, str]]:
        for number in range(600):
            yield {"prompt": f"job:interrupted-{number}", "not_before": "1h"}
        raise OSError("the disk was taken out")

    with pytest.raises(BatchInterrupted, match=r"job 601 .*: OSError: the disk was taken out") as caught:
        installation.queue.enqueue_batch(jobs(), "sim")
    assert isinstance(caught.value.__cause__, OSError)
    batch = until(
        lambda: (now := installation.queue.batch(caught.value.batch_id)).ended and now, "the batch to end"
    )
    assert (batch.counts.total, batch.counts.cancelled) == (500, 500)


def test_an_invalid_job_in_an_iterable_cancels_the_batch_and_says_which(installation: Installation) -> None:
    jobs = [{"prompt": "job:good", "not_before": "1h"}, {"prompt": ""}]
    with pytest.raises(BatchInterrupted, match="job 2 could not be had or enqueued") as caught:
        installation.queue.enqueue_batch(jobs, "sim")
    assert isinstance(caught.value.__cause__, InvalidJob)


def test_on_an_event_loop_jobs_are_enqueued_awaited_and_cancelled(installation: Installation) -> None:
    async def story() -> None:
        async with AsyncChatQueue(installation.config) as queue:
            jobs = [await queue.enqueue("sim", f"job:loop-{number}") for number in range(3)]
            records = await asyncio.gather(*(queue.wait(job.id, WAIT_S) for job in jobs))
            assert [record.state for record in records] == ["succeeded"] * 3
            assert await queue.get(jobs[0].id) == records[0]
            waiting = await queue.enqueue("sim", "job:loop-waiting", not_before="1h")
            assert (await queue.cancel(waiting.id)).state == "cancelled"
            await queue.delete(waiting.id)

    asyncio.run(story())


def test_on_an_event_loop_a_batch_comes_from_an_asynchronous_iterable(installation: Installation) -> None:
    async def jobs() -> AsyncIterator[str]:
        for number in range(20):
            yield f"job:loop-batch-{number}"
            await asyncio.sleep(0)

    async def story() -> list[str]:
        async with AsyncChatQueue(installation.config) as queue:
            batch = await queue.enqueue_batch(jobs(), "sim")
            return [record.state async for record in queue.results(batch.id, follow=True)]

    assert asyncio.run(story()) == ["succeeded"] * 20


def test_on_an_event_loop_an_iterable_that_raises_cancels_what_it_gave(installation: Installation) -> None:
    async def jobs() -> AsyncIterator[dict[str, str]]:
        yield {"prompt": "job:loop-interrupted", "not_before": "1h"}
        raise OSError("the disk was taken out")

    async def story() -> str:
        async with AsyncChatQueue(installation.config) as queue:
            with pytest.raises(BatchInterrupted) as caught:
                await queue.enqueue_batch(jobs(), "sim")
            return caught.value.batch_id

    assert installation.queue.batch(asyncio.run(story())).ended


def test_results_are_read_on_beyond_those_that_were_let_go(install: Install) -> None:
    """As those of `chatq batch run` are, which fill whole pages."""
    installation = install()
    batch = installation.queue.enqueue_batch((f"job:let-go-{n}" for n in range(560)), "sim")
    installation.queue.cancel_batch(batch.id)
    records = list(installation.queue.results(batch.id))
    assert len(records) == 560
    installation.queue.let_go(batch.id, [record.id for record in records[:550]])
    assert list(installation.queue.results(batch.id)) == records[550:]
    shown = installation.command("batch", "results", batch.id)
    assert (len(shown.stdout.splitlines()), shown.stderr) == (10, "")

    async def read() -> list[JobRecord]:
        async with AsyncChatQueue(installation.config) as queue:
            return [record async for record in queue.results(batch.id)]

    assert asyncio.run(read()) == records[550:]


def test_the_record_of_enqueueing_is_that_which_is_read(install: Install) -> None:
    installation = install()
    job = installation.queue.enqueue("sim", "hi", tenant="t", custom_id="c", metadata={"a": "b"})
    assert job == installation.queue.get(job.id)
    assert (job.tenant, job.custom_id) == ("t", "c")


def test_who_waits_in_a_terminal_is_told_that_no_worker_is_alive(install: Install) -> None:
    installation = install()
    waiting = installation.command("submit", "sim", "hi", "--wait", "--timeout", "0.1")
    assert "No worker is alive.\n  Start a worker: chatq worker (or chatq up).\n" in waiting.stderr
    batch = installation.queue.enqueue_batch(["hi"], "sim")
    installation.queue.cancel_batch(batch.id)
    assert installation.command("batch", "results", batch.id, "--follow").stderr == ""
