"""Jobs in OpenAI's words that use each thing a job can say: they must come out right for every source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provider_testing import CLOCK, PNG, WEATHER

ASK = [{"role": "user", "content": "Weather in Oslo, as JSON?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def call(call_id: str, name: str = "get_weather", arguments: str = '{"city": "Oslo"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: Any = "4 degrees") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def image(**more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": PNG, **more}}


TEXT = {"type": "text", "text": "What is this?"}

MESSAGES: Mapping[str, list[dict[str, Any]]] = {
    "system and developer": [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        *ASK,
    ],
    "system in the middle": [*ASK, {"role": "system", "content": "Be brief."}, *ASK],
    "an assistant at the end": [*ASK, {"role": "assistant", "content": "It is"}],
    "an assistant at the start": [{"role": "assistant", "content": "Hello."}, *ASK],
    "names": [
        {"role": "user", "name": "Ada", "content": "Hi."},
        {"role": "assistant", "name": "Bot", "content": "Hi, Ada."},
        {"role": "user", "name": "Ada", "content": "More."},
    ],
    "parts of text": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [TEXT, TEXT]},
        {"role": "assistant", "content": [TEXT]},
        {"role": "user", "content": [TEXT]},
    ],
    "an image as data": [{"role": "user", "content": [TEXT, image(detail="low")]}],
    "a remote image": [{"role": "user", "content": [image(url="https://pictures.test/rain.png"), TEXT]}],
    "a refusal": [*ASK, {"role": "assistant", "content": None, "refusal": "I cannot."}, *ASK],
    "reasoning in the history": [
        *ASK,
        {"role": "assistant", "content": "Cold.", "reasoning_content": "North."},
        *ASK,
    ],
    "annotations in the history": [
        *ASK,
        {"role": "assistant", "content": "Cold.", "annotations": [], "audio": None, "function_call": None},
        *ASK,
    ],
}

HISTORIES: Mapping[str, list[dict[str, Any]]] = {
    "a call and its result": [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call("call_1")]},
        result("call_1"),
    ],
    "two calls with text beside": [
        *ASK,
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [call("call_1"), call("call_2", "get_time", "{}")],
        },
        result("call_1"),
        result("call_2", [{"type": "text", "text": "noon"}]),
        *ASK,
    ],
    "a call with empty arguments": [
        *ASK,
        {"role": "assistant", "content": "", "tool_calls": [call("call_1", "get_time", "")]},
        result("call_1", ""),
    ],
    "a result without its call": [*ASK, result("call_9"), *ASK],
    "a call without its result": [*ASK, {"role": "assistant", "tool_calls": [call("call_1")]}, *ASK],
}

PARAMS: Mapping[str, dict[str, Any]] = {
    "a cap in the old word": {"max_tokens": 9},
    "a cap in the new word": {"max_completion_tokens": 9},
    "a long answer": {"max_tokens": 30_000},
    "sampling": {"temperature": 1.5, "top_p": 1.0},
    "sampling in whole numbers": {"temperature": 0, "top_p": 1},
    "sampling of open models": {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1},
    "penalties": {"presence_penalty": -1, "frequency_penalty": 1.5},
    "a stop": {"stop": "END"},
    "many stops": {"stop": ["a", "b", "c", "d", "e", "f"]},
    "a seed": {"seed": 7},
    "many answers": {"n": 3},
    "log probabilities": {"logprobs": True, "top_logprobs": 2},
    "a bias": {"logit_bias": {"50256": -100}},
    "a user": {"user": "user-1", "safety_identifier": "user-1"},
    "parallel calls": {"parallel_tool_calls": False},
    "metadata and storage": {"metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
    "streaming": {"stream": True, "stream_options": {"include_usage": True}},
    **{
        f"effort {effort}": {"reasoning_effort": effort}
        for effort in ("none", "minimal", "low", "medium", "high", "xhigh")
    },
}

TOOL_CHOICES: Mapping[str, Any] = {
    "none": "none",
    "auto": "auto",
    "required": "required",
    "a function": {"type": "function", "function": {"name": "get_weather"}},
}

FORMATS: Mapping[str, dict[str, Any]] = {
    "text": {"type": "text"},
    "json_object": {"type": "json_object"},
    "json_schema": {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}},
    "json_schema, strict": {
        "type": "json_schema",
        "json_schema": {"name": "weather", "description": "Weather.", "schema": SCHEMA, "strict": True},
    },
}

OPENAI_JOBS: Mapping[str, dict[str, Any]] = {
    **{f"messages: {name}": {"messages": messages} for name, messages in MESSAGES.items()},
    **{
        f"tools: {name}": {"messages": messages, "tools": [WEATHER, CLOCK]}
        for name, messages in HISTORIES.items()
    },
    **{f"tools no more offered: {name}": {"messages": messages} for name, messages in HISTORIES.items()},
    **{
        f"tool_choice: {name}": {"messages": ASK, "tools": [WEATHER, CLOCK], "tool_choice": choice}
        for name, choice in TOOL_CHOICES.items()
    },
    "tool_choice without tools": {"messages": ASK, "tool_choice": "auto"},
    **{f"params: {name}": {"messages": ASK, "params": params} for name, params in PARAMS.items()},
    **{
        f"response_format: {name}": {"messages": ASK, "response_format": wanted}
        for name, wanted in FORMATS.items()
    },
    "tools beside a response_format": {
        "messages": ASK,
        "tools": [WEATHER],
        "response_format": FORMATS["json_object"],
    },
}
"""By what they use. Neither connection nor model is in them."""
