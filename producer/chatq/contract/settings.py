"""The settings as one frozen, typed object. Read `config.yaml` first: it has the same order and words.

Every duration is in seconds (float), every size in bytes (int). Nothing here reads a file or the environment;
`chatq.contract.config_file.load_settings` does. What the models hold is read-only, mappings included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationInfo

from chatq.contract.addresses import (
    DEFAULT_EMBEDDED_FOLDER,
    checked_broker_url,
    checked_redis_url,
    resolved,
    without_password,
)
from chatq.contract.config_problems import ConfigError, Place, Problem, nearest
from chatq.contract.connection import (
    Budget,
    Connection,
    Limits,
    PostProcessing,
    Price,
    Retry,
    Source,
    Timeout,
)
from chatq.contract.duration import Duration, PositiveDuration, at_least, format_duration, parse_duration
from chatq.contract.key_reference import KeyReference, Reference
from chatq.contract.section import Broken, Count, Flag, Section, Text, peek
from chatq.contract.sizes import PositiveSize, between

__all__ = [
    "Backlog",
    "Bounds",
    "Budget",
    "ConfigError",
    "Connection",
    "Http",
    "KeyReference",
    "Limits",
    "Log",
    "Place",
    "PostProcessing",
    "Price",
    "Problem",
    "Redis",
    "Results",
    "Retry",
    "Settings",
    "Source",
    "Timeout",
    "Webhooks",
    "Worker",
]

CONNECTION_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# A value in Redis is at most 512 MB (proto-max-bulk-len); a record holds more than the body alone.
_LARGEST_VALUE = 448 * 2**20


def _key_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("expected 1 to 64 letters, digits and . _ - that begin with a letter or digit")
    return value


def _connection_id(value: str) -> str:
    if not CONNECTION_ID.fullmatch(value):
        raise ValueError("a connection ID is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("expected a text, got an empty one")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", value.removeprefix("[").removesuffix("]")):
        raise ValueError("expected a host name or address, without http:// and path")
    return value


class Redis(Section):
    """The server of the ledger, and Celery's broker."""

    url: Annotated[Text, AfterValidator(checked_redis_url)] = Field(
        "embedded", repr=False, validate_default=True
    )
    """`embedded`, `embedded:FOLDER`, or the URL of a server: `redis://`, `rediss://` (TLS), `unix://`, `sentinel://`.
    May hold a password: for people there is `masked_url`. An embedded server's folder is absolute once loaded."""
    broker_url: Annotated[Text, AfterValidator(checked_broker_url)] | None = Field(None, repr=False)
    """Celery's broker when it is not the same server. May hold a password."""
    key_prefix: Annotated[Text, AfterValidator(_key_prefix)] = "chatq"
    """Every key and queue of ours, Celery's included, starts with it."""
    fsync: Literal["always", "everysec"] = "always"
    """Of the embedded server. `everysec`: up to two seconds of work can go with the power."""

    @property
    def embedded_folder(self) -> Path | None:
        """The embedded server's data folder; None when `url` is another server's."""
        kind, _, folder = self.url.partition(":")
        return Path(folder or DEFAULT_EMBEDDED_FOLDER) if kind == "embedded" else None

    @property
    def masked_url(self) -> str:
        """`url` without user and password."""
        return without_password(self.url)


class Worker(Section):
    """One `chatq worker`."""

    slots: Count = 1000
    """Calls in flight in one worker process."""
    processes: Annotated[Count, Field(le=1024)] = 1
    """Worker processes of one `chatq worker`, and of `chatq up`: one for each core that they may use."""
    lease: Annotated[Duration, AfterValidator(at_least(1.0))] = 30.0
    """Seconds of silence after which a worker's job is taken up by another."""
    grace: Duration = 30.0
    """Seconds that running calls have to end on SIGTERM before they are handed back."""


class Backlog(Section):
    """Beyond either, enqueue is refused with the moment to try again."""

    jobs: Count = 5_000_000
    """Jobs that wait or run."""
    bytes: PositiveSize = 4 * 2**30
    """Of their requests, as JSON."""


class Bounds(Section):
    """What may come in. Sizes are of the JSON."""

    backlog: Backlog = Field(default_factory=Backlog)
    job_bytes: Annotated[PositiveSize, AfterValidator(between(1, _LARGEST_VALUE))] = 8 * 2**20
    """The largest job: its request and its metadata."""
    answer_bytes: Annotated[PositiveSize, AfterValidator(between(1, _LARGEST_VALUE))] = 32 * 2**20
    """The largest answer that is taken from a provider."""


class Results(Section):
    """How long finished work is kept."""

    keep: PositiveDuration = 604800.0
    """Seconds from a job's end, or from the end of its batch, until it is deleted."""


class Webhooks(Section):
    """Telling other services that a batch has ended. Without `hosts` nobody is told."""

    hosts: tuple[Annotated[Text, AfterValidator(_host)], ...] = ()
    """Hosts that may be told, as their URLs name them. What has an address inside (this machine, private networks, the
    cloud's own) is not told all the same, unless `internal`."""
    internal: Flag = False
    """Whether hosts with such addresses may be told, and over http."""
    secret: Reference | None = None
    """What events are signed with, as Standard Webhooks say: `whsec_` and base64, or any text."""

    @classmethod
    def _broken_relations(cls, given: Mapping[str, Any], info: ValidationInfo) -> Iterator[Broken]:
        if given.get("hosts") and given.get("secret") is None:
            yield Broken(
                ("secret",),
                "expected env:NAME or file:PATH: who is told has to know that it is from here",
            )


class Http(Section):
    """The HTTP front."""

    host: Annotated[Text, AfterValidator(_host)] = "127.0.0.1"
    """Where it listens. Without tokens on this machine only."""
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 8400
    """Where it listens; 0: any free port."""
    tokens_file: Annotated[Text, AfterValidator(resolved)] | None = None
    """YAML: token, tenant, connections. Absolute once loaded."""
    allow_hosts: tuple[Annotated[Text, AfterValidator(_host)], ...] = ("localhost", "127.0.0.1")
    """The Host headers that are answered while there are no tokens."""
    folder: Annotated[Text, AfterValidator(resolved)] = Field(".chatq/http", validate_default=True)
    """Where uploaded files and the results of batches are kept. Fronts of one queue share it. Absolute once loaded."""
    upload_bytes: PositiveSize = 2 * 2**30
    """The largest file that may be uploaded."""
    waiting: Count = 10_000
    """Requests that may wait for a job's end at a time."""
    webhooks: Webhooks = Field(default_factory=Webhooks)


class Log(Section):
    """What is written to stderr, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """What is written: this, and what is more severe."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON elsewhere."""


class Settings(Section):
    """Everything in `config.yaml`, checked as a whole."""

    prompt_placeholder: Annotated[
        str, Field(strict=True, max_length=10_000, alias="promptPlaceholder"), AfterValidator(_not_blank)
    ] = "[Start a new chat]"
    """Text of the user message that strict modes insert."""
    redis: Redis = Field(default_factory=Redis)
    worker: Worker = Field(default_factory=Worker)
    bounds: Bounds = Field(default_factory=Bounds)
    results: Results = Field(default_factory=Results)
    http: Http = Field(default_factory=Http)
    log: Log = Field(default_factory=Log)
    connections: dict[Annotated[str, AfterValidator(_connection_id)], Connection] = Field(
        default_factory=dict
    )
    """By connection ID."""

    _source_path: Path | None = PrivateAttr(default=None)
    _notices: tuple[str, ...] = PrivateAttr(default=())
    _http_tokens: tuple[SecretStr, ...] = PrivateAttr(default=())

    @property
    def source_path(self) -> Path | None:
        """The file that was read, absolute; None for settings made otherwise."""
        return self._source_path

    @property
    def notices(self) -> tuple[str, ...]:
        """What was corrected or is doubtful, a line each, for the operator to see."""
        return self._notices

    @property
    def http_tokens(self) -> tuple[SecretStr, ...]:
        """The tokens of `CHATQ_HTTP_TOKENS`; those of `http.tokens_file` are not read here."""
        return self._http_tokens

    def loaded(self, source_path: Path, notices: tuple[str, ...], http_tokens: tuple[SecretStr, ...]) -> Self:
        """These settings together with what is known from loading them."""
        settings = self.model_copy()
        settings._source_path, settings._notices, settings._http_tokens = source_path, notices, http_tokens
        return settings

    def public(self) -> dict[str, Any]:
        """What workers publish for callers, as `chatq.contract.published_settings` says."""
        from chatq.contract.published_settings import publish

        return publish(self)

    @classmethod
    def from_public(cls, published: Mapping[str, Any]) -> Settings:
        """Settings as a caller learns them. What is not published has its default; see `published_settings`.

        Raises `ConfigError` for a form that this version cannot read.
        """
        from chatq.contract.published_settings import read

        return read(published)

    @classmethod
    def _broken_relations(cls, given: Mapping[str, Any], info: ValidationInfo) -> Iterator[Broken]:
        connections = peek(given, "connections")
        if isinstance(connections, Mapping):
            yield from _broken_fallbacks(connections)
            yield from _retries_past_results(connections, peek(given, "results", "keep"))


def _fallbacks(connections: Mapping[Any, Any], name: object) -> list[tuple[int, str]]:
    fallback = peek(connections, name, "fallback")  # type: ignore[arg-type]
    if not isinstance(fallback, list | tuple):
        return []
    return [(index, other) for index, other in enumerate(fallback) if isinstance(other, str)]


def _broken_fallbacks(connections: Mapping[Any, Any]) -> Iterator[Broken]:
    for name in connections:
        for index, other in _fallbacks(connections, name):
            where = ("connections", name, "fallback", index)
            if other == name:
                yield Broken(where, "a connection cannot stand in for itself")
            elif other not in connections:
                near = nearest(
                    other, (known for known in connections if isinstance(known, str) and known != name)
                )
                yield Broken(
                    where, "there is no such connection" + (f'; did you mean "{near}"?' if near else "")
                )
    for circle in _circles(connections):
        index = next(index for index, other in _fallbacks(connections, circle[0]) if other == circle[1])
        path = " -> ".join(circle)
        yield Broken(("connections", circle[0], "fallback", index), f"goes in a circle: {path}")


def _circles(connections: Mapping[Any, Any]) -> Iterator[list[str]]:
    """Each circle of fallbacks once, from the connection where a walk in the file's order closes it."""
    done: set[str] = set()
    for start in connections:
        trail: list[str] = []
        ahead = [iter([start])]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                ahead.pop()
                if trail:
                    done.add(trail.pop())
            elif name in trail:
                yield [*trail[trail.index(name) :], name]
            elif name not in done:
                trail.append(name)
                others = [other for _, other in _fallbacks(connections, name) if other != name]
                ahead.append(iter([other for other in others if other in connections]))


def _retries_past_results(connections: Mapping[Any, Any], keep_as_given: object) -> Iterator[Broken]:
    """A job that is retried past the life of its result would end and be gone."""
    default_elapsed: float = Retry.model_fields["max_elapsed"].default
    keep = _seconds(keep_as_given, Results.model_fields["keep"].default)
    if keep is None:
        return
    by_default = []
    for name in connections:
        given = peek(connections, name, "retry", "max_elapsed")
        elapsed = _seconds(given, default_elapsed)
        if elapsed is None or elapsed < keep:
            continue
        if given is None:
            by_default.append(str(name))
        else:
            yield Broken(
                ("connections", name, "retry", "max_elapsed"),
                f"expected less than results.keep ({format_duration(keep)}), got {format_duration(elapsed)}",
            )
    if by_default:
        yield Broken(
            ("results", "keep"),
            f"expected more than the default retry.max_elapsed ({format_duration(default_elapsed)}) of "
            f"{', '.join(by_default[:3])}{' and others' if len(by_default) > 3 else ''}, "
            f"got {format_duration(keep)}; set a shorter retry.max_elapsed there or keep results longer",
        )


def _seconds(value: object, default: float) -> float | None:
    """Seconds, or None for a value whose own field reports it."""
    try:
        return default if value is None else parse_duration(value)
    except ValueError:
        return None
