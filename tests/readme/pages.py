"""What the documentation says: its fenced blocks and its links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).parts,
)

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<words>.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block. `language` is empty when none is named."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(match["language"], match["text"]) for match in _FENCE.finditer(page.read_text("utf-8"))]


def links(page: Path) -> list[str]:
    """The targets of a page's links to files and headings of ours."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    targets = [match["target"] for match in _LINK.finditer(text)]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked, as GitHub makes them."""
    words = [match["words"].lower() for match in _HEADING.finditer(_FENCE.sub("", page.read_text("utf-8")))]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in words}
