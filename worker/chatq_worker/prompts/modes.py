"""The eight modes of prompt post-processing, as one table of what each does."""

import difflib
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One row of the table; `post_process` reads it and knows no mode by name."""

    untouched: bool = False
    """The messages go out as they came in, and no other column applies."""
    keeps_tools: bool = False
    """Tool calls and their results stay. Otherwise results become user text and calls are taken out."""
    alternates: bool = False
    """At most one system message, at the start; then no two neighbours of one role, but for tool results."""
    user_first: bool = False
    """The first message that is not the system's is the user's."""
    one_message: bool = False
    """The whole prompt is one user message."""
    tools_variant: str
    """The mode for a job that offers tools: this one if it keeps them, otherwise the nearest that does."""


_TABLE: Final[dict[str, Mode]] = {
    "none": Mode(untouched=True, keeps_tools=True, tools_variant="none"),
    "merge": Mode(tools_variant="merge_tools"),
    "merge_tools": Mode(keeps_tools=True, tools_variant="merge_tools"),
    "semi": Mode(alternates=True, tools_variant="semi_tools"),
    "semi_tools": Mode(keeps_tools=True, alternates=True, tools_variant="semi_tools"),
    "strict": Mode(alternates=True, user_first=True, tools_variant="strict_tools"),
    "strict_tools": Mode(keeps_tools=True, alternates=True, user_first=True, tools_variant="strict_tools"),
    # One user message has no room for a call and its answer: the nearest mode that has is strict_tools.
    "single": Mode(one_message=True, tools_variant="strict_tools"),
}

# A former name that configurations written for other front ends still carry (reference case
# deprecated-claude-alias-is-merge).
_FORMER_NAMES: Final[dict[str, str]] = {"claude": "merge"}

MODES: Final[tuple[str, ...]] = tuple(_TABLE)
"""The names of the modes, from least to most restrictive."""


class UnknownMode(ValueError):
    """A mode that is none of the eight. The text lists them, and names the nearest if one is near.

    `mode` is what was asked for.
    """

    def __init__(self, mode: object) -> None:
        self.mode = mode
        nearest = difflib.get_close_matches(mode, MODES, n=1) if isinstance(mode, str) else []
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        super().__init__(f"unknown post_processing mode {mode!r}: expected one of {', '.join(MODES)}{hint}")

    def __reduce__(self) -> tuple[type["UnknownMode"], tuple[object]]:
        return UnknownMode, (self.mode,)


def find_mode(mode: str) -> Mode:
    """Return the row of `mode`; raises `UnknownMode`."""
    if not isinstance(mode, str):
        raise UnknownMode(mode)
    row = _TABLE.get(_FORMER_NAMES.get(mode, mode))
    if row is None:
        raise UnknownMode(mode)
    return row


def mode_keeps_tools(mode: str) -> bool:
    """Say whether a job that offers tools may run under `mode`; raises `UnknownMode`."""
    return find_mode(mode).keeps_tools


def tools_variant(mode: str) -> str:
    """Return the mode to use instead of `mode` for a job that offers tools; raises `UnknownMode`.

    `merge` -> `merge_tools`; a mode that keeps tools -> itself; `single`, which has no variant of its own ->
    `strict_tools`, the most restrictive mode that keeps them.
    """
    return find_mode(mode).tools_variant
