"""The files that a browser fetches for the page: style, scripts, the icon. Held in memory, named with what is in
them, so that a browser may keep each for good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

_KINDS: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "idiomorph-ext.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file. `version`: the beginning of its SHA-256."""

    body: bytes
    kind: str
    version: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All of them, by name."""
    folder = resources.files("chatq.http.page") / "static"
    found = {}
    for name, kind in _KINDS.items():
        body = (folder / name).read_bytes()
        found[name] = StaticFile(body, kind, hashlib.sha256(body).hexdigest()[:12])
    return found


def address(name: str) -> str:
    """Where a browser finds a file."""
    return f"/static/{name}?v={static_files()[name].version}"
