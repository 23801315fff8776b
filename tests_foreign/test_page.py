"""The page in a real browser: it is live, does what its buttons say, and can be read and used by everybody.

That a page says nothing wrong on its console, keeps its own policy and asks no other host: every visit (`browser.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from browser import Browser
from front_process import FrontProcess, batch_lines
from hostile_provider import ATTACK, HostileProvider
from installation import WRONG_KEY, Installation, until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

TOKEN = "operator-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
ACCESSIBILITY = (Path(__file__).parent / "accessibility.js").read_text()
BEAT_MS = 3000
"""As `page.js` has it."""


@dataclass(frozen=True)
class Site:
    """A front, and the paths of what there is to see."""

    installed: Installation
    front: FrontProcess
    paths: dict[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation in which most is going on that can: paused, failing, cooling, hostile; batches of all kinds."""
    with HostileProvider() as hostile:
        price = {"input_per_million": 1, "output_per_million": 2}
        simulated = {"source": "custom", "url": "simulator", "model": "demo"}
        limits = {
            "requests_per_minute": 600,
            "tokens_per_minute": 50_000,
            "concurrency": 20,
            "scope": "limited",
        }
        connections = {
            "limited": {**simulated, "limits": limits, "budget": {"per_day_usd": 5}, "price": price},
            "a-long-name-that-somebody-chose-for-good-reasons": {**simulated, "limits": {"scope": "long"}},
            "paused": simulated,
            "cooling": {**simulated, "limits": {"scope": "cooling"}},
            "down": {**simulated, "url": "http://127.0.0.1:9/v1", "retry": {"max_attempts": 1}},
            "wrong-key": {
                "source": "openai",
                "url": "simulator",
                "model": "gpt-5-mini",
                "api_key": "env:TEST_WRONG_KEY",
            },
            "hostile": {"source": "custom", "url": hostile.url, "model": "tame"},
        }
        with Installation(
            tmp_path_factory.mktemp("page"),
            http={"port": 0},
            connections=connections,
            environ={"TEST_WRONG_KEY": WRONG_KEY},
        ) as installed:
            installed.start_worker()
            with FrontProcess(installed, environ={"CHATQ_HTTP_TOKENS": TOKEN}) as front:
                yield Site(installed, front, _furnish(installed, front))


def _furnish(installed: Installation, front: FrontProcess) -> dict[str, str]:
    """Make something of everything; the paths of all pages."""
    queue = installed.queue
    minute, chance = int(installed.now_ms() // 60_000), random.Random(7)
    for ago in range(60):
        sample = f"{minute - ago} {chance.randrange(500)} {chance.randrange(20)}"
        installed.redis.hset("chatq:backlog:limited", str((minute - ago) % 60), sample)
    queue.pause("paused")
    waiting = queue.enqueue("paused", "job:waiting hi")
    queue.enqueue("cooling", "job:cooling [sim: rate_limit 3000] hi")
    queue.enqueue("wrong-key", "job:refused hi")
    for number in range(6):
        queue.enqueue("down", f"job:down{number} hi")
    failed = installed.run("hostile", "please fail", metadata={"<b>name": ATTACK})
    answered = installed.run("hostile", "hi")

    def batch(lines: bytes, **keys: Any) -> str:
        file_id = front.upload(lines, headers=BEARER).json()["id"]
        made: str = front.batch(file_id, headers=BEARER, **keys).json()["id"]
        return made

    running = batch(
        batch_lines("job:r1 hi", "job:r2 [sim: no such]", "job:r3 hi [sim: latency 3000]"),
        metadata={"for": ATTACK},
    )
    refused = batch(b'{"<script>": 1}\n')
    ended = batch(batch_lines("job:e1 hi", "job:e2 [sim: no such]"))
    front.ended(ended, BEARER)
    front.ended(refused, BEARER)
    until(lambda: queue.batch(running).counts.succeeded == 1, "r1")
    facts = lambda: queue.overview()["connections"]  # noqa: E731
    until(lambda: facts()["cooling"]["cooling_until"] and facts()["wrong-key"]["paused"], "trouble")
    until(lambda: facts()["down"]["breaker"] != "closed", "the breaker")
    return {
        "overview": "/",
        "limited": "/connections/limited",
        "hostile": "/connections/hostile",
        "wrong-key": "/connections/wrong-key",
        "batches": "/batches",
        "running": f"/batches/{running}",
        "refused": f"/batches/{refused}",
        "jobs": "/jobs",
        "no job's id": "/jobs?id=no%20such",
        "waiting": f"/jobs/{waiting.id}",
        "failed": f"/jobs/{failed.id}",
        "answered": f"/jobs/{answered.id}?answer=shown",
        "missing": "/jobs/none",
    }


@contextmanager
def logged_in(browser: Browser, site: Site, **options: Any) -> Iterator[Page]:
    """A page on which somebody has logged in."""
    # The browser tells on its console of each answer that is an error.
    with browser.visit(site.front.url, expected=("status of 4", "status of 503"), **options) as page:
        page.goto("/login")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.front.url}/")
        yield page


def said(page: Page) -> Any:
    return page.get_by_role("status")


def test_who_logs_in_is_led_to_what_was_asked_for(browser: Browser, site: Site) -> None:
    with browser.visit(site.front.url, expected=("status of 401",)) as page:
        page.goto("/batches")
        page.get_by_label("Token").fill("wrong-token")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("alert").get_by_text("That is no token that is known here.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Batches", level=1).wait_for()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{site.front.url}/login")
        page.goto("/batches")
        page.wait_for_url(f"{site.front.url}/login?next=%2Fbatches")


def test_it_can_be_used_by_name_without_https(browser: Browser, site: Site) -> None:
    """Then browsers do not say `Sec-Fetch-Site`."""
    url = site.front.url.replace("127.0.0.1", "chatq.test")
    with browser.visit(url, expected=("Cross-Origin-Opener-Policy header has been ignored",)) as page:
        page.goto("/login")
        page.get_by_label("Token").fill(TOKEN)
        with page.expect_request("**/login") as login:
            page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/")
        headers = login.value.all_headers()
        assert (headers.get("origin"), headers.get("sec-fetch-site")) == (url, None)
        page.get_by_role("button", name="Check sim").click()
        said(page).get_by_text("sim answers").wait_for()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{url}/login")


def test_numbers_change_while_one_looks(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        page.evaluate("window.isStillThere = true")
        waiting = page.locator("#connection-paused dd").first
        before = int(waiting.inner_text())
        job = site.installed.queue.enqueue("paused", "job:live hi")
        page.wait_for_function(
            "count => document.querySelector('#connection-paused dd').innerText === String(count)",
            arg=before + 1,
        )
        site.installed.queue.cancel(job.id)
        page.wait_for_function(
            "count => document.querySelector('#connection-paused dd').innerText === String(count)", arg=before
        )
        assert page.evaluate("window.isStillThere")


def asks_of_a_minute(page: Page) -> int:
    """How often the page asks for itself in a minute, by the page's own clock."""
    page.wait_for_function("() => !document.querySelector('.htmx-request')", polling=20)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    for _ in range(60_000 // BEAT_MS):
        page.clock.run_for(BEAT_MS)
        page.wait_for_function("() => !document.querySelector('.htmx-request')", polling=20)
    page.remove_listener("request", note)
    return len(asked)


def test_a_tab_that_nobody_sees_asks_for_nothing(browser: Browser, site: Site) -> None:
    with browser.visit(site.front.url) as page:
        page.clock.install(time=0)
        page.goto("/login")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.front.url}/")
        page.clock.pause_at(3600)
        assert asks_of_a_minute(page) == 20
        page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
        assert asks_of_a_minute(page) == 0
        page.evaluate("delete document.hidden")
        with page.expect_request(f"{site.front.url}/"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_check_and_a_test_message_tell_their_outcome(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        page.get_by_role("button", name="Check sim").click()
        said(page).get_by_text("sim answers").wait_for()
        page.get_by_role("button", name="Test message through sim").click()
        said(page).get_by_text("Test message through sim: succeeded").wait_for()
        assert "answer to" in said(page).inner_text()
        page.get_by_role("button", name="Close").click()
        assert said(page).inner_text() == ""
        page.get_by_role("button", name="Check wrong-key").click()
        said(page).get_by_text("wrong-key refuses the key").wait_for()
        assert "→" in page.evaluate(
            "getComputedStyle(document.querySelector('#said .remedy'), '::before').content"
        )
        page.get_by_role("button", name="Test message through paused").click()
        said(page).get_by_text("chatq connections resume paused").wait_for()


def test_a_message_goes_to_the_model_that_is_picked(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        page.goto("/connections/openai")
        picked = page.get_by_role("combobox", name="Model")
        picked.select_option("gpt-4o")
        page.get_by_role("button", name="Test message").click()
        said(page).get_by_text("gpt-4o answered").wait_for()
        assert picked.input_value() == "gpt-4o"


def test_a_connection_is_paused_and_resumed(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        card = page.locator("#connection-once")
        card.get_by_role("button", name="Pause once").click()
        said(page).get_by_text("once is paused.").wait_for()
        card.get_by_role("button", name="Resume once").wait_for()
        card.get_by_text("Paused by an operator, on the page.").wait_for()
        card.get_by_role("button", name="Resume once").click()
        said(page).get_by_text("once is resumed.").wait_for()
        card.get_by_role("button", name="Pause once").wait_for()
        assert site.installed.queue.overview()["connections"]["once"]["paused"] is None


def test_a_batch_is_paused_resumed_retried_and_cancelled(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    lines = batch_lines("job:t1 hi", "job:t2 [sim: no such]", "job:t3 hi [sim: latency 3000]")
    file_id = site.front.upload(lines, headers=BEARER).json()["id"]
    batch_id = site.front.batch(file_id, headers=BEARER).json()["id"]
    with logged_in(browser, site) as page:
        page.goto(f"/batches/{batch_id}")
        page.get_by_role("img", name="2 of 3 done, 1 failed").wait_for()
        page.get_by_role("button", name="Pause").click()
        said(page).get_by_text("The batch is paused.").wait_for()
        page.get_by_role("button", name="Resume").click()
        said(page).get_by_text("The batch goes on.").wait_for()
        page.get_by_role("button", name="Retry failed").click()
        said(page).get_by_role("link").wait_for()
        asked: list[str] = []
        page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        page.get_by_role("button", name="Cancel").click()
        assert asked == ["Cancel what is not done of this batch? It cannot be undone."]
        assert not site.installed.queue.batch(batch_id).cancel_requested
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        said(page).get_by_text("The batch is being cancelled.").wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="Output").click()
        path = tmp_path / "output"
        download.value.save_as(path)
        assert '"custom_id":"c0"' in path.read_text()


def test_all_of_it_works_without_javascript(browser: Browser, site: Site) -> None:
    with logged_in(browser, site, java_script_enabled=False) as page:
        page.get_by_role("button", name="Test message through sim").click()
        page.get_by_text("succeeded").wait_for()
        page.goto("/")
        page.get_by_role("button", name="Pause once").click()
        page.wait_for_url("**/connections/once")
        page.get_by_role("button", name="Resume once").click()
        page.get_by_role("button", name="Pause once").wait_for()
        page.get_by_role("link", name="Jobs").click()
        page.get_by_label("Job id").fill(site.paths["waiting"].removeprefix("/jobs/"))
        page.keyboard.press("Enter")
        page.get_by_text("Why it waits").wait_for()


def test_a_keyboard_is_enough(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        focused = lambda: page.evaluate("document.activeElement.textContent.trim().replace(/\\s+/g, ' ')")  # noqa: E731
        outline = (
            "(style => style.outlineStyle + style.outlineWidth)(getComputedStyle(document.activeElement))"
        )
        page.keyboard.press("Tab")
        assert focused() == "Skip to content"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
        page.keyboard.press("Enter")
        walked = []
        while focused() != "Test message through sim":
            page.keyboard.press("Tab")
            walked.append(focused())
            assert page.evaluate(outline) == "solid3px", walked
            assert len(walked) < 20, walked
        assert walked == ["sim", "Check sim", "Test message through sim"]
        page.keyboard.press("Enter")
        said(page).get_by_text("Test message through sim: succeeded").wait_for()
        # What is live changes around the focus, and leaves it where it is.
        for _ in range(2):
            with page.expect_response(f"{site.front.url}/"):
                page.evaluate("document.body.dispatchEvent(new Event('refresh'))")
        page.wait_for_function("() => !document.querySelector('.htmx-request')")
        assert focused() == "Test message through sim"


def test_a_screen_reader_hears_results_and_no_polls(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        live = page.locator("[aria-live], [role=status], [role=alert], [role=log]")
        assert [live.nth(number).get_attribute("id") for number in range(live.count())] == ["lost", "said"]
        assert page.locator("#live #said, #live #lost").count() == 0


FAULTY = """<body style="background: #fff"><h1 id=twice>One</h1><h3 id=twice>Three</h3><input><button></button>
<table><tr><th>Head</table><img src="data:,"><svg></svg><p style="color: #888">pale</p><p tabindex=2>first</p>
<section aria-labelledby=nothing>text</section>"""


def test_what_is_wrong_with_a_page_is_found(browser: Browser) -> None:
    with browser.visit("http://unused.test") as page:
        page.set_content(FAULTY)
        found = [what.partition(":")[0] for what in page.evaluate(ACCESSIBILITY)]
    assert found == [
        "the language of the page is not said",
        "the page has no title",
        "there is not one main",
        "there is not one header",
        "a heading skips from 1 to 3",
        "a field has no label",
        "it has no name",
        "a header has no scope",
        "no alt",
        "a figure says nothing",
        "the id twice is there twice",
        "the id twice is there twice",
        "its label is not there",
        "it comes out of turn",
        "a contrast of 3.54",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_read_by_everybody(browser: Browser, site: Site, scheme: str) -> None:
    with browser.visit(site.front.url, color_scheme=scheme) as page:
        page.goto("/login")
        assert page.evaluate(ACCESSIBILITY) == []
    with logged_in(browser, site, color_scheme=scheme) as page:
        wrong = {}
        for name, path in site.paths.items():
            page.goto(path)
            wrong[name] = page.evaluate(ACCESSIBILITY)
        page.goto("/")
        for button in ("Check sim", "Check wrong-key"):
            page.get_by_role("button", name=button).click()
            said(page).get_by_text(button.removeprefix("Check ")).wait_for()
            wrong[button] = page.evaluate(ACCESSIBILITY)
        assert {name: found for name, found in wrong.items() if found} == {}
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 380) == (
            scheme == "light"
        )


@pytest.mark.parametrize("width", [320, 768])
def test_a_narrow_window_scrolls_in_one_direction(browser: Browser, site: Site, width: int) -> None:
    with logged_in(browser, site, viewport={"width": width, "height": 800}) as page:
        found = {}
        for name, path in site.paths.items():
            page.goto(path)
            found[name] = page.evaluate("document.documentElement.scrollWidth")
        assert found == dict.fromkeys(found, width)


def test_hostile_texts_stay_texts(browser: Browser, site: Site) -> None:
    with logged_in(browser, site) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in site.paths.values():
            page.goto(path)
            page.wait_for_load_state("load")
            assert page.title().endswith("– chatq")
        page.goto("/connections/hostile")
        page.get_by_role("button", name="Test message").click()
        said(page).get_by_text("Test message through hostile: succeeded").wait_for()
        assert "<script>" in said(page).inner_text()
        page.get_by_role("button", name="Check").click()
        said(page).get_by_text("2 models").wait_for()
        assert page.title() == "hostile – chatq"
        assert dialogs == []


def test_when_the_front_is_gone_the_page_says_since_when_and_goes_on_when_it_is_back(
    browser: Browser, site: Site
) -> None:
    with FrontProcess(site.installed) as front, browser.visit(front.url, expected=("ERR_", "htmx:")) as page:
        page.goto("/")
        page.route("**/*", lambda route: route.abort("connectionrefused"))
        page.get_by_role("alert").get_by_text("The front does not answer. What you see is of").wait_for()
        page.unroute("**/*")
        page.get_by_role("alert").wait_for(state="hidden")
