"""Whatever command a page names, there is; and what it shows to copy is run by a test, or says why not."""

from __future__ import annotations

import argparse
import functools
import re
import shlex
from pathlib import Path

from pages import PAGES, ROOT, blocks

from chatq import cli
from chatq.contract.errors import ChatQueueError
from chatq.http.access import Unauthorized
from chatq_worker.failures import CODES
from for_each import for_each

RUN_BY = {
    "README.md": "tests/readme/test_first_screen.py",
    "README.zh-CN.md": "tests/readme/test_translations.py",  # the same as in README.md
    "docs/start.md": "tests/readme/test_start_page.py",
    "docs/start.zh-CN.md": "tests/readme/test_translations.py",
    "docs/http.md": "tests/http/test_documentation.py",
}
"""The pages with blocks to copy (`sh`, `python`), and the test that runs all of them."""

_IN_A_BLOCK = re.compile(r"^(?:\.venv/bin/)?(chatq [^#;\n]+)", re.MULTILINE)
_IN_THE_TEXT = re.compile(r"`(chatq [^`;\n]+)`")


def commands(page: Path) -> set[str]:
    """The commands that a page names, in its blocks and in its text."""
    found = _IN_THE_TEXT.findall(page.read_text("utf-8"))
    for block in blocks(page):
        found += _IN_A_BLOCK.findall(block.text)
    return {re.split(r"\s{2,}| (?:2?>|\|) ?", command)[0].strip() for command in found}


@functools.cache
def _parser() -> argparse.ArgumentParser:
    return cli.parser()


def wrong_with(command: str) -> str | None:
    """What there is not of a command."""
    parser = _parser()
    words = shlex.split(re.sub(r"[\[\]|]", " ", command))[1:]
    while words and (
        inside := [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    ):
        name = words[0]
        if name not in inside[0].choices:
            return None if name.isupper() or name == "..." else name
        parser = inside[0].choices[name]
        words = words[1:]
    known = {option for action in parser._actions for option in action.option_strings}
    return next((word for word in words if re.match(r"--?[a-z]", word) and word not in known), None)


@for_each("page", PAGES)
def test_every_command_and_option_is_one_that_there_is(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # it names what was
    wrong = {command: wrong for command in commands(page) if (wrong := wrong_with(command))}
    assert wrong == {}


def test_a_command_that_there_is_not_is_found() -> None:
    assert wrong_with("chatq wirk") == "wirk"
    assert wrong_with("chatq batch run --orderly INPUT.jsonl") == "--orderly"
    assert wrong_with("chatq batch run INPUT.jsonl -o OUTPUT.jsonl [-c CONNECTION]") is None


@for_each("page", PAGES)
def test_what_is_shown_to_copy_is_run_or_says_why_not(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    if name in RUN_BY:
        assert (ROOT / RUN_BY[name]).exists()
        return
    marked = page.read_text("utf-8").count("<!-- not run by a test: ")
    assert sum(block.language in {"sh", "python"} for block in blocks(page)) == marked


def test_every_error_that_troubleshooting_names_is_one_that_there_is() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    seen = {
        name
        for row in re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    }
    codes = {kind.code for kind in _every(ChatQueueError)} | CODES.keys() | {"worker_lost"}
    why = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "connections.md").read_text("utf-8")))
    assert Unauthorized.code in codes
    assert seen - codes - why - {"why", "operator", "cost_usd", "fallback"} == set()
    assert len(seen & codes) > 15


def _every(kind: type[ChatQueueError]) -> set[type[ChatQueueError]]:
    return {one for direct in kind.__subclasses__() for one in {direct, *_every(direct)}}
