"""docs/batches.md: what it shows to copy works as it stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation, until

sys.path.insert(0, str(Path(__file__).parent.parent / "readme"))

from pages import ROOT, blocks

PAGE = ROOT / "docs" / "batches.md"
REQUEST, JOB, RESULT = (block.text for block in blocks(PAGE) if block.language == "json")
COMMANDS = [
    line.split("   ")[0].split()
    for block in blocks(PAGE)
    if not block.language
    for line in block.text.splitlines()
    if line.startswith("chatq ")
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with the connection that the page names, and its example lines as a file."""
    demo = {"source": "custom", "url": "simulator", "model": "demo"}
    with Installation(tmp_path_factory.mktemp("batches-page"), connections={"demo": demo}) as installed:
        installed.start_worker()
        (installed.folder / "INPUT.jsonl").write_text(REQUEST + JOB)
        yield installed


def run(shown: Installation, words: list[str], **meant: str) -> str:
    """A command of the page, with its optional parts left out, and `meant` in the place of words in capitals."""
    text = " ".join(words)
    while "[" in text:
        text = text[: text.index("[")] + text[text.index("]") + 1 :]
    command = [meant.get(word, word) for word in text.split()]
    assert command[0] == "chatq"
    done = shown.command(*command[1:])
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_the_example_lines_run_and_make_lines_as_shown(shown: Installation) -> None:
    said = run(shown, COMMANDS[0])
    assert said == "OUTPUT.jsonl: 2 of 2 succeeded\n"
    lines = [json.loads(line) for line in (shown.folder / "OUTPUT.jsonl").read_text().splitlines()]
    assert {line["custom_id"] for line in lines} == {"1", "2"}
    for line in lines:
        assert set(line) == set(json.loads(RESULT))
        assert (line["response"]["status_code"], line["error"]) == (200, None)
        assert line["response"]["body"]["object"] == "chat.completion"


def test_a_batch_is_submitted_looked_at_read_and_given_a_budget(shown: Installation) -> None:
    by_name = {" ".join(words[:3]): words for words in reversed(COMMANDS)}
    batch = run(shown, by_name["chatq batch submit"]).strip()
    until(lambda: shown.queue.batch(batch).ended, "the batch to end")
    assert "2" in run(shown, by_name["chatq batch status"], BATCH=batch)
    results = run(shown, by_name["chatq batch results"], BATCH=batch).splitlines()
    assert {json.loads(line)["custom_id"] for line in results} == {"1", "2"}


def test_every_command_is_one_that_there_is(shown: Installation) -> None:
    kinds = {tuple(words[:3]) for words in COMMANDS}
    assert kinds == {("chatq", "batch", name) for name in ("run", "submit", "resume", "status", "results")}
    for kind in sorted(kinds):
        assert shown.command(*kind[1:], "--help").returncode == 0
    for option in (word for words in COMMANDS for word in words if word.startswith("--")):
        (words,) = [words for words in COMMANDS if option in words][:1]
        assert option in shown.command(*words[1:3], "--help").stdout
