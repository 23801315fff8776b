"""`python openai_python`, in the environment of the SDKs: scenes for the official client, see `foreign_client.py`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from openai import APIError, AsyncOpenAI, OpenAI

import scenes


def played(scene: str, url: str, key: str, given: dict[str, Any]) -> Any:
    """What a scene finds. Every answer is held against the client's own types."""
    play = getattr(scenes, scene)
    if not asyncio.iscoroutinefunction(play):
        with OpenAI(base_url=url, api_key=key, _strict_response_validation=True) as client:
            return play(client, **given)

    async def run() -> Any:
        async with AsyncOpenAI(base_url=url, api_key=key, _strict_response_validation=True) as client:
            return await play(client, **given)

    return asyncio.run(run())


def facts_of(error: APIError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "param": error.param,
        "type": error.type,
        "message": error.message,
    }


for line in sys.stdin:
    try:
        answer = {"found": played(**json.loads(line))}
    except APIError as error:
        answer = {"error": facts_of(error)}
    print(json.dumps(answer), flush=True)  # noqa: T201 - its work
