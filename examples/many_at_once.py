"""A hundred callers in one process, each waiting for its own job."""

import asyncio

from chatq import AsyncChatQueue


async def ask(queue: AsyncChatQueue, number: int) -> int:
    job = await queue.enqueue("demo", f"What is {number} squared?")
    record = await queue.wait(job.id, timeout=60)
    return len(record.result.text) if record.result else 0


async def main() -> None:
    async with AsyncChatQueue() as queue:
        lengths = await asyncio.gather(*(ask(queue, number) for number in range(100)))
    print(f"{len(lengths)} answers, {sum(lengths)} characters")


asyncio.run(main())
