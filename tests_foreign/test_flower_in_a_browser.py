"""Flower as a person sees it: the jobs with their states, and nothing secret, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from flower_process import FlowerProcess

from browser import Browser
from installation import OPENAI_KEY, WAIT_S, Installation

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROMPT, ANSWER = "planted-prompt-77d1a0", "planted-answer-b8c254"
RESTING = {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": "resting"}}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("watched"), connections={"resting": RESTING}) as made:
        yield made


@pytest.fixture(scope="module")
def flower(watched: Installation) -> Iterator[FlowerProcess]:
    """Flower as `chatq flower` starts it, and then a worker."""
    with FlowerProcess(watched) as made:
        watched.start_worker()
        yield made


@pytest.fixture(scope="module")
def jobs(watched: Installation, flower: FlowerProcess) -> Mapping[str, str]:
    """A job of each kind, by the state that Flower gives it."""
    queue = watched.queue
    failed = queue.enqueue("once", f"job:failed {PROMPT} [sim: server_error 500]").id
    resting = queue.enqueue("resting", f"job:resting {PROMPT} [sim: rate_limit 60 first 1]").id
    held = queue.enqueue("sim", f"job:held {PROMPT} [sim: latency 50]").id
    assert watched.simulator.wait(job="held", in_flight=1)
    cancelled = queue.enqueue("sim", f"job:cancelled {PROMPT} [sim: latency 50]").id
    assert watched.simulator.wait(job="cancelled", in_flight=1)
    queue.cancel(cancelled)
    for job_id in (failed, cancelled):
        queue.wait(job_id, WAIT_S)
    batch = queue.enqueue_batch([f"job:good {PROMPT} [sim: say {ANSWER}]"], connection="openai")
    [good] = watched.follow(batch.id)
    assert good.result is not None
    assert good.result.text == ANSWER
    return {"SUCCESS": good.id, "FAILURE": failed, "RETRY": resting, "STARTED": held, "REVOKED": cancelled}


def shown(page: Page, path: str) -> str:
    """A page of Flower's once its table is filled: all that was sent for it."""
    page.goto(path, wait_until="networkidle")
    return page.content()


def test_each_job_is_a_row_with_its_state(
    browser: Browser, flower: FlowerProcess, jobs: Mapping[str, str]
) -> None:
    with browser.visit(flower.url) as page:
        page.goto("/tasks")
        for state, job_id in jobs.items():
            row = page.get_by_role("row").filter(has_text=job_id)
            row.get_by_text(state, exact=True).wait_for()
            assert row.count() == 1
        good = page.get_by_role("row").filter(has_text=jobs["SUCCESS"]).inner_text()
        assert re.search(r"\('openai', 'gpt-5-mini', 'batch_\w+', 1\)", good)
        assert "'state': 'succeeded'" in good
        assert "'cost': '$" in good
        failed = page.get_by_role("row").filter(has_text=jobs["FAILURE"])
        reason = failed.get_by_text("server_error: The provider answered 500.")
        place = reason.bounding_box()
        assert place is not None
        assert place["x"] < 1280, "one has to scroll for it"


def test_a_row_leads_to_all_that_is_known_of_the_job(
    browser: Browser, flower: FlowerProcess, jobs: Mapping[str, str]
) -> None:
    with browser.visit(flower.url) as page:
        page.goto("/tasks")
        page.get_by_role("link", name=jobs["RETRY"]).click()
        page.get_by_text("rate_limited: ").first.wait_for()
        assert page.get_by_role("button", name=re.compile("terminate|revoke", re.IGNORECASE)).count() == 0


def test_a_job_is_found_by_its_id(browser: Browser, flower: FlowerProcess, jobs: Mapping[str, str]) -> None:
    with browser.visit(flower.url) as page:
        page.goto("/tasks")
        page.get_by_role("searchbox").fill(jobs["FAILURE"])
        page.get_by_role("row").filter(has_text=jobs["SUCCESS"]).wait_for(state="detached")
        page.get_by_role("row").filter(has_text=jobs["FAILURE"]).wait_for()


def test_neither_prompt_nor_answer_nor_key_is_on_any_page(
    browser: Browser, flower: FlowerProcess, jobs: Mapping[str, str]
) -> None:
    with browser.visit(flower.url) as page:
        page.goto("/workers")
        worker = page.get_by_role("link", name=re.compile("chatq@")).first.get_attribute("href")
        assert worker is not None
        paths = (
            "/",
            "/workers",
            worker,
            "/tasks",
            "/broker",
            *(f"/task/{job_id}" for job_id in jobs.values()),
        )
        pages = {path: shown(page, path) for path in paths}
    secrets = (PROMPT, ANSWER, OPENAI_KEY)
    assert [(path, secret) for path, text in pages.items() for secret in secrets if secret in text] == []
    assert all(job_id in pages["/tasks"] for job_id in jobs.values())
