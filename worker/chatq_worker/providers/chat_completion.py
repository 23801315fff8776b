"""Building what every adapter gives back: an OpenAI chat.completion, and the record's fields beside it.

Source of the shape: OpenAI API reference, the chat completion object.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from chatq_worker.providers.adapter import Answer, Chat, Completion, Usage
from chatq_worker.providers.error_answers import bad_answer, request_id_of

_DEEPEST: Final = 200
_LARGEST_COUNT: Final = 2**53
NO_USAGE: Final = "The provider did not say how many tokens were used."


def completion_of(
    answer: Answer,
    chat: Chat,
    *,
    data: Mapping[str, Any],
    choices: Sequence[dict[str, Any]],
    usage: Usage | None,
    usage_extra: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    created: Any = None,
    warnings: Sequence[str] = (),
) -> Completion:
    """The completion of an answer that has been read.

    `data`: the answer's JSON, of which id and model are taken. `choices`: in OpenAI's shape, at least one, made with
    `choice_of`. `usage` None: the provider stated none. `usage_extra`, `extra`: further keys of `response.usage` and
    `response`. Raises `CallFailed` (bad_answer) for JSON that is nested too deeply to be written again.
    """
    model = data.get("model")
    model = model if isinstance(model, str) and model else chat.model
    response: dict[str, Any] = {
        "id": _text(data.get("id")),
        "object": "chat.completion",
        "created": created if type(created) is int and abs(created) <= _LARGEST_COUNT else int(time.time()),
        "model": model,
        "choices": list(choices),
        **(extra or {}),
    }
    if usage is not None:
        response["usage"] = {**(usage_extra or {}), **_usage_object(usage, usage_extra or {})}
    elif usage_extra:
        response["usage"] = dict(usage_extra)
    _check_writable(answer, response)
    message = choices[0]["message"]
    return Completion(
        text=message.get("content") or message.get("refusal") or "",
        reasoning=message.get("reasoning_content") or None,
        tool_calls=message.get("tool_calls"),
        finish_reason=choices[0]["finish_reason"],
        model=model,
        usage=usage or Usage(),
        response=response,
        provider_request_id=request_id_of(answer),
        cost_usd=_cost(response, answer),
        warnings=[*warnings, *(() if usage is not None else (NO_USAGE,))],
    )


def choice_of(
    index: int,
    *,
    text: str | None,
    finish: Any,
    finish_words: Mapping[str, str],
    reasoning: str | None = None,
    refusal: str | None = None,
    tool_calls: Sequence[Mapping[str, Any]] = (),
    message_extra: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One choice in OpenAI's shape.

    `finish`: the source's word, of any type; `finish_words`: its words in OpenAI's. An unknown word stays as it is;
    none at all is `tool_calls` or `stop`. The source's own is kept as `native_finish_reason` where it differs.
    """
    message: dict[str, Any] = {**(message_extra or {}), "role": "assistant", "content": text}
    if refusal is not None:
        message["refusal"] = refusal
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = list(tool_calls)
    else:
        message.pop("tool_calls", None)
    if isinstance(finish, str) and finish:
        word = finish_words.get(finish, finish)
    else:
        word = "tool_calls" if tool_calls else "stop"
    choice = {**(extra or {}), "index": index, "message": message, "finish_reason": word}
    if finish != word:
        choice["native_finish_reason"] = finish
    return choice


def tool_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """One tool call in OpenAI's shape. `arguments`: JSON text, or what the source wrote instead."""
    if isinstance(arguments, str):
        text = arguments
    else:
        try:
            text = orjson.dumps({} if arguments is None else arguments).decode()
        except TypeError:  # nested more deeply than JSON is written
            text = "{}"
    return {
        "id": _text(call_id),
        "type": "function",
        "function": {"name": _text(name), "arguments": text},
    }


def count(data: Any, *path: str) -> int | None:
    """A number of tokens somewhere in an answer, or None. Cohere writes them as floats."""
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    if isinstance(data, float) and data.is_integer():
        data = int(data)
    return data if type(data) is int and 0 <= data <= _LARGEST_COUNT else None


def usage_of(
    prompt: int | None,
    completion: int | None,
    total: int | None = None,
    cached: int | None = None,
    reasoning: int | None = None,
) -> Usage | None:
    """The usage, or None when neither prompt nor answer was counted."""
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    return Usage(prompt, completion, total or prompt + completion, cached, reasoning)


def _usage_object(usage: Usage, said: Mapping[str, Any]) -> dict[str, Any]:
    """The usage in OpenAI's shape, with the details that the source gave in its own."""
    result: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    for group, name, value in (
        ("prompt_tokens_details", "cached_tokens", usage.cached_tokens),
        ("completion_tokens_details", "reasoning_tokens", usage.reasoning_tokens),
    ):
        if value is not None:
            given = said.get(group)
            result[group] = {**(given if isinstance(given, Mapping) else {}), name: value}
    return result


def _cost(response: Mapping[str, Any], answer: Answer) -> float | None:
    """What the call cost in US dollars, where the provider says so (Perplexity, OpenRouter, LiteLLM)."""
    usage = response.get("usage")
    cost = usage.get("cost") if isinstance(usage, Mapping) else None
    if isinstance(cost, Mapping):
        if cost.get("currency", "USD") != "USD":
            return None
        cost = cost.get("total_cost")
    if cost is None:
        try:
            cost = float(answer.headers.get("x-litellm-response-cost") or "")
        except ValueError:
            return None
    if isinstance(cost, int | float) and not isinstance(cost, bool) and math.isfinite(cost) and cost >= 0:
        return float(cost)
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _check_writable(answer: Answer, response: Mapping[str, Any]) -> None:
    """Records are JSON: an answer that can be read and not written must not get as far as the ledger."""
    if answer.body.count(b"[") + answer.body.count(b"{") <= _DEEPEST:
        return
    try:
        orjson.dumps(response)
    except TypeError:
        raise bad_answer(answer, "JSON that is nested too deeply") from None
