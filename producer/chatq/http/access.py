"""Tokens: who asks, and what is theirs.

Source: RFC 6750 (Bearer tokens); the public interface, section HTTP front.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from chatq.contract.addresses import is_loopback
from chatq.contract.check import unknown_connection
from chatq.contract.config_file import SHORTEST_TOKEN
from chatq.contract.config_problems import ConfigError, Place, Problem, nearest
from chatq.contract.config_yaml import Node, read_yaml
from chatq.contract.errors import ChatQueueError
from chatq.contract.key_reference import is_open_to_others
from chatq.contract.record import JobRecord
from chatq.contract.redaction import remember
from chatq.contract.settings import Settings
from chatq.contract.shown import shown, shown_key

_KEYS: Final = ("token", "tenant", "connections")


class Unauthorized(ChatQueueError):
    """No token, or one that nobody was given."""

    code: ClassVar[str] = "invalid_token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `tenant`: whose things they see; None: everybody's. `connections`: those they may use; None: all."""

    tenant: str | None = None
    connections: frozenset[str] | None = None

    @property
    def sees_all(self) -> bool:
        """Whether everything is theirs: that of all tenants, on all connections."""
        return self.tenant is None and self.connections is None

    def may_use(self, connection: str) -> bool:
        return self.connections is None or connection in self.connections

    def owns(self, tenant: str | None) -> bool:
        """Whether what is this tenant's is theirs."""
        return self.tenant is None or tenant == self.tenant

    def sees(self, record: JobRecord) -> bool:
        return self.owns(record.tenant) and self.may_use(record.connection)

    def settings(self, settings: Settings) -> Settings:
        """The settings as far as they are this caller's business."""
        if self.connections is None:
            return settings
        allowed = {name: one for name, one in settings.connections.items() if name in self.connections}
        return settings.model_copy(update={"connections": allowed})

    def must_know(self, connection: str, settings: Settings) -> None:
        """Raises `UnknownConnection`, also for one that is there and not theirs."""
        mine = self.settings(settings)
        if connection not in mine.connections:
            raise unknown_connection(connection, mine)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is accepted, and whose it is. `digest`: its SHA-256; it is kept itself nowhere."""

    digest: bytes
    caller: Caller


class Access:
    """The tokens that are accepted; without any, everybody is the one caller."""

    def __init__(self, tokens: Sequence[tuple[str, Caller]]) -> None:
        self.tokens = tuple(Token(_digest(token), caller) for token, caller in tokens)

    @classmethod
    def of(cls, settings: Settings, host: str) -> Access:
        """The tokens of the settings. Raises `ConfigError`: what is wrong with them, or that there are none where
        `host` can be reached from elsewhere."""
        tokens = [(token.get_secret_value(), Caller()) for token in settings.http_tokens]
        if settings.http.tokens_file is not None:
            tokens += _read_tokens(Path(settings.http.tokens_file), settings)
        if not tokens and not is_loopback(host):
            raise ConfigError(
                [
                    Problem(
                        Place("the HTTP front"),
                        "http.host",
                        f"without tokens it listens on this machine alone, not on {host}; set $CHATQ_HTTP_TOKENS or "
                        "http.tokens_file, or leave out http.host and --host",
                    )
                ]
            )
        return cls(tokens)

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return not self.tokens

    def token(self, given: str) -> Token | None:
        """The token that was given; None: nobody was given such a one.

        Every token is compared, each in constant time, so that the time tells nothing of them.
        """
        digest, found = _digest(given), None
        for token in self.tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this `Authorization` header. Raises `Unauthorized`."""
        if self.open:
            return Caller()
        scheme, _, given = (authorization or "").partition(" ")
        found = self.token(given.strip())
        if found is None or scheme.lower() != "bearer":
            raise Unauthorized(
                "The request has no token that is known here." if given else "The request has no token.",
                remedy="Send Authorization: Bearer TOKEN, with one of $CHATQ_HTTP_TOKENS or http.tokens_file.",
            )
        return found.caller


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _read_tokens(path: Path, settings: Settings) -> list[tuple[str, Caller]]:
    """The entries of a tokens file. Raises `ConfigError` with all that is wrong with it; no token is ever shown."""
    try:
        data, is_open = path.read_bytes(), is_open_to_others(path.stat())
    except OSError as error:
        raise ConfigError([Problem(Place(str(path)), "", f"cannot be read: {error.strerror}")]) from None
    root, problems = read_yaml(data, str(path))
    if is_open:
        problems.append(Problem(Place(str(path)), "", f"can be read by others; run: chmod 600 {path}"))
    if root is not None and root.items is None:
        problems.append(Problem(root.place, "", "expected a list of entries with token, tenant, connections"))
    found: list[tuple[str, Caller]] = []
    seen: set[str] = set()
    for number, entry in enumerate((root and root.items) or ()):
        token = (entry.entries or {}).get("token")
        if token is not None and isinstance(token.scalar, str):
            if token.scalar in seen:
                problems.append(Problem(token.place, f"[{number}].token", "is another entry's too"))
            seen.add(token.scalar)
            plain = entry.plain()
            names = plain.get("connections")
            allowed = frozenset(map(str, names)) if isinstance(names, list) else None
            found.append((token.scalar, Caller(plain.get("tenant"), allowed)))
        problems += _wrong_with(entry, number, settings)
    if not found and not problems:
        problems.append(Problem(Place(str(path)), "", "expected at least one entry, got none"))
    if problems:
        raise ConfigError(problems)
    remember(token for token, _ in found)
    return found


def _wrong_with(entry: Node, number: int, settings: Settings) -> Iterator[Problem]:
    where = f"[{number}]"
    if entry.entries is None:
        yield Problem(entry.place, where, f"expected token, tenant, connections, got {_kind(entry.plain())}")
        return
    for name in entry.entries:
        if name not in _KEYS:
            near = nearest(name, _KEYS)
            meant = f'; did you mean "{near}"?' if near else ""
            yield Problem(
                entry.key_places[name], f"{where}.{shown_key(name)}", f"unknown key{meant}", nearest=near
            )
    token = entry.entries.get("token")
    if token is None:
        yield Problem(entry.place, f"{where}.token", "missing")
    elif not isinstance(token.scalar, str) or not all("!" <= one <= "~" for one in token.scalar):
        yield Problem(
            token.place, f"{where}.token", "expected a text of visible ASCII characters; put it in quotes"
        )
    elif len(token.scalar) < SHORTEST_TOKEN:
        yield Problem(
            token.place, f"{where}.token", f"expected at least {SHORTEST_TOKEN} characters: it can be guessed"
        )
    tenant = entry.entries.get("tenant")
    if tenant is not None and tenant.plain() is not None and not _is_label(tenant.scalar):
        yield Problem(tenant.place, f"{where}.tenant", f"expected a name, got {shown(tenant.plain())}")
    names = entry.entries.get("connections")
    if names is None or names.plain() is None:
        return
    if names.items is None:
        yield Problem(names.place, f"{where}.connections", f"expected a list, got {shown(names.plain())}")
        return
    for one in names.items:
        if one.plain() not in settings.connections:
            near = nearest(str(one.plain()), settings.connections)
            meant = f'; did you mean "{near}"?' if near else ""
            yield Problem(
                one.place, f"{where}.connections", f"no such connection: {shown(one.plain())}{meant}"
            )


def _is_label(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable()


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
