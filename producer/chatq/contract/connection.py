"""A connection: one way to one model, with its key, limits, retries and additions to each request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ValidationInfo,
)

from chatq.contract.addresses import base_url
from chatq.contract.duration import PositiveDuration, format_duration, parse_duration
from chatq.contract.key_reference import Reference
from chatq.contract.section import Broken, Count, Flag, Money, Section, Text, peek
from chatq.contract.sources import LISTED

Source = Literal[
    "openai",
    "claude",
    "mistralai",
    "deepseek",
    "ai21",
    "cohere",
    "perplexity",
    "fireworks",
    "electronhub",
    "custom",
]
"""Whose API a connection speaks."""

PostProcessing = Literal[
    "none", "merge", "merge_tools", "semi", "semi_tools", "strict", "strict_tools", "single"
]
"""How messages are rearranged before they are translated for the source."""

PUBLISHED = "published"
"""Validation context: set while reading what workers publish, which has no url and no key."""

ONLY_CUSTOM = ("auth_header", "include_headers", "include_body", "exclude_body")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
# What the HTTP client writes itself; a second opinion breaks the request or smuggles another.
_CLIENT_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"}


def _headers(headers: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("expected header names of letters, digits and -, got one with other characters")
        if name.lower() in _CLIENT_HEADERS:
            raise ValueError(f"the header {name} is written by the HTTP client; take it out")
        if name.lower() in seen:
            raise ValueError(f"the header {name} is given twice (case does not count)")
        if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in value):
            raise ValueError(
                f"expected a value of one line for the header {name}, got one with control characters"
            )
        if value != value.strip() or not value.isascii():
            raise ValueError(f"expected printable ASCII without space at the ends for the header {name}")
        seen.add(name.lower())
    return headers


def _dotted_path(path: str) -> str:
    if not all(path.split(".")):
        raise ValueError("expected a key or a dotted path such as stream_options.include_usage")
    return path


class Timeout(Section):
    """How long a provider has."""

    connect: PositiveDuration = 10.0
    """Until it accepts the connection."""
    total: PositiveDuration = 600.0
    """For the whole call."""

    @classmethod
    def _broken_relations(cls, given: Mapping[str, Any], info: ValidationInfo) -> Iterator[Broken]:
        connect, total = _seconds(given, "connect", 10.0), _seconds(given, "total", 600.0)
        if connect is not None and total is not None and connect > total:
            where = "connect" if "connect" in given else "total"
            yield Broken(
                (where,),
                f"expected connect to be no longer than total, got connect {format_duration(connect)} "
                f"and total {format_duration(total)}",
            )


class Limits(Section):
    """What the provider allows. None: not stated; it is learned from the provider's answers."""

    requests_per_minute: Count | None = None
    """Calls."""
    tokens_per_minute: Count | None = None
    """Of prompts and answers, as the source counts them."""
    requests_per_day: Count | None = None
    """Counted by UTC days."""
    concurrency: Count | None = None
    """Calls in flight at a time."""
    scope: Text | None = None
    """Connections of one account and model share one allowance anyway; the same scope joins more."""


class Retry(Section):
    """When a job that failed for a passing reason is tried again."""

    max_attempts: Count = 6
    """Counted attempts, the first included."""
    max_elapsed: PositiveDuration = 3600.0
    """Seconds since the first call after which no attempt begins; less than `results.keep`."""
    on_worker_lost: Literal["retry", "fail"] = "retry"
    """`fail`: a call that may have been made is never made again, so nothing is paid for twice."""


class Budget(Section):
    """What may be spent."""

    per_day_usd: Annotated[Money, Field(gt=0)]
    """In a day of UTC; calls beyond it wait for the next."""


class Price(Section):
    """What its calls cost, in US dollars for a million tokens."""

    input_per_million: Money
    """Of prompts."""
    output_per_million: Money
    """Of answers."""


class Connection(Section):
    """One entry of `connections`. Its ID is the key it stands under."""

    source: Source
    """Whose API it speaks."""
    model: Text | None = None
    """The default model; a job may name another. None: every job must name one, unless the server does not care."""
    api: Literal["agent", "sonar"] | None = None
    """Perplexity only. None means agent."""
    url: Annotated[Text, AfterValidator(base_url)] | None = None
    """Base URL, without a slash at the end; `simulator` is the built-in one. None: the source's own."""
    api_key: Reference | None = None
    """Where the key is found, written env:NAME or file:PATH. None: no key is sent."""
    post_processing: PostProcessing = "none"
    """How messages are rearranged before they are translated for the source; a job may name another mode."""
    bypass_status_check: Flag = False
    """True: a status check answers `bypassed` without asking the provider."""
    timeout: Timeout = Field(default_factory=Timeout)
    limits: Limits = Field(default_factory=Limits)
    retry: Retry = Field(default_factory=Retry)
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """Defaults in OpenAI's words; a job's own params win."""
    fallback: tuple[Text, ...] = Field(default_factory=tuple)
    """Connection IDs that serve its jobs, in order, while this one is out of action. Not transitive."""
    budget: Budget | None = None
    price: Price | None = None
    """None: the price library's figure."""
    auth_header: Literal["bearer", "x-api-key"] = "bearer"
    """Custom only: the header that carries the key."""
    include_headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict, repr=False
    )
    """Custom only: added to every request. Values may be secret."""
    include_body: dict[str, JsonValue] = Field(default_factory=dict, repr=False)
    """Custom only: merged over the body."""
    exclude_body: tuple[Annotated[Text, AfterValidator(_dotted_path)], ...] = Field(default_factory=tuple)
    """Custom only: keys taken out of the body at the very end; dotted paths reach inside."""

    @classmethod
    def _broken_relations(cls, given: Mapping[str, Any], info: ValidationInfo) -> Iterator[Broken]:
        source = peek(given, "source")
        if source in get_args(Source):
            yield from _of_source(source, given, published=bool((info.context or {}).get(PUBLISHED)))
        for key in ("model", "messages"):
            if peek(given, "params", key) is not None:
                remedy = (
                    "write it as model of the connection" if key == "model" else "each job brings its own"
                )
                yield Broken(("params", key), f"{key} is not a parameter; {remedy}")
        headers = peek(given, "include_headers")
        if peek(given, "api_key") is not None and isinstance(headers, Mapping):
            taken = "x-api-key" if peek(given, "auth_header") == "x-api-key" else "authorization"
            for name in headers:
                if isinstance(name, str) and name.lower() == taken:
                    yield Broken(
                        ("include_headers", name),
                        "api_key already fills this header; keep api_key or this, not both",
                    )
        fallback = peek(given, "fallback")
        if isinstance(fallback, list | tuple):
            for index, name in enumerate(fallback):
                if name in fallback[:index]:
                    yield Broken(("fallback", index), "named twice in this list")


def _of_source(source: str, given: Mapping[str, Any], *, published: bool) -> Iterator[Broken]:
    if source == "custom":
        if peek(given, "url") is None and not published:
            yield Broken(
                ("url",),
                "missing; a custom connection must have one, such as http://127.0.0.1:5000/v1 or simulator",
            )
    else:
        for key in ONLY_CUSTOM:
            # An empty mapping or list changes nothing and is what a copied example has.
            if peek(given, key) not in (None, {}, [], ()):
                yield Broken(
                    (key,), f"only a connection with source: custom may have it; this one has {source}"
                )
    if peek(given, "budget") is not None and peek(given, "price") is None and source not in LISTED:
        yield Broken(
            ("budget",),
            "nobody knows what calls of this connection cost; give it a price "
            "(input_per_million, output_per_million)",
        )
    if source != "perplexity" and peek(given, "api") is not None:
        yield Broken(("api",), f"only source: perplexity has two APIs to choose from; this one has {source}")


def _seconds(given: Mapping[str, Any], key: str, default: float) -> float | None:
    try:
        return parse_duration(given.get(key, default))
    except ValueError:
        return None  # reported where the field itself is checked
