"""examples/: each runs as it stands. (Those with OpenAI's clients: tests_foreign.)"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_process import FrontProcess
from installation import WAIT_S, Installation, until

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """What `chatq up` starts, with the connection that the examples name."""
    demo = {"source": "custom", "url": "simulator", "model": "demo"}
    with Installation(
        tmp_path_factory.mktemp("examples"), http={"port": 0}, connections={"demo": demo}
    ) as installed:
        installed.start_worker()
        with FrontProcess(installed) as front:
            yield front


def run(shown: FrontProcess, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=shown.installation.folder,
        env={**shown.installation.environ, "CHATQ": shown.url},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def python(shown: FrontProcess, name: str) -> str:
    return run(shown, sys.executable, str(EXAMPLES / name))


@pytest.mark.thorough
def test_one_job(shown: FrontProcess) -> None:
    assert python(shown, "one_job.py").startswith("answer to ")


@pytest.mark.thorough
def test_a_batch(shown: FrontProcess) -> None:
    *lines, counts = python(shown, "batch.py").splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(f"word-{n}" for n in range(3, 13))
    assert "succeeded=10" in counts


@pytest.mark.thorough
def test_an_answer_that_grows(shown: FrontProcess) -> None:
    assert python(shown, "grow.py").startswith("answer to ")


@pytest.mark.thorough
def test_many_at_once(shown: FrontProcess) -> None:
    assert python(shown, "many_at_once.py").startswith("100 answers, ")


@pytest.mark.thorough
def test_from_celery_and_read_by_any_redis_client(shown: FrontProcess) -> None:
    job_id = python(shown, "from_celery.py").strip()
    redis = shown.installation.redis
    until(lambda: redis.get(f"chatq:result:{job_id}"), "the record")
    assert json.loads(redis.get(f"chatq:result:{job_id}"))["state"] == "succeeded"
    if shutil.which("redis-cli") is not None:
        assert json.loads(run(shown, "sh", str(EXAMPLES / "read_redis.sh"), job_id))["id"] == job_id


def test_with_curl(shown: FrontProcess) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert json.loads(run(shown, "sh", str(EXAMPLES / "with_curl.sh")))["state"] == "succeeded"


def test_every_example_is_listed_and_tried() -> None:
    tried = {
        "one_job.py", "batch.py", "grow.py", "many_at_once.py", "from_celery.py", "with_curl.sh", "read_redis.sh",
        "openai_client.py", "openai_client.mjs",
    }  # fmt: skip
    assert {path.name for path in EXAMPLES.iterdir()} == {*tried, "README.md"}
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"[{name}]({name})" in listed for name in tried)
