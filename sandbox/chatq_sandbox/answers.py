"""What the simulated models say: an answer that shows to which job and to which messages it belongs.

A text answer begins with `answer to job:NAME digest:HEX call:N`, so a caller can check that the right answer
came to the right job: NAME is the job's marker, HEX is `digest_of` the messages as the model saw them, N
counts the job's admitted calls. Filler follows up to the asked length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import orjson

from chatq_sandbox.directives import Directives
from chatq_sandbox.exchange import Answer, ChatRequest, Finish, Message, ToolCall
from chatq_sandbox.json_schema import smallest_instance
from chatq_sandbox.randomness import Draws
from chatq_sandbox.tokens import CHARACTERS_A_TOKEN, prompt_tokens_of, tokens_in

_MARKER = re.compile(r"(?<![A-Za-z0-9_])job:([A-Za-z0-9][A-Za-z0-9._/-]{0,127})")
_FILLER = (
    "Rain taps the roof all night and nobody minds; the gutters sing, the cat sleeps, the street shines. " * 8
)
_REFUSAL = "I can't help with that."


def digest_of(messages: Sequence[tuple[str, str]]) -> str:
    """16 hexadecimal digits over (role, text) of every message, in order; a developer message counts as
    system."""
    digest = blake2b(digest_size=8)
    for role, text in messages:
        digest.update(f"{role}\0{text}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def job_of(messages: Sequence[Message]) -> str:
    """The job's name: the last marker `job:NAME` in the last message that has one, else made of the
    digest."""
    for message in reversed(messages):
        if "job:" in message.text:
            found = _MARKER.findall(message.text)
            if found:
                return str(found[-1])
    return f"digest-{digest_of(messages)}"


def job_of_unread(body: bytes) -> str:
    """The job's name from a body that no dialect could read: any marker in it, else its own digest."""
    found = _MARKER.findall(body.decode("utf-8", "replace").replace("\\n", " "))
    return str(found[-1]) if found else f"digest-{blake2b(body, digest_size=8).hexdigest()}"


def compose(
    request: ChatRequest,
    job: str,
    call: int,
    draws: Draws,
    wishes: Directives,
    *,
    tokens: int,
    reasoning_tokens: int,
    created: int,
) -> Answer:
    """The answer to `request`; the same for the same job, call number, seed and messages.

    `tokens` and `reasoning_tokens` are lengths, bounded by the request's max_tokens: a cut answer finishes
    with `length`, and reasoning may use up all of it, as with real reasoning models.
    """
    serial = draws.serial()
    digest = digest_of(request.messages)
    prompt_tokens = prompt_tokens_of(request.messages)
    reasoning = _filled("", reasoning_tokens) if request.reasons else ""
    room = request.max_tokens
    cut = False
    stopped_by = ""
    if room is not None:
        cut = tokens_in(len(reasoning)) > room
        reasoning = reasoning[: room * CHARACTERS_A_TOKEN]
        room -= tokens_in(len(reasoning))
    spent_on_reasoning = tokens_in(len(reasoning))

    opening = f"answer to job:{job} digest:{digest} call:{call}"
    tool_calls = () if wishes.finish else _tool_calls(request, wishes, serial, opening)
    if tool_calls:
        text = ""
        length = sum(len(call.name) + len(orjson.dumps(call.arguments)) for call in tool_calls)
        finish: Finish = "tool_calls"
    else:
        text, finish, stopped_by = _text(request, wishes, opening, tokens)
        if room is not None and len(text) > room * CHARACTERS_A_TOKEN:
            text, cut, stopped_by = text[: room * CHARACTERS_A_TOKEN], True, ""
        length = len(text)
        if cut:
            finish = "length"
    return Answer(
        serial=serial,
        created=created,
        text=text,
        reasoning=reasoning,
        tool_calls=tool_calls,
        finish=finish,
        prompt_tokens=prompt_tokens,
        completion_tokens=(spent_on_reasoning + tokens_in(length)) * request.choices,
        reasoning_tokens=spent_on_reasoning * request.choices,
        stopped_by=stopped_by,
        finish_word=wishes.finish_as,
    )


def _text(request: ChatRequest, wishes: Directives, opening: str, tokens: int) -> tuple[str, Finish, str]:
    """The text, why it ends, and the stop sequence that ended it."""
    if wishes.finish == "refusal":
        return _REFUSAL, "refusal", ""
    if wishes.say is not None:
        text = wishes.say
    elif request.json_schema is not None:
        text = orjson.dumps(_json_value(request.json_schema, opening)).decode()
    else:
        text = _filled(opening, tokens)
    stopped_by = ""
    for stop in request.stop:
        before, found, _ = text.partition(stop)
        if found:
            text, stopped_by = before, stop
    return text, wishes.finish or "stop", stopped_by


def _json_value(schema: dict[str, Any], opening: str) -> Any:
    return smallest_instance(schema, opening) if schema else {"answer": opening}


def _tool_calls(request: ChatRequest, wishes: Directives, serial: str, opening: str) -> tuple[ToolCall, ...]:
    if not request.tools or request.tool_choice == "none":
        return ()
    wanted = request.tool_choice if request.tool_choice not in ("auto", "required") else wishes.call_tool
    forced = request.tool_choice != "auto"
    if wanted is None and not forced:
        return ()
    # An answered call is not made again, or a tool loop would never end.
    if not forced and request.messages[-1].role == "tool":
        return ()
    tool = next((tool for tool in request.tools if tool.name == wanted), request.tools[0])
    arguments = smallest_instance(tool.parameters, opening)
    return (ToolCall(serial, tool.name, arguments if isinstance(arguments, dict) else {}),)


def _filled(opening: str, tokens: int) -> str:
    missing = tokens * CHARACTERS_A_TOKEN - len(opening)
    if missing <= 0:
        return opening
    repeated = _FILLER * (1 + missing // len(_FILLER))
    return (
        f"{opening}. {repeated[:missing]}"[: tokens * CHARACTERS_A_TOKEN] if opening else (repeated[:missing])
    )
