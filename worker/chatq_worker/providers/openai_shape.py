"""OpenAI's chat-completions shape, which several sources speak: bodies, answers, errors.

Source: OpenAI API reference, Chat Completions. Answers are read leniently, because servers that copy the shape
leave things out or change their types.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from chatq_worker.failures import CallFailed
from chatq_worker.providers.adapter import Answer, Chat, Completion, Usage
from chatq_worker.providers.retry_after import retry_after_s

_SHOWN_CHARACTERS: Final = 500
_QUOTA: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_not_active",
        "billing_hard_limit_reached",
    }
)
_KEY_WORDS: Final = ("api key", "api_key", "apikey", "authentication", "token", "credential")
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


def body_of(chat: Chat) -> tuple[dict[str, Any], list[str]]:
    """The request body, and warnings for what was left out. Nothing that the job did not ask for is in it."""
    warnings: list[str] = []
    body: dict[str, Any] = {}
    if chat.model:
        body["model"] = chat.model
    body["messages"] = list(chat.messages)
    for name, value in chat.params.items():
        if name in {"stream", "stream_options"}:
            warnings.append(f"{name} was left out: a queued job is answered as a whole.")
        elif value is not None:
            body[name] = value
    for name in ("tools", "tool_choice", "response_format"):
        value = getattr(chat, name)
        if value is not None:
            body[name] = value
    return body, warnings


def parse(answer: Answer) -> Any:
    """The answer's JSON. Raises `CallFailed` (bad_answer) when it is none; blank keep-alive lines do not matter."""
    try:
        return orjson.loads(answer.body.strip())
    except orjson.JSONDecodeError:
        start = answer.body[:200].strip().lower()
        what = "a web page" if start.startswith((b"<!doctype", b"<html")) else "something that is not JSON"
        raise CallFailed(
            "bad_answer",
            f"The provider answered with {what}, status {answer.status}.",
            http_status=answer.status,
        ) from None


def read_completion(answer: Answer, chat: Chat) -> Completion:
    """The completion in a 2xx answer; every other answer, and an error inside a 200, raises `CallFailed`."""
    if not 200 <= answer.status < 300:
        raise failure_of(answer)
    data = parse(answer)
    if not isinstance(data, dict):
        raise _bad(answer, "not a JSON object")
    if data.get("error") and not data.get("choices"):
        raise CallFailed(
            "server_error",
            "The provider answered 200 with an error inside.",
            http_status=answer.status,
            provider_message=message_of(data, answer),
            provider_request_id=request_id_of(answer),
        )
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _bad(answer, "without choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise _bad(answer, "without a message")
    text = text_of(message.get("content"))
    reasoning = next(
        (message[key] for key in ("reasoning_content", "reasoning") if isinstance(message.get(key), str)),
        None,
    )
    if reasoning is None:
        reasoning, text = split_thinking(text)
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    calls = message.get("tool_calls")
    tool_calls = (
        [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) and calls else None
    )
    finish = choices[0].get("finish_reason")
    usage, warnings = usage_of(data.get("usage"))
    model = data.get("model")
    return Completion(
        text=text,
        reasoning=reasoning or None,
        tool_calls=tool_calls,
        finish_reason=finish
        if isinstance(finish, str) and finish
        else "tool_calls"
        if tool_calls
        else "stop",
        model=model if isinstance(model, str) and model else chat.model,
        usage=usage,
        response=_whole(data, chat),
        provider_request_id=request_id_of(answer),
        warnings=warnings,
    )


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def split_thinking(text: str) -> tuple[str | None, str]:
    """(reasoning, text) of a text that opens with a <think> block; (None, text) of any other."""
    opened = text.lstrip()
    if not opened.startswith(_THINK_OPEN):
        return None, text
    thought, closed, rest = opened[len(_THINK_OPEN) :].partition(_THINK_CLOSE)
    return (thought.strip(), rest.lstrip()) if closed else (thought.strip(), "")


def usage_of(usage: Any) -> tuple[Usage, Sequence[str]]:
    """The tokens that the answer states, and a warning when it states none."""
    if not isinstance(usage, Mapping):
        return Usage(), ("The provider did not say how many tokens were used.",)
    prompt, completion = _count(usage, "prompt_tokens") or 0, _count(usage, "completion_tokens") or 0
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_count(usage, "total_tokens") or prompt + completion,
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    ), ()


def failure_of(answer: Answer) -> CallFailed:
    """What an answer that is no success means. Source of the quota codes: OpenAI, Error codes."""
    status = answer.status
    try:
        data = parse(answer)
    except CallFailed:
        data = None
    message = message_of(data, answer)
    error = data.get("error") if isinstance(data, dict) else None
    words = {str(error.get(key)) for key in ("type", "code")} if isinstance(error, dict) else set()
    code = _code(status, words, message)
    return CallFailed(
        code,
        f"The provider answered {status}.",
        http_status=status,
        provider_message=message or None,
        provider_request_id=request_id_of(answer),
        retry_after_s=retry_after_s(answer.headers),
    )


def _code(status: int, words: set[str], message: str) -> str:
    if words & _QUOTA or status == 402:
        return "quota_exhausted"
    if status == 429 or status == 529:
        return "rate_limited"
    if status == 401:
        return "unauthorized"
    if status == 403:
        return "unauthorized" if any(word in message.lower() for word in _KEY_WORDS) else "forbidden"
    if status == 404:
        return "not_found"
    if status in {408, 409} or status >= 500:
        return "server_error"
    if 300 <= status < 400:
        return "redirected"
    return "invalid_request"


def message_of(data: Any, answer: Answer) -> str:
    """The provider's own words, wherever its error shape keeps them; at most 500 characters."""
    text: Any = None
    if isinstance(data, dict):
        error = data.get("error")
        text = error.get("message") if isinstance(error, dict) else error
        text = text or data.get("message") or data.get("detail")
        if isinstance(text, dict):
            text = text.get("detail") or text
        if isinstance(text, list):
            text = "; ".join(
                f"{'.'.join(str(part) for part in item.get('loc', []))}: {item.get('msg', '')}"
                for item in text
                if isinstance(item, dict)
            )
    if not isinstance(text, str) or not text:
        text = answer.body[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
    return " ".join(text.split())[:_SHOWN_CHARACTERS]


def request_id_of(answer: Answer) -> str | None:
    """The id under which the provider knows the call."""
    return answer.headers.get("x-request-id") or answer.headers.get("request-id")


def _bad(answer: Answer, what: str) -> CallFailed:
    return CallFailed(
        "bad_answer",
        f"The provider's answer is {what}.",
        http_status=answer.status,
        provider_request_id=request_id_of(answer),
    )


def _count(data: Any, key: str) -> int | None:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _whole(data: dict[str, Any], chat: Chat) -> dict[str, Any]:
    """The answer with what a chat.completion always has."""
    return {
        "id": data.get("id") or "",
        "object": "chat.completion",
        "created": data.get("created") or int(time.time()),
        "model": data.get("model") or chat.model,
        **{key: value for key, value in data.items() if key not in {"id", "object", "created", "model"}},
    }
