"""What users do with the official Python client, each a function of a client that finds plain facts."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

from openai import AsyncOpenAI, OpenAI

ENDED = {"completed", "failed", "expired", "cancelled"}


# -- Files and batches


def start_batch(client: OpenAI, lines: str, **keys: Any) -> dict[str, Any]:
    file = client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **keys
    )
    return {"file": file.model_dump(), "batch": batch.model_dump()}


def end_of_batch(client: OpenAI, batch_id: str) -> dict[str, Any]:
    batch = client.batches.retrieve(batch_id)
    while batch.status not in ENDED:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch_id)
    return batch.model_dump()


def lines_of_file(client: OpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def download(client: OpenAI, file_id: str, path: str) -> None:
    client.files.content(file_id).write_to_file(path)


def cancel_batch(client: OpenAI, batch_id: str) -> dict[str, Any]:
    return client.batches.cancel(batch_id).model_dump()


def create_batch_of(client: OpenAI, file_id: str) -> dict[str, Any]:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    ).model_dump()


def upload(client: OpenAI, purpose: Any = "batch") -> str:
    return client.files.create(file=("in.jsonl", b"{}\n"), purpose=purpose).id


def newest_files(client: OpenAI, count: int, page: int) -> list[str]:
    return [file.id for file in itertools.islice(client.files.list(limit=page), count)]


def newest_batches(client: OpenAI, count: int, page: int) -> list[str]:
    return [batch.id for batch in itertools.islice(client.batches.list(limit=page), count)]


def all_files(client: OpenAI, page: int) -> list[str]:
    return [file.id for file in client.files.list(limit=page)]


def file(client: OpenAI, file_id: str) -> dict[str, Any]:
    return client.files.retrieve(file_id).model_dump()


def delete_file(client: OpenAI, file_id: str) -> bool:
    return client.files.delete(file_id).deleted


# -- Chat completions


def complete(client: OpenAI, content: str, model: str = "sim", **keys: Any) -> dict[str, Any]:
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], **keys
    ).model_dump()


def complete_raw(client: OpenAI, content: str) -> dict[str, Any]:
    answer = client.chat.completions.with_raw_response.create(
        model="sim", messages=[{"role": "user", "content": content}]
    )
    parsed = answer.parse()
    return {
        "status": answer.status_code,
        "content_type": answer.headers["content-type"],
        "request_id": answer.request_id,
        "parsed_request_id": parsed._request_id,
        "text": parsed.choices[0].message.content,
    }


def stream(client: OpenAI, content: str, **keys: Any) -> list[dict[str, Any]]:
    with client.chat.completions.create(
        model="sim",
        messages=[{"role": "user", "content": content}],
        stream=True,
        stream_options={"include_usage": True},
        **keys,
    ) as chunks:
        return [chunk.model_dump() for chunk in chunks]


def stream_helper(client: OpenAI, content: str, **keys: Any) -> dict[str, Any]:
    with client.chat.completions.stream(
        model="sim", messages=[{"role": "user", "content": content}], **keys
    ) as events:
        deltas = [event.delta for event in events if event.type == "content.delta"]
        whole = events.get_final_completion()
    return {"deltas": deltas, "whole": whole.model_dump()}


def stream_and_leave(client: OpenAI, content: str) -> str:
    with client.chat.completions.with_raw_response.create(
        model="sim", messages=[{"role": "user", "content": content}], stream=True
    ).parse() as chunks:
        next(iter(chunks))
        return str(chunks.response.headers["x-request-id"])


def use_tool(client: OpenAI, content: str, tool: dict[str, Any], result: str) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": content}]
    tools: list[Any] = [tool]
    first = client.chat.completions.create(model="sim", messages=messages, tools=tools).choices[0]
    messages.append(first.message)
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call in first.message.tool_calls or []
    ]
    second = client.chat.completions.create(model="sim", messages=messages, tools=tools).choices[0]
    return {"first": first.model_dump(), "second": second.model_dump()}


def complete_patiently(
    client: OpenAI, content: str, idempotency_key: str, timeout: float, max_retries: int
) -> dict[str, Any]:
    answer = client.with_options(
        timeout=timeout, max_retries=max_retries
    ).chat.completions.with_raw_response.create(
        model="sim",
        messages=[{"role": "user", "content": content}],
        extra_headers={"Idempotency-Key": idempotency_key},
    )
    return {"retries": answer.retries_taken, "request_id": answer.request_id}


def complete_impatiently(client: OpenAI, content: str, job_id: str, timeout: float) -> dict[str, Any]:
    return complete(
        client.with_options(timeout=timeout, max_retries=0), content, extra_body={"chatq": {"id": job_id}}
    )


# -- Models


def models(client: OpenAI) -> list[dict[str, Any]]:
    return [model.model_dump() for model in client.models.list()]


def model(client: OpenAI, model_id: str) -> dict[str, Any]:
    return client.models.retrieve(model_id).model_dump()


# -- The asynchronous client


async def complete_at_once(client: AsyncOpenAI, contents: list[str]) -> list[str | None]:
    answers = await asyncio.gather(
        *(
            client.chat.completions.create(model="sim", messages=[{"role": "user", "content": content}])
            for content in contents
        )
    )
    return [answer.choices[0].message.content for answer in answers]


async def stream_asynchronously(client: AsyncOpenAI, content: str) -> str:
    chunks = await client.chat.completions.create(
        model="sim", messages=[{"role": "user", "content": content}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def batch_asynchronously(client: AsyncOpenAI, lines: str) -> dict[str, Any]:
    file = await client.files.create(file=("in.jsonl", lines.encode()), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status not in ENDED:
        await asyncio.sleep(0.05)
        batch = await client.batches.retrieve(batch.id)
    output = (await client.files.content(batch.output_file_id or "")).text
    listed = [one.id async for one in client.batches.list(limit=1)]
    return {
        "batch": batch.model_dump(),
        "output": [json.loads(line) for line in output.splitlines()],
        "listed": batch.id in listed,
    }
