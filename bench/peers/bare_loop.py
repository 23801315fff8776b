"""What everything is measured by: a loop that does the calls with aiohttp, and nothing else."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import uvloop
from contender import Work, contend_async


async def main() -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def run(work: Work) -> int:
            url, prompts = f"{work.url}/chat/completions", iter(work.prompts())

            async def calls() -> int:
                done = 0
                for prompt in prompts:
                    body = orjson.dumps(
                        {"model": "local-model", "messages": [{"role": "user", "content": prompt}]}
                    )
                    async with session.post(
                        url, data=body, headers={"content-type": "application/json"}
                    ) as answer:
                        completion = orjson.loads(await answer.read())
                    done += completion["choices"][0]["finish_reason"] == "stop"
                return done

            return sum(await asyncio.gather(*(calls() for _ in range(work.at_once))))

        await contend_async(run, "aiohttp", "uvloop")


uvloop.run(main())
