"""OpenAI's own client, asynchronous, behind a semaphore: what most people write first."""

from __future__ import annotations

import asyncio

from contender import Work, contend_async
from openai import AsyncOpenAI


async def run(work: Work) -> int:
    gate = asyncio.Semaphore(work.at_once)
    async with AsyncOpenAI(base_url=work.url, api_key="bench") as client:

        async def call(prompt: str) -> bool:
            async with gate:
                completion = await client.chat.completions.create(
                    model="local-model", messages=[{"role": "user", "content": prompt}]
                )
            return completion.choices[0].finish_reason == "stop"

        return sum(await asyncio.gather(*map(call, work.prompts()), return_exceptions=False))


asyncio.run(contend_async(run, "openai"))
