"""LiteLLM's Router with one deployment, behind a semaphore."""

from __future__ import annotations

import asyncio

from contender import Work, contend_async
from litellm import Router


async def run(work: Work) -> int:
    gate = asyncio.Semaphore(work.at_once)
    deployment = {"model": "openai/local-model", "api_base": work.url, "api_key": "bench"}
    router = Router(model_list=[{"model_name": "local-model", "litellm_params": deployment}])

    async def call(prompt: str) -> bool:
        async with gate:
            completion = await router.acompletion(
                model="local-model", messages=[{"role": "user", "content": prompt}]
            )
        return completion.choices[0].finish_reason == "stop"

    return sum(await asyncio.gather(*map(call, work.prompts())))


asyncio.run(contend_async(run, "litellm"))
