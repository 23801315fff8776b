"""A real browser for a test: Debian's Chromium, or another that is on the PATH, driven by Playwright.

    with Browser(program) as browser, browser.visit(front.url, color_scheme="dark") as page:
        page.goto("/")
        page.get_by_role("button", name="Check").click()

Whoever visits is alone: no cookie of another visit. When a visit ends, it fails the test if the page said anything on
its console that is an error, broke its own content security policy, threw, or asked any other host than its own.
Playwright runs an event loop in the thread of the test: such a test cannot use `asyncio.run`.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 20_000
"""How long an event is waited for. Far more than any takes: the machine may be busy."""
_OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)
"""So a site of this machine can be asked for under any name in `.test`: then it is none that browsers trust by its
address."""


def browser_program() -> str | None:
    """The browser that is installed, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def use_environment(environment: Path) -> None:
    """Make what is installed in an environment importable, behind what is here: what both have is ours."""
    (packages,) = environment.glob("lib/python*/site-packages")
    if str(packages) not in sys.path:
        sys.path.append(str(packages))


class Browser:
    """A browser without a window, from entering to leaving. `program`: its path."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        playwright = self._cleanup.enter_context(sync_playwright())
        self._chromium = playwright.chromium.launch(
            executable_path=self._program, chromium_sandbox=False, args=list(_OPTIONS)
        )
        self._cleanup.callback(self._chromium.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @contextlib.contextmanager
    def visit(self, url: str, *, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
        """A page of a visit to the site at `url`. `expected`: parts of what its console may say. `options`: as
        Playwright's `new_context` has them: `color_scheme`, `viewport`, `java_script_enabled`, ..."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = self._chromium.new_context(base_url=url, **options)
        faults: list[str] = []

        def said(message: ConsoleMessage) -> None:
            told = f"{message.type}: {message.text}"
            if message.type in {"error", "warning"} and not any(part in told for part in expected):
                faults.append(told)

        def asked(request: Request) -> None:
            address = urlsplit(request.url)
            if address.scheme not in {"data", "blob"} and address.netloc != urlsplit(url).netloc:
                faults.append(f"asked another host: {request.url}")

        context.on("console", said)
        context.on("request", asked)
        context.on("weberror", lambda fault: faults.append(f"thrown: {fault.error}"))
        try:
            context.set_default_timeout(WAIT_MS)
            yield context.new_page()
        finally:
            context.close()
        assert not faults, "\n".join(faults)
