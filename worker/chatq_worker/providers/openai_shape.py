"""Answers in OpenAI's chat-completions shape, which most sources speak.

Read leniently, because servers that copy the shape leave things out or change their types: null contents, contents as
a list of chunks, numbers for codes, arguments as objects, reasoning under three names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chatq_worker.failures import CallFailed
from chatq_worker.providers.adapter import Answer, Chat, Completion
from chatq_worker.providers.chat_completion import choice_of, completion_of, count, tool_call, usage_of
from chatq_worker.providers.error_answers import (
    bad_answer,
    failure_inside,
    message_of,
    object_of,
    request_id_of,
)
from chatq_worker.providers.think_block import split_thinking

FINISH_WORDS: Final[Mapping[str, str]] = {
    "model_length": "length",
    "max_tokens": "length",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}
"""Words of servers that otherwise speak OpenAI's shape, in OpenAI's own."""

REASONING: Final = ("reasoning_content", "reasoning")
"""Where a message's reasoning stands; the first that is not empty counts."""

BROKEN_OFF: Final = frozenset({"insufficient_system_resource", "error"})
"""Finish reasons of a generation that the server gave up (DeepSeek, Mistral): a failure of its, whatever the status."""


def read_completion(answer: Answer, chat: Chat, source: str, *, thinks_aloud: bool = False) -> Completion:
    """The completion in an answer; every failure, and an error inside a 200, raises `CallFailed`.

    `thinks_aloud`: a leading <think> block in the text is reasoning.
    """
    data = object_of(answer, source)
    choices = data.get("choices")
    if data.get("error") and not choices:
        raise failure_inside(answer, source, data)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise bad_answer(answer, "without choices")
    if not isinstance(choices[0].get("message"), dict):
        raise bad_answer(answer, "without a message")
    finish = choices[0].get("finish_reason")
    if isinstance(finish, str) and finish in BROKEN_OFF:
        raise CallFailed(
            "server_error",
            f"The provider broke its answer off ({finish}).",
            http_status=answer.status,
            provider_message=message_of(data, answer) if data.get("error") else None,
            provider_request_id=request_id_of(answer),
        )
    usage = data.get("usage")
    stated = usage_of(
        count(usage, "prompt_tokens"),
        count(usage, "completion_tokens"),
        count(usage, "total_tokens"),
        _first(
            count(usage, "prompt_tokens_details", "cached_tokens"), count(usage, "prompt_cache_hit_tokens")
        ),
        _first(
            count(usage, "completion_tokens_details", "reasoning_tokens"), count(usage, "reasoning_tokens")
        ),
    )
    return completion_of(
        answer,
        chat,
        data=data,
        choices=[
            _choice(index, choice, thinks_aloud=thinks_aloud)
            for index, choice in enumerate(choices)
            if isinstance(choice, dict) and isinstance(choice.get("message"), dict)
        ],
        usage=stated,
        usage_extra=usage if isinstance(usage, dict) else None,
        extra={
            name: value
            for name, value in data.items()
            if name not in ("id", "object", "created", "model", "choices", "usage")
        },
        created=data.get("created"),
    )


def _choice(index: int, choice: Mapping[str, Any], *, thinks_aloud: bool) -> dict[str, Any]:
    message: dict[str, Any] = choice["message"]
    text, reasoning, references = content_of(message.get("content"))
    for name in REASONING:
        if isinstance(message.get(name), str) and message[name]:
            reasoning = message[name]
            break
    if reasoning is None and thinks_aloud and text:
        reasoning, text = split_thinking(text)
    extra = {
        name: value
        for name, value in message.items()
        if name not in ("role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls")
    }
    if references:
        extra.setdefault("citations", references)
    refusal = message.get("refusal")
    calls = message.get("tool_calls")
    return choice_of(
        index,
        text=text,
        finish=choice.get("finish_reason"),
        finish_words=FINISH_WORDS,
        reasoning=reasoning,
        refusal=refusal if isinstance(refusal, str) else None,
        tool_calls=[
            {**call, **_call(call)}
            for call in (calls if isinstance(calls, list) else ())
            if isinstance(call, dict)
        ],
        message_extra=extra,
        extra={
            name: value
            for name, value in choice.items()
            if name not in ("index", "message", "finish_reason", "delta")
        },
    )


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        # A tool of another kind, as OpenAI's `custom`: kept as it is.
        return {"id": str(call.get("id") or ""), "type": str(call.get("type") or "function")}
    return tool_call(call.get("id"), function.get("name"), function.get("arguments"))


def content_of(content: Any) -> tuple[str | None, str | None, list[Any]]:
    """(text, reasoning, references) of a content: a text, or Mistral's list of chunks."""
    if isinstance(content, str):
        return content, None, []
    if not isinstance(content, list):
        return None, None, []
    texts, thoughts, references = [], [], []
    for chunk in content:
        if not isinstance(chunk, Mapping):
            continue
        if chunk.get("type") == "thinking":
            thoughts += thoughts_of(chunk)
        elif isinstance(chunk.get("text"), str):
            texts.append(chunk["text"])
        else:
            references.append(chunk)
    return "".join(texts), "".join(thoughts) or None, references


def thoughts_of(chunk: Mapping[str, Any]) -> list[str]:
    """The texts of a chunk that is a thought."""
    thinking = chunk.get("thinking")
    if isinstance(thinking, str):
        return [thinking]
    if not isinstance(thinking, list):
        return []
    return [
        chunk["text"]
        for chunk in thinking
        if isinstance(chunk, Mapping) and isinstance(chunk.get("text"), str)
    ]


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one
