"""The browser of these tests sees what is wrong with a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from browser import Browser

PAGES = {
    "/good": b"<title>good</title><p>quiet",
    "/policy": b"<title>bad</title><script>alert(1)</script>",
    "/throws": b"<title>bad</title><script src='/throws.js'></script>",
    "/throws.js": b"throw new Error('of the page')",
    "/elsewhere": b"<title>bad</title><img src='http://localhost:9/x.png'>",
}
POLICY = "default-src 'self'; img-src *"


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGES.get(self.path, b"")
        self.send_response(200)
        self.send_header("content-type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("content-security-policy", POLICY)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_in_order_is_visited(browser: Browser, site: str) -> None:
    with browser.visit(site) as page:
        page.goto("/good")
        assert page.title() == "good"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/policy", "Content Security Policy"),
        ("/throws", "of the page"),
        ("/elsewhere", "asked another host: http://localhost:9/x.png"),
    ],
)
def test_a_page_that_is_not_fails_its_visit(browser: Browser, site: str, path: str, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault), browser.visit(site) as page:
        page.goto(path)
