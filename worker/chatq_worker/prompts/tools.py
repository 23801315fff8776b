"""Tool calls and tool results in a prompt: where they are, and how they are taken out."""

from typing import Any, Final

RESULT_ROLES: Final = frozenset({"tool", "function"})
"""`function` is a tool result in OpenAI's older format; `function_call` holds the call that it answers."""

CALL_KEYS: Final = frozenset({"tool_calls", "function_call"})

_TOOL_KEYS: Final = CALL_KEYS | {"tool_call_id"}


def take_out_tools(prompt: list[dict[str, Any]]) -> None:
    """Turn tool results into user messages and remove tool calls. In place."""
    for message in prompt:
        if message["role"] in RESULT_ROLES:
            message["role"] = "user"
            message.pop("name", None)
        if not _TOOL_KEYS.isdisjoint(message):
            for key in _TOOL_KEYS:
                message.pop(key, None)
