"""Addresses in settings: base URLs of providers, Redis and broker URLs, and paths of files."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import ValidationInfo

SIMULATOR = "simulator"
"""In the place of a base URL: the built-in provider simulator."""

FOLDER = "folder"
"""Validation context: the `Path` of the folder that relative paths start from."""

DEFAULT_EMBEDDED_FOLDER = ".chatq"

REDIS_FORMS = "embedded, embedded:FOLDER, redis://, rediss://, redis+socket://, unix:// or sentinel://"
BROKER_FORMS = "amqp://, amqps://, redis://, rediss://, redis+socket://, unix:// or sentinel://"
_SOCKET_SCHEMES = {"redis+socket", "unix"}
# RFC 6762; RFC 8375; RFC 6761; ICANN's resolution 2024.07.29.06; Kubernetes' services.
_OWN_DOMAINS = (".local", ".home.arpa", ".localhost", ".internal", ".svc", ".lan")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PASTED_ENDING = "/chat/completions"
_SECRET_BEFORE_HOST = re.compile(r"(?<=://)[^/?#\s]*@")


def base_url(text: str) -> str:
    """A provider's base URL: http(s), a host, no user, query or fragment, and the endpoint's path taken off.

    Scheme and host are lower-cased, as connections to one URL share an allowance. `simulator` stays as it is.
    Raises ValueError that does not repeat the URL, which may hold a password.
    """
    if text == SIMULATOR:
        return text
    if re.search(r"[\s\\]", text):
        raise ValueError("expected a URL without spaces and backslashes")
    parts = _split(text, "expected a URL such as https://api.example.com/v1")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("expected a URL that begins with http:// or https://, or simulator")
    if not parts.hostname:
        raise ValueError("expected a URL with a host, such as http://127.0.0.1:5000/v1")
    if "@" in parts.netloc:
        raise ValueError("expected a URL without user and password; give a key with api_key")
    if "?" in text or "#" in text:
        raise ValueError("expected a URL without ? and #, as the endpoint's path is put behind it")
    path = parts.path.rstrip("/").removesuffix(_PASTED_ENDING).rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def checked_redis_url(text: str, info: ValidationInfo) -> str:
    """`redis.url`; an embedded server's folder becomes absolute once the folder of the settings is known.

    Raises ValueError that does not repeat the URL, which may hold a password.
    """
    if text == "embedded":
        return f"embedded:{resolved(DEFAULT_EMBEDDED_FOLDER, info)}"
    if text.startswith("embedded:"):
        folder = text.removeprefix("embedded:")
        if not folder.strip() or folder.startswith("//"):
            raise ValueError("expected embedded:FOLDER with the path of a folder")
        return f"embedded:{resolved(folder, info)}"
    return _server_url(text, {"redis", "rediss", "sentinel", *_SOCKET_SCHEMES}, REDIS_FORMS)


def checked_broker_url(text: str) -> str:
    """`redis.broker_url`, a server that Celery can use as its broker. Raises like `checked_redis_url`."""
    schemes = {"amqp", "amqps", "pyamqp", "redis", "rediss", "sentinel", *_SOCKET_SCHEMES}
    return _server_url(text, schemes, BROKER_FORMS)


def without_password(url: str) -> str:
    """`url` for logs: user and password become `***`, wherever there is an `@`."""
    return _SECRET_BEFORE_HOST.sub("***@", url)


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL or a setting names it, is this machine for sure. No name is looked up."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare.lower() == "localhost"


def is_public(host: str) -> bool:
    """Whether a host is reached over a network of strangers: an address of no private network, or a name in the DNS.

    No name is looked up; one without a dot, or under a domain for networks of one's own, is not public.
    """
    bare = host.removeprefix("[").removesuffix("]").lower().rstrip(".")
    try:
        return ipaddress.ip_address(bare).is_global
    except ValueError:
        return "." in bare and not bare.endswith(_OWN_DOMAINS)


def resolved(path: str, info: ValidationInfo) -> str:
    """`path` made absolute from the folder in the validation context; unchanged when there is none."""
    folder = (info.context or {}).get(FOLDER)
    if "\0" in path:
        raise ValueError("expected a path, got one with a NUL character")
    if not isinstance(folder, Path):
        return path
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        raise ValueError("expected a path; whose home folder ~ means is not known here") from None
    return str(folder / expanded)


def _server_url(text: str, schemes: set[str], forms: str) -> str:
    match = _SCHEME.fullmatch(text)
    if match is None or re.search(r"\s", text):
        raise ValueError(f"expected {forms}")
    scheme, rest = match[1].lower(), match[2]
    if scheme not in schemes:
        raise ValueError(f"expected {forms}, got {scheme}://")
    if scheme in _SOCKET_SCHEMES:
        if not rest.rpartition("@")[2].startswith("/"):
            raise ValueError(
                f"expected the absolute path of a socket, such as {scheme}:///run/redis/redis.sock"
            )
        return f"{scheme}://{rest}"
    # Celery lists sentinels with `;`, each with its scheme; others list hosts with a comma.
    for server in (
        re.split(r";(?=[^/]*://)|,(?=[^/?]*(?:[/?,]|$))", f"{scheme}://{rest}")
        if scheme == "sentinel"
        else [text]
    ):
        parts = _split(
            server if "://" in server else f"{scheme}://{server}", f"expected {scheme}://HOST:PORT"
        )
        if not parts.hostname:
            raise ValueError(f"expected {scheme}:// with a host, such as {scheme}://localhost:6379")
    return f"{scheme}://{rest}"


def _split(url: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        # Brackets that do not close, a port that is no number: urlsplit's words would repeat the URL.
        raise ValueError(f"{expected}, got one with a wrong host or port") from None
    return parts
