"""Telling other services that a batch has ended: signed, tried again, and only where the operator allows it.

Source: Standard Webhooks 1.0 (headers, signature, schedule); OpenAI API reference, "Webhook events" (the events).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from chatq.contract.key_reference import KeyUnreadable, read_key_at
from chatq.contract.settings import ConfigError, Place, Problem, Webhooks
from chatq.http.errors import BadRequest
from chatq.logs import fields

logger = logging.getLogger(__name__)

AGAIN_S: Final = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Pauses after each try that failed; then it is given up."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=10)
_AT_ONCE: Final = 20


@dataclass(slots=True)
class Notice:
    """An event, and how far it has come. `url`: who is told. `next_at`: seconds since 1970; None: no more."""

    url: str
    id: str
    body: str
    tries: int = 0
    next_at: float | None = 0.0
    told_at: int | None = None


def notice(url: str, batch_id: str, status: str) -> Notice:
    """The event of a batch that has ended."""
    event_id = f"evt_{secrets.token_hex(12)}"
    body = {
        "id": event_id,
        "object": "event",
        "created_at": int(time.time()),
        "type": f"batch.{status}",
        "data": {"id": batch_id},
    }
    return Notice(url, event_id, orjson.dumps(body).decode())


def check_url(url: object, settings: Webhooks) -> str:
    """The URL of who is to be told. Raises `BadRequest` when nobody there may be."""
    parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
    if parts is None or not parts.hostname or "@" in parts.netloc or len(str(url)) > 2000:
        raise _refused("expected an https:// URL without user and password.", "Give one")
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.internal):
        raise _refused("expected an https:// URL.", "Give one")
    if parts.hostname not in {host.lower() for host in settings.hosts}:
        raise _refused(f"the host {parts.hostname} is not in http.webhooks.hosts.")
    if not settings.internal and _is_internal(parts.hostname):
        raise _refused("addresses inside are not told.")
    return str(url)


def _refused(
    what: str, remedy: str = "Name a host that the operator allows (http.webhooks.hosts in config.yaml)"
) -> BadRequest:
    return BadRequest(
        f"webhook_url: {what}",
        remedy=f"{remedy}, or leave it out.",
        param="webhook_url",
    )


def signature(secret: str, event_id: str, timestamp: int, body: str) -> str:
    """The header `webhook-signature`. Source: Standard Webhooks, "Signature scheme"."""
    signed = f"{event_id}.{timestamp}.{body}".encode()
    digest = hmac.digest(_key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)


def read_secret(settings: Webhooks) -> str:
    """What events are signed with. Raises `ConfigError`."""
    what = "missing"
    if settings.secret is not None:
        try:
            secret = read_key_at(settings.secret, reader="the fronts")
            _key(secret)
        except KeyUnreadable as error:
            what = f"{error}; {error.remedy[:1].lower()}{error.remedy[1:]}"
        except binascii.Error:
            what = "expected base64 behind whsec_"
        else:
            return secret
    raise ConfigError([Problem(Place("the HTTP front"), "http.webhooks.secret", what)])


class Messenger:
    """Delivers notices, on one event loop. `save(key, notice)`: called after each try."""

    def __init__(self, settings: Webhooks, secret: str, save: Callable[[str, Notice], None]) -> None:
        self._internal = settings.internal
        self._secret = secret
        self._save = save
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def deliver(self, key: str, told: Notice) -> None:
        """Try until it is told or given up. `key`: whose notice it is."""
        while told.next_at is not None:
            await asyncio.sleep(max(0.0, told.next_at - time.time()))
            async with self._room:
                status = await self._try(told)
            if 200 <= status < 300:
                told.told_at, told.next_at = int(time.time()), None
            elif status == 410 or told.tries >= len(AGAIN_S):
                told.next_at = None
                host = urlsplit(told.url).hostname
                logger.warning(
                    "%s was not told of a batch's end, and is given up", host, extra=fields(batch=key)
                )
            else:
                told.next_at = time.time() + AGAIN_S[told.tries]
            told.tries += 1
            await asyncio.to_thread(self._save, key, told)

    async def _try(self, told: Notice) -> int:
        """The status of the answer; 0: there was none."""
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "chatq",
            "webhook-id": told.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secret, told.id, now, told.body),
        }
        connector = aiohttp.TCPConnector(resolver=None if self._internal else _Outside(), force_close=True)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=False) as session,
                session.post(told.url, data=told.body, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0


class _Outside(AbstractResolver):
    """Knows no address inside, whatever a name says. What is connected to is what was looked at."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [
            one for one in await self._resolver.resolve(host, port, family) if not _is_internal(one["host"])
        ]
        if not found:
            raise OSError(f"{host} has addresses inside only")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _is_internal(host: str) -> bool:
    """Whether this is an address that is not everybody's; a name is none."""
    try:
        address: Any = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return not (mapped or address).is_global or address.is_multicast
