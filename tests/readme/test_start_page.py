"""docs/start.md, step by step as it stands there, with the simulator in the provider's place."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, blocks
from processes_of import CHATQ, WAIT_S, press_ctrl_c, running

PAGE = ROOT / "docs" / "start.md"
INSTALL, START, CHECK, SUBMIT, BATCH = (block.text for block in blocks(PAGE) if block.language == "sh")
(CONNECTION,) = (block.text for block in blocks(PAGE) if block.language == "yaml")
(PROGRAM,) = (block.text for block in blocks(PAGE) if block.language == "python")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder after step 3."""
    folder = tmp_path_factory.mktemp("start")
    shutil.copy(ROOT / "config.yaml", folder)
    with (folder / "config.yaml").open("a") as file:
        file.write(CONNECTION + "    url: simulator\n")
    export, up = START.splitlines()
    name, _, value = export.removeprefix("export ").partition("=")
    assert (name, value, up) == ("OPENAI_API_KEY", "sk-...", ".venv/bin/chatq up")
    environ = {name: "sim-openai-key", "FLOWER_PORT": "0"}
    with running([CHATQ, "up"], folder, until_said="chatq is up", **environ) as process:
        yield folder
        assert press_ctrl_c(process) == 0


def shell(text: str, folder: Path) -> str:
    """What a block prints."""
    done = subprocess.run(
        ["sh", "-ec", text.replace(".venv/bin/chatq", CHATQ)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_installed_with_a_command_of_the_makefile() -> None:
    assert INSTALL == "make install\n"
    assert "\ninstall: " in (ROOT / "Makefile").read_text()


@pytest.mark.thorough
def test_the_connection_is_checked_and_tested(started: Path) -> None:
    said = shell(CHECK, started).splitlines()
    assert said[0].startswith("openai-main: ok in ")
    assert said[1].startswith("answer to ")


@pytest.mark.thorough
def test_a_first_job_is_answered(started: Path) -> None:
    assert shell(SUBMIT, started).startswith("answer to ")


@pytest.mark.thorough
def test_twenty_prompts_become_twenty_results(started: Path) -> None:
    assert shell(BATCH, started) == "answers.jsonl: 20 of 20 succeeded\n"
    lines = [json.loads(line) for line in (started / "answers.jsonl").read_text().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == sorted(f"line-{n}" for n in range(1, 21))


@pytest.mark.thorough
def test_the_program_prints_an_answer(started: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=started,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("answer to ")
