"""Post-processing of a prompt, from first step to last."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq_worker.prompts.content import own_copy, read_content, write_content
from chatq_worker.prompts.modes import find_mode
from chatq_worker.prompts.names import Names, prefix_names
from chatq_worker.prompts.tools import take_out_tools
from chatq_worker.prompts.turns import (
    CARGO_KEYS,
    demote_later_system,
    drop_empty,
    give_all_to_user,
    put_user_first,
    squash,
)

PLACEHOLDER: Final = "[Start a new chat]"
"""The default of `promptPlaceholder` in config.yaml."""

_NO_NAMES: Final = Names()


def post_process(
    messages: Sequence[Mapping[str, Any]],
    mode: str,
    *,
    names: Names = _NO_NAMES,
    placeholder: str = PLACEHOLDER,
) -> list[dict[str, Any]]:
    """Return `messages` (OpenAI chat messages, each with a `role`) as `mode` wants them.

    The input is never changed, and the output shares nothing with it that could change: whoever edits the
    output, however deep, leaves the input alone. With empty `names` a second pass changes nothing. With names
    `single` writes them again, because its one message is by then the user's.

    `placeholder` is the text of the user message that stands for an empty prompt in every mode but `none`,
    and before an assistant or a tool result that would otherwise come first in a strict one.

    Raises `UnknownMode`, a ValueError that lists the eight modes.

    >>> post_process([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "merge")
    [{'role': 'user', 'content': 'a\\n\\nb'}]
    """
    rules = find_mode(mode)
    if rules.untouched:
        return [own_copy(message) for message in messages]
    prompt = [_read(message) for message in messages]
    # Names come first: later steps change roles, and with them who is speaking.
    prefix_names(prompt, names, every_turn=rules.one_message)
    if not rules.keeps_tools:
        take_out_tools(prompt)
    if rules.one_message:
        give_all_to_user(prompt)
    # Before roles are judged: an empty message neither leads, nor follows, nor parts two neighbours.
    prompt = drop_empty(prompt)
    if rules.alternates:
        demote_later_system(prompt)
    prompt = squash(prompt, behind_calls=rules.alternates)
    if rules.user_first or not prompt:
        put_user_first(prompt, placeholder)
    for message in prompt:
        message["content"] = write_content(message["content"])
    return prompt


def _read(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return our own copy of a message, its content as blocks, a developer as the system."""
    own = dict(message)
    own["content"] = read_content(own.get("content"))
    if own["role"] == "developer":
        own["role"] = "system"
    if len(own) > 2:  # more than role and content
        _read_other_keys(own)
    return own


def _read_other_keys(own: dict[str, Any]) -> None:
    for key, value in own.items():
        if type(value) is not str and key != "content":
            own[key] = own_copy(value)
    if not CARGO_KEYS.isdisjoint(own):
        for key in CARGO_KEYS:
            # SDKs write null or [] for a message without calls; that would part it from its neighbours.
            if not own.get(key, True):
                del own[key]
    # OpenAI's answer puts a refusal beside a null content. It is what the assistant said; as a key it would
    # be lost in the first join, and no other source knows it.
    if "refusal" in own and isinstance(own["refusal"], str):
        own["content"] += read_content(own.pop("refusal"))
