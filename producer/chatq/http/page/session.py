"""Who has logged in to the page. Nothing is kept here: any front knows the sessions of every other, also after a
restart.

A session is a cookie: `1.TOKEN.UNTIL.NONCE.PROOF`. TOKEN names the token it was made with by a part of a hash, UNTIL
is when it ends (seconds since 1970), and PROOF is an HMAC of what stands before it, under a key that is derived from
the token's digest. So it cannot be made without the token, does not contain it, and ends when the token is taken
away. It is looked at by the page's paths alone: the API knows only `Authorization`, so what a browser sends by itself
reaches nothing of it.

While no token is asked for, everybody is the one caller, and the cookie only tells browsers apart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

from chatq.http.access import Access, Caller, Token, Unauthorized

COOKIE: Final = "chatq_page"
SESSION_S: Final = 12 * 3600
_FORM: Final = re.compile(
    r"(?P<said>1\.(?P<token>[0-9a-f]{16})\.(?P<until>[0-9]{10,12})\.[0-9a-f]{16})\.(?P<proof>[0-9a-f]{64})"
)
_VISIT: Final = re.compile(r"visit\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Session:
    """A visit of somebody who may see the page. `cookie`: its value."""

    caller: Caller
    cookie: str
    _key: bytes
    is_new: bool = False
    """The browser is to be given the cookie."""
    can_end: bool = True
    """Whether there is something to log out of."""

    @property
    def form_token(self) -> str:
        """What each form of this session carries, so that no other site can make one."""
        return _hmac(self._key, f"form {self.cookie}").hex()

    def made(self, form_token: str) -> bool:
        """Whether a form with this token is of this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode("utf-8", "replace"))


class Sessions:
    """Makes sessions, and knows them again."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._own_key = secrets.token_bytes(32)

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return self._access.open

    def log_in(self, given: str, now_s: float) -> str | None:
        """The cookie of a new session, for whoever has a token; None: nobody was given such a one."""
        token = self._access.token(given)
        if token is None:
            return None
        said = f"1.{_name(token)}.{int(now_s) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{said}.{_hmac(_key(token), said).hex()}"

    def session(self, cookie: str, now_s: float) -> Session:
        """The session of a cookie. Raises `Unauthorized`."""
        if self.open:
            known = _VISIT.fullmatch(cookie) is not None
            value = cookie if known else f"visit.{secrets.token_hex(16)}"
            return Session(Caller(), value, self._own_key, is_new=not known, can_end=False)
        parts = _FORM.fullmatch(cookie)
        if parts is not None:
            for token in self._access.tokens:
                key = _key(token)
                proven = hmac.compare_digest(_hmac(key, parts["said"]).hex(), parts["proof"])
                if proven and parts["token"] == _name(token) and int(parts["until"]) > now_s:
                    return Session(token.caller, cookie, key)
        raise Unauthorized(
            "You are not logged in, or not any more.",
            remedy="Log in with one of $CHATQ_HTTP_TOKENS or http.tokens_file.",
        )


def _name(token: Token) -> str:
    return _hmac(token.digest, "chatq page: name").hex()[:16]


def _key(token: Token) -> bytes:
    return _hmac(token.digest, "chatq page: key")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)
