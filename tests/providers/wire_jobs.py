"""Turning a source's sample request back into the job, in OpenAI's words, that a caller would have sent for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chatq_worker.providers import Chat

OPENAI_WORDS = {
    "mistralai": {"random_seed": "seed"},
    "deepseek": {"user_id": "user"},
    "claude": {"stop_sequences": "stop"},
    "cohere": {"stop_sequences": "stop", "p": "top_p", "k": "top_k"},
    "perplexity": {"max_output_tokens": "max_tokens"},
}
NOT_PARAMS = (
    "model",
    "messages",
    "input",
    "instructions",
    "system",
    "tools",
    "tool_choice",
    "response_format",
)
BY_THE_ADAPTER = {"cohere": ("stream",), "ai21": ("stream",)}
"""Keys that the source always gets, so that no job says them."""


def job_of(source: str, body: dict[str, Any], *, sonar: bool = False) -> Chat:
    """The chat whose translation should be `body`."""
    if source == "claude":
        return _of_claude(body)
    if source == "cohere":
        return _of_cohere(body)
    if source == "perplexity" and not sonar:
        return _of_agent(body)
    return Chat(
        body["messages"],
        body.get("model", ""),
        params=_params(source, body),
        tools=body.get("tools"),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
    )


def _params(source: str, body: dict[str, Any], *done: str) -> dict[str, Any]:
    words = OPENAI_WORDS.get(source, {})
    left_out = {*NOT_PARAMS, *done, *BY_THE_ADAPTER.get(source, ())}
    return {words.get(name, name): value for name, value in body.items() if name not in left_out}


def _of_claude(body: dict[str, Any]) -> Chat:
    messages: list[dict[str, Any]] = []
    if "system" in body:
        messages.append({"role": "system", "content": body["system"]})
    for message in body["messages"]:
        if isinstance(message["content"], str):
            messages.append(message)
            continue
        for block in message["content"]:
            if block["type"] == "tool_use":
                call = {"name": block["name"], "arguments": json.dumps(block["input"])}
                messages.append(
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": block["id"], "type": "function", "function": call}],
                    }
                )
            elif block["type"] == "tool_result":
                messages.append(
                    {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
                )
            else:
                messages.append({"role": message["role"], "content": [block]})
    params = _params("claude", body, "thinking", "output_config")
    response_format = None
    config = body.get("output_config", {})
    thinking = body.get("thinking", {})
    if thinking.get("type") == "adaptive":
        params["reasoning_effort"] = config["effort"]
    elif thinking:
        params["thinking"] = thinking
    if "format" in config:
        response_format = {
            "type": "json_schema",
            "json_schema": {"name": "line", "schema": config["format"]["schema"]},
        }
    choice = body.get("tool_choice", {})
    if choice.get("disable_parallel_tool_use"):
        params["parallel_tool_calls"] = False
    return Chat(
        messages,
        body.get("model", ""),
        params=params,
        tools=_functions(body.get("tools"), lambda tool: tool["input_schema"]),
        tool_choice=choice.get("type"),
        response_format=response_format,
    )


def _of_cohere(body: dict[str, Any]) -> Chat:
    messages = []
    for message in body["messages"]:
        own = dict(message)
        if "tool_plan" in own:
            own["content"] = own.pop("tool_plan")
        messages.append(own)
    wanted = body.get("response_format")
    if wanted and "json_schema" in wanted:
        wanted = {"type": "json_schema", "json_schema": {"name": "line", "schema": wanted["json_schema"]}}
    return Chat(
        messages,
        body.get("model", ""),
        params=_params("cohere", body),
        tools=body.get("tools"),
        tool_choice=body["tool_choice"].lower() if "tool_choice" in body else None,
        response_format=wanted,
    )


def _of_agent(body: dict[str, Any]) -> Chat:
    messages: list[dict[str, Any]] = []
    if "instructions" in body:
        messages.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        if item.get("type") == "function_call":
            call = {"name": item["name"], "arguments": item["arguments"]}
            messages.append(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": item["call_id"], "type": "function", "function": call}],
                }
            )
        elif item.get("type") == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
        else:
            messages.append(item)
    params = _params("perplexity", body, "reasoning")
    if "reasoning" in body:
        params["reasoning_effort"] = body["reasoning"]["effort"]
    tools = body.get("tools")
    if tools and tools[0]["type"] == "web_search":
        # A job says it in the words that Sonar had.
        params["web_search_options"] = {"search_context_size": tools[0]["search_context_size"]}
        params |= tools[0]["filters"]
        tools = None
    return Chat(
        messages,
        body.get("model", ""),
        params=params,
        tools=_functions(tools, lambda tool: tool["parameters"]),
        response_format=body.get("response_format"),
    )


def _functions(tools: list[Any] | None, schema: Callable[[Any], Any]) -> list[dict[str, Any]] | None:
    if tools is None:
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool["description"],
                "parameters": schema(tool),
            },
        }
        for tool in tools
    ]
