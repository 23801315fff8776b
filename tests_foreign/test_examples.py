"""The examples with OpenAI's clients run as they stand. (The others: tests/http.)"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from front_process import FrontProcess
from installation import WAIT_S

EXAMPLES = Path(__file__).parent.parent / "examples"


def shows_an_answer_twice_and_a_batch(front: FrontProcess, *command: str | Path) -> None:
    """The example says what it asked for: whole, streamed, and in a batch of lines named for their numbers."""
    done = subprocess.run(
        [*command, f"{front.url}/v1"], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    whole, streamed, counts, *lines = done.stdout.splitlines()
    assert whole.startswith("answer to ")
    assert streamed.startswith("answer to ")
    assert counts.startswith("completed ")
    names = [json.loads(line)["custom_id"] for line in lines if line]
    assert len(names) > 2
    assert sorted(names) == [str(number) for number in range(3, 3 + len(names))]


def test_the_python_client(front: FrontProcess, sdk_python: Path) -> None:
    shows_an_answer_twice_and_a_batch(front, sdk_python, EXAMPLES / "openai_client.py")


def test_the_node_client(front: FrontProcess, node_command: Path, node_modules: Path, tmp_path: Path) -> None:
    # A module finds others beside itself alone.
    (tmp_path / "node_modules").symlink_to(node_modules)
    shutil.copy(EXAMPLES / "openai_client.mjs", tmp_path)
    shows_an_answer_twice_and_a_batch(front, node_command, tmp_path / "openai_client.mjs")
