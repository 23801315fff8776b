"""A text that may open with a <think> block, parted as a whole or while it comes, with the same parts."""

from __future__ import annotations

from typing import Final

THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"


def split_thinking(text: str) -> tuple[str | None, str]:
    """(reasoning, text) of a text that opens with a <think> block; (None, text) of any other.

    A block that does not close was cut off while the model thought: there is no text.
    """
    opened = text.lstrip()
    if not opened.startswith(THINK_OPEN):
        return None, text
    thought, closed, rest = opened[len(THINK_OPEN) :].partition(THINK_CLOSE)
    return thought.strip(), rest.lstrip() if closed else ""


class ThinkBlock:
    """Takes a text in pieces and gives back (reasoning, text) of it as soon as it is certain which is which."""

    def __init__(self) -> None:
        self._held = ""
        """What has come and may be white space at an end, or the beginning of a tag."""
        self._part = self._before
        self._thought = False

    def feed(self, piece: str) -> tuple[str, str]:
        """What the next piece adds to either."""
        self._held += piece
        return self._part()

    def end(self) -> tuple[str, str]:
        """What is added by nothing more coming."""
        held, self._held = self._held, ""
        if self._part == self._before:
            return "", held
        if self._part == self._inside:
            return self._stripped(held).rstrip(), ""
        return "", ""

    @property
    def undecided(self) -> bool:
        """Whether it is not known yet if the text opens with a block."""
        return self._part == self._before

    def _before(self) -> tuple[str, str]:
        opened = self._held.lstrip()
        if opened.startswith(THINK_OPEN):
            self._held = opened[len(THINK_OPEN) :]
            self._part = self._inside
            return self._part()
        if THINK_OPEN.startswith(opened):
            return "", ""
        self._part = self._behind
        return self._part()

    def _inside(self) -> tuple[str, str]:
        thought, closed, rest = self._held.partition(THINK_CLOSE)
        if closed:
            self._held, self._part = rest, self._after
            reasoning = self._stripped(thought).rstrip()
            return reasoning, self._part()[1]
        certain = self._held[: len(self._held) - _begun_tag(self._held)].rstrip()
        self._held = self._held[len(certain) :]
        return self._stripped(certain), ""

    def _after(self) -> tuple[str, str]:
        self._held = self._held.lstrip()
        if not self._held:
            return "", ""
        self._part = self._behind
        return self._part()

    def _behind(self) -> tuple[str, str]:
        text, self._held = self._held, ""
        return "", text

    def _stripped(self, thought: str) -> str:
        """The thought without the white space that it begins with."""
        if not self._thought:
            thought = thought.lstrip()
            self._thought = thought != ""
        return thought


def _begun_tag(text: str) -> int:
    """How many characters at the end of a text may be the beginning of the closing tag."""
    return next(
        (length for length in range(len(THINK_CLOSE) - 1, 0, -1) if text.endswith(THINK_CLOSE[:length])),
        0,
    )
