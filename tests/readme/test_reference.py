"""docs/reference/ says what the code says."""

from __future__ import annotations

import re
import sys

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import write_reference


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return write_reference.pages()


def test_the_reference_is_what_the_code_says(written: dict[str, str]) -> None:
    there = {page.name: page.read_text("utf-8") for page in (ROOT / "docs" / "reference").iterdir()}
    stale = [name for name in there.keys() | written.keys() if there.get(name) != written.get(name)]
    assert stale == [], "run: make reference"


def test_every_setting_and_path_says_what_it_does(written: dict[str, str]) -> None:
    for page in ("settings.md", "jobs.md", "http.md", "errors.md", "redis-keys.md"):
        assert re.findall(r"^\|.*\|\s*\|$", written[page], re.MULTILINE) == []


def test_every_method_of_the_queue_says_what_it_does(written: dict[str, str]) -> None:
    page = written["python.md"]
    assert "### enqueue_batch\n\n```\nqueue.enqueue_batch(\n    jobs: Iterable[JobLike],\n" in page
    methods = re.split(r"^### ", page.partition("## AsyncChatQueue")[0], flags=re.MULTILINE)[1:]
    assert len(methods) > 30
    assert [method.split()[0] for method in methods if not method.rpartition("```")[2].strip()] == []


def test_every_code_that_scripts_fail_a_job_with_is_among_the_errors(written: dict[str, str]) -> None:
    scripts = [*(ROOT / "producer/chatq/ledger").rglob("*.lua")]
    codes = {
        code
        for script in scripts
        for code in re.findall(
            r"error_fragment\('([a-z_]+)'|return \{'([a-z]+_[a-z]+)', ", script.read_text("utf-8")
        )
        for code in code
        if code
    }
    assert codes == {"cancelled", "expired", "over_budget", "unknown_price", "worker_lost"}
    table = written["errors.md"][written["errors.md"].index("## Why a job failed") :]
    assert {code for code in codes if f"| `{code}` |" not in table} == set()


def test_every_key_that_scripts_write_is_in_the_table_of_memory() -> None:
    scripts = [*(ROOT / "producer/chatq/ledger").rglob("*.lua")]
    assert len(scripts) > 30
    names = {
        name
        for script in scripts
        for name in re.findall(r"\bkey\('([a-z-]+)'|\bP \.\. ':([a-z-]+)", script.read_text("utf-8"))
        for name in name
        if name
    }
    table = (ROOT / "docs/reliability.md").read_text("utf-8")
    table = table[table.index("## Memory") : table.index("**Requests are stored")]
    missing = {name for name in names if not re.search(rf"`{name}[:`]", table)}
    assert missing == {"clock-offset", "nothing"}  # only tests set the first; the second is never there
