"""The README's first screen, as it stands there, really runs.

Only three things are not as a reader has them: `make demo` is run as the `chatq demo` that it becomes once everything
is installed, the command is that of the environment of the tests, and Flower's port is any free one.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks
from processes_of import CHATQ, WAIT_S, left_of, press_ctrl_c, running, started_by

SCREEN = blocks(ROOT / "README.md")
DEMO, OUTPUT, UP, SUBMIT, PYTHON = SCREEN[:5]


def words_of(block: Block) -> list[str]:
    """The one command of a block."""
    assert block.language == "sh"
    first, *rest = shlex.split(block.text)
    if (first, *rest) == ("make", "demo"):
        return [CHATQ, "demo"]
    assert first == ".venv/bin/chatq"
    return [CHATQ, *rest]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def without_durations(line: str) -> str:
    return re.sub(r" +\d+\.\d+ s\b", " (time) s", line).rstrip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the shipped config.yaml."""
    shutil.copy(ROOT / "config.yaml", tmp_path)
    return tmp_path


def test_the_screen_is_demo_output_up_submit_and_python() -> None:
    assert [block.language for block in SCREEN[:5]] == ["sh", "", "sh", "sh", "python"]
    assert [words_of(block)[1] for block in (DEMO, UP, SUBMIT)] == ["demo", "up", "submit"]


def test_make_demo_runs_chatq_demo() -> None:
    made = run(["make", "--dry-run", "--always-make", "--directory", str(ROOT), "demo"], ROOT)
    assert any(line.strip() == ".venv/bin/chatq demo" for line in made.stdout.splitlines()), made


def test_the_demo_prints_what_the_readme_shows(folder: Path) -> None:
    demo = run(words_of(DEMO), folder)
    assert demo.returncode == 0, demo.stderr
    printed = {without_durations(line) for line in demo.stdout.splitlines()}
    shown = [without_durations(line) for line in OUTPUT.text.splitlines() if line not in {"", "..."}]
    assert [line for line in shown if line not in printed] == []


@pytest.mark.thorough
def test_up_submit_and_the_python_example_work_and_ctrl_c_leaves_no_process(folder: Path) -> None:
    with running(words_of(UP), folder, until_said="chatq is up", FLOWER_PORT="0") as up:
        submitted = run(words_of(SUBMIT), folder)
        assert submitted.returncode == 0, submitted.stderr
        assert submitted.stdout.startswith("answer to ")

        example = run([sys.executable, "-c", PYTHON.text], folder)
        assert example.returncode == 0, example.stderr
        answer, *of_the_batch = example.stdout.splitlines()
        assert answer.startswith("answer to ")
        assert [line.split()[:3] for line in of_the_batch] == [["succeeded", "answer", "to"]] * 5

        started = started_by(up.pid, folder)
        parts = " ".join(started.values())
        assert all(part in parts for part in ("valkey-server", "chatq_worker worker", "chatq_worker flower"))
        assert press_ctrl_c(up) == 0
        assert left_of(started) == {}
    assert sorted(entry.name for entry in folder.iterdir()) == [".chatq", "config.yaml"]
