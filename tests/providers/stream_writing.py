"""Answers taken apart into the events in which a source streams them, as its documents show it.

Claude: Streaming messages. Fireworks: OpenAI's chunks.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from chatq_worker.providers import ADAPTERS, Assembly, Chat
from chatq_worker.providers.event_stream import Event, EventParser

MOST_UNSTREAMED = {"claude": 21_333, "fireworks": 4096}
"""The highest cap of the sources that stream, for most of their models, with which an answer comes as a whole."""
STREAMING = tuple(MOST_UNSTREAMED)

Data = dict[str, Any]


def events_of(source: str, answer: Data) -> list[bytes]:
    """The events of an answer, as bytes."""
    return list({"claude": _claude, "fireworks": _fireworks}[source](copy.deepcopy(answer)))


def error_event(source: str, body: Data) -> bytes:
    """An error in the middle of a stream."""
    return _event(body, "error" if source == "claude" else "")


def assembly_of(source: str, chat: Chat, connection: Any) -> Assembly:
    """What puts together the answer to a chat that is streamed."""
    made = ADAPTERS[source].request(chat, connection, "key").request.assembly
    assert made is not None
    return made()


def filled(assembly: Assembly, stream: bytes) -> bool:
    """Give an assembly all events of a stream; whether it says that the answer is whole."""
    parser = EventParser()
    events: list[Event] = [*parser.feed(stream), *parser.end()]
    return any(map(assembly.add, events))


def _event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def _halves(text: str) -> Iterator[str]:
    middle = len(text) // 2
    yield from (text[:middle], text[middle:])


def _claude(message: Data) -> Iterator[bytes]:
    def event(kind: str, **data: Any) -> bytes:
        return _event({"type": kind, **data}, kind)

    ending = {name: message.pop(name) for name in ("stop_details",) if name in message}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"], **ending}
    blocks, usage = message["content"], message["usage"]
    counts = {name: usage[name] for name in usage if name.endswith("_tokens")}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    message["usage"] = {**usage, "output_tokens": 1}
    yield event("message_start", message=message)
    yield event("ping")
    yield event("a_kind_to_come", news="none")
    for index, block in enumerate(blocks):
        deltas: list[Data] = []
        begun = dict(block)
        if block["type"] == "text":
            begun["text"] = ""
            deltas += [{"type": "text_delta", "text": part} for part in _halves(block["text"])]
            if block.get("citations"):
                begun["citations"] = []
                deltas += [{"type": "citations_delta", "citation": one} for one in block["citations"]]
        elif block["type"] == "thinking":
            begun |= {"thinking": "", "signature": ""}
            deltas += [{"type": "thinking_delta", "thinking": part} for part in _halves(block["thinking"])]
            deltas += [{"type": "signature_delta", "signature": block["signature"]}]
        elif block["type"] in ("tool_use", "server_tool_use"):
            begun["input"] = {}
            parts = ["", *_halves(json.dumps(block["input"]))] if block["input"] else []
            deltas += [{"type": "input_json_delta", "partial_json": part} for part in parts]
        yield event("content_block_start", index=index, content_block=begun)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta=ending, usage={**counts, "server_tool_use": None})
    yield event("message_stop")


def _fireworks(completion: Data) -> Iterator[bytes]:
    frame = {name: completion[name] for name in ("id", "object", "created", "model")}
    frame["object"] = "chat.completion.chunk"

    def chunk(index: int, delta: Data, finish: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return _event({**frame, "choices": [choice], "usage": None})

    for choice in completion["choices"]:
        index, message = choice["index"], choice["message"]
        yield chunk(index, {"role": "assistant"})
        for name in ("reasoning_content", "content", "refusal"):
            if isinstance(message.get(name), str):
                for part in _halves(message[name]):
                    yield chunk(index, {name: part})
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                yield chunk(index, {"content": [part]})
        for call in message.get("tool_calls", ()):
            function = call["function"]
            yield chunk(
                index, {"tool_calls": [{**call, "function": {"name": function["name"], "arguments": ""}}]}
            )
            for part in _halves(function["arguments"]):
                yield chunk(
                    index, {"tool_calls": [{"index": call["index"], "function": {"arguments": part}}]}
                )
        for row in (choice.get("logprobs") or {}).get("content", ()):
            yield chunk(index, {}, logprobs={"content": [row]})
        yield chunk(index, {}, choice["finish_reason"])
    yield _event({**frame, "choices": [], "usage": completion["usage"]})
    yield _event("[DONE]")
