"""Somebody with a browser, as far as HTTP goes: keeps cookies, and sends the forms that are on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
from installation import WAIT_S


@dataclass
class Form:
    """A form of a page: where it goes, what it holds, what its button says."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    button: str = ""


class _Page(HTMLParser):
    """What a test looks at."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.forms: list[Form] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._open.append(tag)
        if tag == "form":
            self.forms.append(Form(found.get("action") or "", found.get("method") or "get"))
        elif tag in {"input", "select"} and found.get("name") and self.forms:
            self.forms[-1].fields[found["name"] or ""] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "button" in self._open and self.forms:
            self.forms[-1].button += data
        if not {"script", "style"} & set(self._open):
            self.text += data


class Visitor:
    """Visits the page of a front. `token`: logs in first."""

    def __init__(self, url: str, token: str | None = None) -> None:
        # Connections are not kept, so that nothing is to be closed.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False, limits=limits)
        self.origin = {"origin": url}
        if token is not None:
            assert self.log_in(token).status_code == 303

    def log_in(self, token: str, **fields: str) -> httpx.Response:
        return self.client.post("/login", data={"token": token, **fields}, headers=self.origin)

    def page(self, path: str, *, status: int = 200) -> _Page:
        """A page, read."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return _Page(answer.text)

    def form(self, path: str, button: str) -> Form:
        """The one form of a page whose button says so."""
        page = self.page(path)
        found = [form for form in page.forms if " ".join(form.button.split()) == button]
        assert len(found) == 1, [form.button for form in page.forms]
        return found[0]

    def press(self, path: str, button: str, **fields: str) -> httpx.Response:
        """Press a button of a page, without JavaScript."""
        return self.send(self.form(path, button), **fields)

    def send(self, form: Form, *, headers: Mapping[str, str] | None = None, **fields: str) -> httpx.Response:
        """Send a form. `headers`: in place of what a browser sends."""
        return self.client.post(
            form.action,
            data={**form.fields, **fields},
            headers=self.origin if headers is None else headers,
        )

    def press_live(self, path: str, button: str, **fields: str) -> httpx.Response:
        """Press a button, as htmx does."""
        return self.send(self.form(path, button), headers={**self.origin, "hx-request": "true"}, **fields)
