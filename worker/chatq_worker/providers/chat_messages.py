"""OpenAI chat messages, made ready for sources with messages of their own.

Nothing here changes its input: functions return new lists of new messages, whose parts are shared with the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from chatq_worker.prompts import Names

CONTINUE: Final = "Continue your last message exactly where it ends, without repeating any of it."
"""The user's message behind a last turn of the assistant, for models that continue no such turn."""

NO_RESULT: Final = "No result was recorded for this call."
"""The result of a tool call that the history does not answer: sources refuse a call without one."""

SEPARATOR: Final = "\n\n"

OF_ANSWERS: Final = frozenset(
    {
        "annotations",
        "audio",
        "citations",
        "content_blocks",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "refusal",
        "search_results",
        "thinking_blocks",
        "tool_plan",
    }
)
"""Keys that an answer's message has and a prompt's has not. Callers send answers back as they came."""

_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII)


class Data(NamedTuple):
    """A file inside a message."""

    media_type: str
    base64: str


def modern(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages without OpenAI's older spellings.

    A developer is the system; a `function_call` is one of `tool_calls` and its `function` message a tool's; a refusal
    is what the assistant said; `tool_calls` of null or nothing are absent.
    """
    result: list[dict[str, Any]] = []
    calls = 0
    pending = ""
    for message in messages:
        own = dict(message)
        role = own.get("role")
        if role == "developer":
            own["role"] = "system"
        call = own.pop("function_call", None)
        if role == "function":
            own["role"] = "tool"
            own["tool_call_id"] = pending or str(own.get("name") or "function")
        elif isinstance(call, Mapping) and not own.get("tool_calls"):
            calls += 1
            pending = f"call{calls}"
            own["tool_calls"] = [{"id": pending, "type": "function", "function": dict(call)}]
        found = own.pop("tool_calls", None)
        if role == "assistant" and isinstance(found, list | tuple):
            kept = [entry for entry in found if isinstance(entry, Mapping)]
            if kept:
                own["tool_calls"] = kept
        if isinstance(own.get("refusal"), str) and not own.get("content"):
            own["content"] = own["refusal"]
        result.append(own)
    return result


def without_answer_keys(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """OpenAI messages as its prompts have them: answers that were sent back as they came lose what it would refuse.

    An assistant's turn keeps its refusal and the id of an earlier spoken answer.
    """
    result = []
    for message in messages:
        own = {key: value for key, value in message.items() if key not in OF_ANSWERS}
        if message.get("role") == "assistant":
            audio = message.get("audio")
            if isinstance(message.get("refusal"), str):
                own["refusal"] = message["refusal"]
            if isinstance(audio, Mapping) and "id" in audio:
                own["audio"] = {"id": audio["id"]}
        calls = own.pop("tool_calls", None)
        if isinstance(calls, list | tuple) and calls:
            own["tool_calls"] = [
                {key: value for key, value in call.items() if key != "index"} for call in calls
            ]
        result.append(own)
    return result


def mended(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Modern messages in which every tool call is followed by its results, and every result follows its call.

    A result that stands further behind moves up; a call without one gets `NO_RESULT`; a result without a call becomes
    the user's words. Sources refuse each of these.
    """
    results: dict[int, list[dict[str, Any]]] = {}
    open_calls: dict[str, int] = {}
    placed: set[int] = set()
    for index, message in enumerate(messages):
        if message.get("role") == "assistant" and message.get("tool_calls"):
            results[index] = []
            open_calls |= {call_id(call): index for call in message["tool_calls"]}
        elif message.get("role") == "tool":
            # Some servers give no ids: a result without one answers the oldest call that waits.
            asked = str(message.get("tool_call_id") or next(iter(open_calls), ""))
            if asked in open_calls:
                results[open_calls.pop(asked)].append({**message, "tool_call_id": asked})
                placed.add(index)
    mended: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if index in placed:
            continue
        if message.get("role") == "tool":
            mended.append({"role": "user", "content": message.get("content")})
            continue
        mended.append(dict(message))
        if index in results:
            found = results[index]
            answered = {str(result.get("tool_call_id")) for result in found}
            mended += found
            mended += [
                {"role": "tool", "tool_call_id": call_id(call), "content": NO_RESULT}
                for call in message["tool_calls"]
                if call_id(call) not in answered
            ]
    return mended


def call_id(call: Mapping[str, Any]) -> str:
    """The id of a tool call, as text."""
    return str(call.get("id") or "")


def called(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments (JSON text) of a tool call."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return "", "{}"
    return str(function.get("name") or ""), arguments_text(function.get("arguments"))


def arguments_text(arguments: Any) -> str:
    """Arguments of a call as JSON text: some write an object, some nothing."""
    if isinstance(arguments, str):
        return arguments or "{}"
    if arguments is None:
        return "{}"
    try:
        return orjson.dumps(arguments).decode()
    except TypeError:
        return "{}"


def arguments_object(arguments: Any) -> dict[str, Any]:
    """Arguments of a call as an object. What is no JSON object stands under `arguments`, so that nothing is lost."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    text = arguments_text(arguments)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def openai_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's tool calls with OpenAI's keys only."""
    calls = []
    for call in message.get("tool_calls", ()):
        name, arguments = called(call)
        calls.append(
            {"id": call_id(call), "type": "function", "function": {"name": name, "arguments": arguments}}
        )
    return calls


def parts_of(content: Any) -> list[Any]:
    """A content as a list of parts; a text is one part, nothing is none."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None:
        return []
    return list(content) if isinstance(content, list | tuple) else [content]


def text_in(part: Any) -> str | None:
    """The text of a text part; None for anything else."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") == "text":
        text = part.get("text")
        return text if isinstance(text, str) else ""
    return None


def joined_text(content: Any) -> str:
    """The text of a content; the texts of several parts are joined by a blank line, what is not text is not there."""
    if isinstance(content, str):
        return content
    return SEPARATOR.join(text for text in map(text_in, parts_of(content)) if text)


def other_parts(content: Any) -> list[str]:
    """The kinds of the parts that are not text, each once."""
    if isinstance(content, str):
        return []
    kinds = [
        str(part.get("type")) if isinstance(part, Mapping) else type(part).__name__
        for part in parts_of(content)
        if text_in(part) is None
    ]
    return list(dict.fromkeys(kinds))


def image_url(part: Any) -> str | None:
    """The URL of an image part; None for anything else."""
    if not isinstance(part, Mapping) or part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if isinstance(url, str) else None


def data_of(url: Any) -> Data | None:
    """The file that a data URL (base64) holds; None for any other URL."""
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    return Data(match[1], url[match.end() :]) if match else None


def speakers(message: Mapping[str, Any], names: Names) -> tuple[str, ...]:
    """What the words of a message begin with, as `Name: `: the first is to be written when none of them is there.

    A system message speaks for somebody when it is named `example_user` or `example_assistant`.
    """
    name, role = message.get("name"), message.get("role")
    if not isinstance(name, str) or not name or role == "tool":
        return ()
    if role != "system":
        return (f"{name}: ",)
    if name == "example_user":
        return (f"{names.user}: ",) if names.user else ()
    if name == "example_assistant" and names.char:
        return tuple(f"{speaker}: " for speaker in (names.char, *names.group) if speaker)
    return ()


def spoken(content: Any, begin: tuple[str, ...]) -> Any:
    """A content in which every text that is not empty begins with one of `begin`."""
    if not begin:
        return content
    if isinstance(content, str):
        return begin[0] + content if content and not content.startswith(begin) else content
    if not isinstance(content, list | tuple):
        return content
    result = []
    for part in content:
        text = text_in(part)
        if text and not text.startswith(begin):
            part = begin[0] + text if isinstance(part, str) else {**part, "text": begin[0] + text}
        result.append(part)
    return result


def leading_system(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many system messages stand at the start."""
    return next((i for i, message in enumerate(messages) if message.get("role") != "system"), len(messages))


def texts_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every text of the messages."""
    for message in messages:
        yield from filter(None, map(text_in, parts_of(message.get("content"))))
