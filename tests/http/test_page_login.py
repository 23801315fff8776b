"""Who sees the page: tokens, sessions, and what browsers are told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from front_process import FrontProcess
from installation import Installation
from page_visitor import Visitor

from chatq.contract.errors import ChatQueueError
from chatq.http.access import Access, Caller, Unauthorized
from chatq.http.errors import TooManyTries
from chatq.http.page.login_routes import own_path
from chatq.http.page.session import SESSION_S, Sessions
from chatq.http.page.throttle import TRIES, Throttle

ROOT, ACME = "root-token-2", "acme-token-2"


@pytest.fixture(scope="module")
def guarded(installed: Installation) -> Iterator[FrontProcess]:
    """A front with tokens: the operator's, and that of a tenant."""
    tokens = installed.folder / "page-login-tokens.yaml"
    tokens.write_text(json.dumps([{"token": ACME, "tenant": "acme"}]))
    tokens.chmod(0o600)
    environ = {"CHATQ_HTTP_TOKENS": ROOT, "CHATQ_HTTP__TOKENS_FILE": str(tokens)}
    with FrontProcess(installed, environ=environ) as process:
        yield process


def test_without_a_session_every_page_leads_to_the_login_and_back(guarded: FrontProcess) -> None:
    for path in ("/batches", "/batches/batch_1", "/connections/sim", "/jobs/x?answer=shown"):
        answer = guarded.client.get(path)
        assert answer.status_code == 303
        login = httpx.URL(answer.headers["location"])
        assert (login.path, login.params["next"]) == ("/login", path)
    assert guarded.client.get("/").headers["location"] == "/login"
    visitor = Visitor(guarded.url)
    assert visitor.log_in(ROOT, next="/batches").headers["location"] == "/batches"
    assert visitor.client.get("/batches").status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_holds_no_token(
    guarded: FrontProcess,
) -> None:
    said = Visitor(guarded.url).log_in(ROOT).headers["set-cookie"]
    cookie, *flags = said.split("; ")
    assert set(flags) == {"HttpOnly", "Path=/", "SameSite=strict", f"Max-Age={SESSION_S}"}
    assert ROOT not in cookie


def test_it_is_secure_where_the_browser_speaks_https_to_a_proxy(guarded: FrontProcess) -> None:
    host = guarded.url.removeprefix("http://")
    answer = guarded.client.post("/login", data={"token": ROOT}, headers={"origin": f"https://{host}"})
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_a_wrong_token_makes_no_session(guarded: FrontProcess) -> None:
    visitor = Visitor(guarded.url)
    answer = visitor.log_in("wrong-token")
    assert answer.status_code == 401
    assert "no token that is known here" in answer.text
    assert "set-cookie" not in answer.headers
    assert "wrong-token" not in answer.text


def test_another_site_logs_nobody_in(guarded: FrontProcess) -> None:
    for headers in (
        {},
        {"origin": "https://evil.example.com"},
        {"sec-fetch-site": "cross-site", "origin": guarded.url},
    ):
        answer = guarded.client.post("/login", data={"token": ROOT}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_the_cookie_opens_nothing_of_the_api(guarded: FrontProcess) -> None:
    visitor = Visitor(guarded.url, ROOT)
    for method, path in (("GET", "/v1/status"), ("GET", "/metrics"), ("POST", "/v1/connections/sim/test")):
        assert visitor.client.request(method, path, headers=visitor.origin).status_code == 401


def test_nor_does_a_token_in_a_header_open_the_page(guarded: FrontProcess) -> None:
    assert guarded.client.get("/", headers={"authorization": f"Bearer {ROOT}"}).status_code == 303


def test_who_logs_out_is_out(guarded: FrontProcess) -> None:
    visitor = Visitor(guarded.url, ROOT)
    assert visitor.press("/", "Log out").headers["location"] == "/login"
    assert visitor.client.get("/").status_code == 303


def test_htmx_of_a_session_that_has_ended_is_sent_to_the_login(guarded: FrontProcess) -> None:
    answer = guarded.client.get("/", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


def test_a_session_is_known_by_every_front_and_after_a_restart(
    installed: Installation, guarded: FrontProcess
) -> None:
    visitor = Visitor(guarded.url, ROOT)
    with FrontProcess(installed, environ={"CHATQ_HTTP_TOKENS": ROOT}) as other:
        cookies = {"chatq_page": visitor.client.cookies["chatq_page"]}
        assert httpx.get(other.url, cookies=cookies, trust_env=False).status_code == 200


def test_browsers_are_kept_strict(guarded: FrontProcess) -> None:
    visitor = Visitor(guarded.url, ROOT)
    for path in ("/", "/login", "/connections/none", "/static/page.css", "/static/none"):
        headers = visitor.client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        kept = "public, max-age=31536000, immutable" if path == "/static/page.css" else "no-store"
        assert headers["cache-control"] == kept


def test_no_page_has_a_script_or_a_style_of_its_own(guarded: FrontProcess) -> None:
    visitor = Visitor(guarded.url, ROOT)
    for path in ("/", "/connections/sim", "/batches", "/jobs"):
        for tag, attributes in visitor.page(path).tags:
            assert tag != "style"
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            assert tag != "script" or (attributes["src"] or "").startswith("/static/")


# Sessions, with a clock of the test's own.

NOW_S = 1_800_000_000.0


def cookie_of(sessions: Sessions, token: str = "token-of-a") -> str:
    cookie = sessions.log_in(token, NOW_S)
    assert cookie is not None
    return cookie


def refused(sessions: Sessions, cookie: str, now_s: float = NOW_S) -> bool:
    try:
        sessions.session(cookie, now_s)
    except Unauthorized:
        return True
    return False


def test_a_session_is_its_tokens_callers() -> None:
    sessions = Sessions(Access([("token-of-a", Caller("a")), ("token-of-b", Caller("b"))]))
    assert sessions.session(cookie_of(sessions), NOW_S).caller == Caller("a")
    assert sessions.session(cookie_of(sessions, "token-of-b"), NOW_S).caller == Caller("b")


def test_a_session_ends_after_twelve_hours() -> None:
    sessions = Sessions(Access([("token-of-a", Caller())]))
    cookie = cookie_of(sessions)
    assert not refused(sessions, cookie, NOW_S + 12 * 3600 - 1)
    assert refused(sessions, cookie, NOW_S + 12 * 3600)


def test_a_session_ends_when_its_token_is_taken_away() -> None:
    cookie = cookie_of(Sessions(Access([("token-of-a", Caller()), ("token-of-b", Caller())])))
    assert refused(Sessions(Access([("token-of-b", Caller())])), cookie)


def test_no_part_of_a_session_can_be_changed() -> None:
    sessions = Sessions(Access([("token-of-a", Caller("a")), ("token-of-b", Caller("b"))]))
    cookie = cookie_of(sessions)
    parts, others = cookie.split("."), cookie_of(sessions, "token-of-b").split(".")
    for place in range(1, 5):
        assert refused(sessions, ".".join([*parts[:place], others[place], *parts[place + 1 :]]), NOW_S) or (
            parts[place] == others[place]
        )
    assert refused(sessions, cookie.replace(parts[2], str(int(parts[2]) + 1)))
    for wrong in ("", "1", "visit." + "0" * 32, cookie + "0", cookie[:-1], cookie.upper(), cookie + "\n"):
        assert refused(sessions, wrong)


def test_a_form_is_of_its_session_alone() -> None:
    sessions = Sessions(Access([("token-of-a", Caller())]))
    one, other = (sessions.session(cookie_of(sessions), NOW_S) for _ in range(2))
    assert one.made(one.form_token)
    assert not one.made(other.form_token)
    assert not one.made("")
    assert not one.made("é\udcff")


def test_after_the_login_one_stays_on_this_site() -> None:
    assert [own_path(path) for path in ("/", "/jobs/x?answer=shown", "/batches/b")] == [
        "/",
        "/jobs/x?answer=shown",
        "/batches/b",
    ]
    for elsewhere in (
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "",
        "jobs",
        "/a\r\nx: y",
        "/\t/evil",
    ):
        assert own_path(elsewhere) == "/"


def tries(throttle: Throttle, address: str, now_s: float) -> bool:
    """Whether it may be tried."""
    try:
        throttle.check(address, now_s)
    except ChatQueueError:
        return False
    return True


def test_ten_wrong_tokens_in_a_row_and_the_address_waits() -> None:
    throttle = Throttle()
    for _ in range(TRIES):
        assert tries(throttle, "here", NOW_S)
        throttle.failed("here", NOW_S)
    with pytest.raises(TooManyTries, match="Too many") as raised:
        throttle.check("here", NOW_S)
    assert raised.value.retry_after_s == 6
    assert tries(throttle, "elsewhere", NOW_S)
    assert tries(throttle, "here", NOW_S + 6)


@pytest.mark.thorough
def test_a_throttled_address_is_told_when_to_come_back(installed: Installation) -> None:
    with FrontProcess(installed, environ={"CHATQ_HTTP_TOKENS": ROOT}) as front:
        visitor = Visitor(front.url)
        answers = [visitor.log_in("wrong-token") for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 6
        assert "Try again in" in answers[-1].text
        assert visitor.log_in(ROOT).status_code == 429


def test_the_throttle_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatq.http.page.throttle._ADDRESSES", 2)
    throttle = Throttle()
    for number in range(3):
        throttle.failed(f"address {number}", time.time())
    assert len(throttle._until) == 2
