"""docs/http.md: what it shows to copy works as it stands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_process import FrontProcess, error_of
from installation import WAIT_S, Installation

from chatq.contract.config_file import load_settings

sys.path.insert(0, str(Path(__file__).parent.parent / "readme"))

from pages import ROOT, blocks

PAGE = ROOT / "docs" / "http.md"
SHELL = [block.text for block in blocks(PAGE) if block.language == "sh"]
YAML = [block.text for block in blocks(PAGE) if block.language == "yaml"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """A front with the connection that the page names."""
    demo = {"source": "custom", "url": "simulator", "model": "demo"}
    with Installation(
        tmp_path_factory.mktemp("docs"), http={"port": 0}, connections={"demo": demo}
    ) as installed:
        installed.start_worker()
        with FrontProcess(installed) as front:
            yield front


def run(text: str, front: FrontProcess, folder: Path) -> str:
    """What a block says. (Without `trust_env`, curl would ask a proxy for this machine.)"""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = text.replace("http://127.0.0.1:8400", front.url)
    done = subprocess.run(
        ["sh", "-euc", script], capture_output=True, text=True, cwd=folder, timeout=WAIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_chat_completion(shown: FrontProcess, tmp_path: Path) -> None:
    answer = json.loads(run(SHELL[0], shown, tmp_path))
    assert answer["choices"][0]["message"]["content"]


def test_a_stream(shown: FrontProcess, tmp_path: Path) -> None:
    said = run(SHELL[1], shown, tmp_path)
    assert said.rstrip().endswith("data: [DONE]")
    assert '"usage":{"prompt_tokens"' in said


@pytest.mark.thorough
def test_a_batch(shown: FrontProcess, tmp_path: Path) -> None:
    batch = json.loads(run(SHELL[2], shown, tmp_path))
    assert shown.ended(batch["id"])["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


def test_a_job(shown: FrontProcess, tmp_path: Path) -> None:
    record = json.loads(run(SHELL[3], shown, tmp_path))
    assert (record["state"], record["metadata"]) == ("succeeded", {"for": "docs"})
    assert error_of(shown.client.get(f"/v1/jobs/{record['id']}")) == (404, "unknown_job")


def test_every_shell_block_is_tried() -> None:
    assert len(SHELL) == 4


def test_the_settings_are_all_there_are_with_their_defaults(tmp_path: Path) -> None:
    *_, whole = YAML
    path = tmp_path / "config.yaml"
    path.write_text(f"{whole}connections: {{}}\n")
    written = load_settings(path, environ={})
    path.write_text("connections: {}\n")
    assert written.http == load_settings(path, environ={}).http
    assert set(re.findall(r"^  (\w+):", whole, re.MULTILINE)) == set(type(written.http).model_fields)
