"""Claude's answers as server-sent events: named, one content block after the other.

From: Streaming Messages.
"""

from __future__ import annotations

from typing import Any

import orjson

from chatq_sandbox.dialects.chat_completions import pieces
from chatq_sandbox.wire import event


def events_of(message: dict[str, Any]) -> list[bytes]:
    """A whole answer in the events in which a stream brings it."""
    usage = message["usage"]
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    events = [_event({"type": "message_start", "message": begun}), _event({"type": "ping"})]
    for index, block in enumerate(message["content"]):
        empty, deltas = _taken_apart(block)
        events.append(_event({"type": "content_block_start", "index": index, "content_block": empty}))
        events += [
            _event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas
        ]
        events.append(_event({"type": "content_block_stop", "index": index}))
    ending = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    counted = {key: value for key, value in usage.items() if key.endswith("_tokens")}
    events.append(_event({"type": "message_delta", "delta": ending, "usage": counted}))
    return [*events, _event({"type": "message_stop"})]


def _taken_apart(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block["type"]:
        case "thinking":
            thoughts = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*thoughts, signed]
        case "tool_use":
            parts = ["", *pieces(orjson.dumps(block["input"]).decode())]
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in parts
            ]
        case _:
            return {**block, "text": ""}, [
                {"type": "text_delta", "text": part} for part in pieces(block["text"])
            ]


def _event(data: dict[str, Any]) -> bytes:
    return event(orjson.dumps(data), data["type"])
