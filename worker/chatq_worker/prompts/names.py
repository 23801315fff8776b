"""Who speaks: a message's speaker, told by a field that strict endpoints refuse, is written into its text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a job's speakers; an empty one is never written.

    `char` is the assistant's name and `user` the user's. `group` are the names that the assistant also speaks
    under: a text of the assistant that begins with one of them needs no other.
    """

    char: str = ""
    user: str = ""
    group: tuple[str, ...] = ()


def prefix_names(prompt: list[dict[str, Any]], names: Names, *, every_turn: bool) -> None:
    """Write "Name: " before the content of each known speaker, and remove `name`. In place, on blocks.

    A system message speaks for `names.char` when it is named `example_assistant`, for `names.user` when it is
    named `example_user`, else for nobody. Another message speaks for its own name. With `every_turn` the
    nameless user and assistant get the names in `names`. Nothing is written twice, before an empty content,
    or before a tool result.
    """
    user = _prefixes([names.user])
    char = _prefixes([names.char, *names.group]) if names.char else ()
    for message in prompt:
        if not every_turn and "name" not in message:
            continue
        role = message["role"]
        if role == "function":
            continue  # its name is no speaker's: it says which call is answered, as tool_call_id does
        name = message.pop("name", None)
        if role == "tool":
            continue
        if role == "system":
            known = char if name == "example_assistant" else user if name == "example_user" else ()
        elif name and isinstance(name, str):
            known = (f"{name}: ",)
        elif every_turn:
            known = char if role == "assistant" else user if role == "user" else ()
        else:
            known = ()
        if known:
            _prefix(message["content"], known)


def _prefixes(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}: " for name in names if name)


def _prefix(blocks: list[Any], known: tuple[str, ...]) -> None:
    """Put `known[0]` first unless the blocks are empty or begin with one of `known`."""
    if not blocks:
        return
    first = blocks[0]
    if not isinstance(first, str):
        blocks.insert(0, known[0])
    elif not first.startswith(known):
        blocks[0] = known[0] + first
