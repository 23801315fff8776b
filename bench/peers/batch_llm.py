"""async-batch-llm's `process_prompts`, with as many connections as calls at once."""

from __future__ import annotations

import asyncio

from async_batch_llm import llm, process_prompts
from contender import Work, contend_async


async def run(work: Work) -> int:
    model = llm(
        "openai-compatible:local-model", base_url=work.url, api_key="bench", max_connections=work.at_once
    )
    batch = await process_prompts(model, work.prompts(), concurrency=work.at_once)
    return sum(result.success for result in batch.results)


asyncio.run(contend_async(run, "async-batch-llm"))
