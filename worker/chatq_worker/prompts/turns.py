"""Whose turn it is: neighbours of one role joined, one system message, the user first."""

from typing import Any, Final

from chatq_worker.prompts.tools import CALL_KEYS, RESULT_ROLES

# What a message can hold beside its content. `audio` names an earlier spoken answer of the assistant.
CARGO_KEYS: Final = CALL_KEYS | {"audio"}
# Of these a message has room for one; `tool_calls` is a list and grows.
_SINGLE_CARGO_KEYS: Final = ("function_call", "audio")


def give_all_to_user(prompt: list[dict[str, Any]]) -> None:
    """Make every message the user's. In place."""
    for message in prompt:
        message["role"] = "user"
        message.pop("audio", None)  # only an assistant message can hold it


def drop_empty(prompt: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages without those that say nothing. An empty tool result stays: it answers a call."""
    return [
        message
        for message in prompt
        if message["content"] or message["role"] in RESULT_ROLES or not CARGO_KEYS.isdisjoint(message)
    ]


def demote_later_system(prompt: list[dict[str, Any]]) -> None:
    """Make the user's every system message that stands behind another role. In place."""
    leading = True
    for message in prompt:
        if message["role"] != "system":
            leading = False
        elif not leading:
            message["role"] = "user"


def squash(prompt: list[dict[str, Any]], *, behind_calls: bool) -> list[dict[str, Any]]:
    """Return the messages with neighbours of one role joined; tool results are never joined.

    A text joins the tool calls that follow it. What follows tool calls is joined only with `behind_calls`: in
    a message the text stands before the calls, so joining turns their order round, which only a mode that
    promises alternation has to do. Neighbours that both hold what a message has room for once
    (`function_call`, `audio`) stay apart in every mode: losing one would be worse than two turns of one role.
    """
    joined: list[dict[str, Any]] = []
    for message in prompt:
        if joined and joined[-1]["role"] == message["role"] and _may_join(joined[-1], message, behind_calls):
            _join(joined[-1], message)
        else:
            joined.append(message)
    return joined


def put_user_first(prompt: list[dict[str, Any]], placeholder: str) -> None:
    """Insert `placeholder` as a user message unless the user is first behind the system. In place."""
    first = 1 if prompt and prompt[0]["role"] == "system" else 0
    if len(prompt) == first or prompt[first]["role"] != "user":
        prompt.insert(first, {"role": "user", "content": [placeholder]})


def _may_join(last: dict[str, Any], message: dict[str, Any], behind_calls: bool) -> bool:
    if last["role"] in RESULT_ROLES:
        return False
    if CARGO_KEYS.isdisjoint(last):
        return True
    if not behind_calls and not CALL_KEYS.isdisjoint(last):
        return False
    return not any(key in last and key in message for key in _SINGLE_CARGO_KEYS)


def _join(last: dict[str, Any], message: dict[str, Any]) -> None:
    """Append `message` to `last`.

    The first one's extra keys survive (reference case extra-properties-of-first-message-survive). A message
    with calls brings along what the first has not: providers want reasoning back together with the calls.
    """
    last["content"] += message["content"]
    if CARGO_KEYS.isdisjoint(message):
        return
    if "tool_calls" in last and "tool_calls" in message:
        last["tool_calls"] = [*last["tool_calls"], *message["tool_calls"]]
    for key, value in message.items():
        last.setdefault(key, value)
