"""docs/post-processing.md says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

from chatq_worker.prompts import MODES, Names, mode_keeps_tools, post_process, tools_variant
from for_each import for_each

PAGE = (Path(__file__).parents[2] / "docs" / "post-processing.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## The modes\n")[2].partition("\n## ")[0]
EXAMPLE = PAGE.partition("## One prompt through all eight\n")[2]


def table_rows() -> dict[str, list[str]]:
    """The cells of each row behind the mode's name, by mode, in the page's order."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", TABLE, flags=re.MULTILINE)
    return {mode: cells.split(" | ") for mode, cells in rows}


def example_messages(heading: str) -> list[dict[str, Any]]:
    """The first block of messages behind `heading`."""
    block: list[dict[str, Any]] = json.loads(
        EXAMPLE.partition(heading)[2].partition("```json\n")[2].partition("```")[0]
    )
    return block


def test_the_table_has_all_modes_in_their_order() -> None:
    assert tuple(table_rows()) == MODES


@for_each("mode", MODES)
def test_the_table_says_what_becomes_of_tools(mode: str) -> None:
    *_, tools, offered = table_rows()[mode]
    assert tools == ("kept" if mode_keeps_tools(mode) else "become text")
    assert offered == ("may use it" if mode_keeps_tools(mode) else f"use `{tools_variant(mode)}`")


def test_the_example_goes_through_all_modes() -> None:
    assert tuple(re.findall(r"^### `(\w+)`$", EXAMPLE, flags=re.MULTILINE)) == MODES


def test_the_example_is_unchanged_by_none() -> None:
    messages = example_messages("The messages:")
    assert len(messages) == 10
    assert post_process(messages, "none", names=Names(char="Alice", user="Bob")) == messages


@for_each("mode", [mode for mode in MODES if mode != "none"])
def test_the_example_comes_out_as_the_page_shows_it(mode: str) -> None:
    messages = example_messages("The messages:")
    out = post_process(messages, mode, names=Names(char="Alice", user="Bob"))
    assert out == example_messages(f"### `{mode}`\n")
