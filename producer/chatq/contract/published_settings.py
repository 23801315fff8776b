"""The form in which workers publish their settings, so that a caller needs only the Redis URL.

JSON, versioned. It holds what callers and scripts need, and nothing secret: no keys or references to them, no
URLs, tokens, headers or bodies. Of `params` it has only what says how long an answer may be, for the estimate
of tokens. A reader ignores keys that it does not know, and takes the default for those that are absent;
`VERSION` rises when that would be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from chatq.contract.config_problems import ConfigError, Place, Problem
from chatq.contract.connection import PUBLISHED, Connection
from chatq.contract.section import Section
from chatq.contract.settings import Settings

VERSION = 1

_PUBLISHED_PARAMS = ("max_tokens", "max_completion_tokens", "n")
_PUBLISHED_FIELDS = {
    "source", "model", "api", "post_processing", "bypass_status_check", "timeout", "limits", "retry",
    "fallback", "budget", "price",
}  # fmt: skip
_PLACE = Place("settings published by the workers")


def publish(settings: Settings) -> dict[str, Any]:
    """`settings` as JSON-able data. Durations are seconds, sizes bytes."""
    return {
        "version": VERSION,
        "promptPlaceholder": settings.prompt_placeholder,
        "redis": {"key_prefix": settings.redis.key_prefix},
        "worker": {"lease": settings.worker.lease},
        "bounds": settings.bounds.model_dump(mode="json"),
        "results": settings.results.model_dump(mode="json"),
        "connections": {name: _connection(connection) for name, connection in settings.connections.items()},
    }


def read(published: Mapping[str, Any]) -> Settings:
    """The settings that `publish` made the data of; what it left out has its default, and connections no url.

    Raises `ConfigError` when this version cannot read the data.
    """
    version = published.get("version")
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        remedy = "upgrade chatq here" if newer else "upgrade the workers and restart them"
        raise ConfigError(
            [Problem(_PLACE, "version", f"expected {VERSION}, got another; {remedy}", expected=str(VERSION))]
        )
    try:
        return Settings.model_validate(_known(Settings, published), context={PUBLISHED: True})
    except ValidationError as error:
        keys = [
            ".".join(map(str, detail["loc"]))
            for detail in error.errors(include_url=False, include_input=False)
        ]
        message = "not understood by this version; upgrade chatq to the workers' version"
        raise ConfigError([Problem(_PLACE, key, message) for key in keys]) from None


def _connection(connection: Connection) -> dict[str, Any]:
    data: dict[str, Any] = connection.model_dump(mode="json", include=_PUBLISHED_FIELDS)
    params = {key: connection.params[key] for key in _PUBLISHED_PARAMS if key in connection.params}
    return {**data, "params": params}


def _known(section: type[Section], data: Any) -> Any:
    """`data` without the keys that a newer worker added."""
    from chatq.contract.config_keys import keys_of

    if not isinstance(data, Mapping):
        return data
    known: dict[str, Any] = {}
    for name, key in keys_of(section).items():
        if name not in data:
            continue
        value = data[name]
        if key.kind == "section" and key.section is not None:
            value = _known(key.section, value)
        elif key.kind == "named_sections" and key.section is not None and isinstance(value, Mapping):
            value = {item: _known(key.section, one) for item, one in value.items()}
        known[name] = value
    return known
