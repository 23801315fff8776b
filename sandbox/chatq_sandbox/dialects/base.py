"""What every dialect can say: one source's paths, its reading of a request, its answers, refusals and
headers.

A dialect is pure: it knows shapes and words, never keys, limits, time or connections. It is written from the
source's documents, never from the code that calls it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from chatq_sandbox.exchange import (
    Answer,
    ChatRequest,
    HttpRequest,
    LimitReached,
    LimitState,
    LookUp,
    Reply,
)
from chatq_sandbox.limits import BucketShape, Charge

CHAT = "chat"
"""The endpoint that asks a model. Every other endpoint is answered by `Dialect.look_up`."""


class Dialect(ABC):
    """One source's way of speaking."""

    source: ClassVar[str]
    """Name in the configuration and path prefix."""

    routes: ClassVar[Mapping[str, str]]
    """`METHOD path` below the prefix -> endpoint. A path may end in `*`, which stands for the rest."""

    default_models: ClassVar[tuple[str, ...]]
    needs_key: ClassVar[bool] = True
    open_endpoints: ClassVar[frozenset[str]] = frozenset()
    """Endpoints that answer without a key as well."""

    default_bucket: ClassVar[BucketShape] = "second"
    default_charge: ClassVar[Charge] = "used"
    default_penalty_s: ClassVar[float] = 0.0
    counts_failed_calls: ClassVar[bool] = False
    """Whether a request that is refused for its fields or its model counts as a request too."""

    tells_limits_on: ClassVar[frozenset[int]] = frozenset()
    """Statuses of refusals that tell the limits in their headers, 429 for a reached limit apart."""

    keep_alive_s: ClassVar[float] = 0.0
    """How often a waiting client is sent something blank; 0: never."""

    refusals: ClassVar[Mapping[str, Reply]] = {}
    """Refusals for reasons that are not simulated, by the name with which a caller can ask for one."""

    # Requests

    def presented_key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The key that came with the request; None when there was none."""
        value = headers.get(b"authorization", b"")
        scheme, _, key = value.partition(b" ")
        return key.strip().decode("latin-1") if scheme.lower() == b"bearer" and key.strip() else None

    @abstractmethod
    def read(self, request: HttpRequest, body: Any, models: tuple[str, ...]) -> ChatRequest:
        """A chat request in neutral form; `models` are those that exist.

        Raises:
            Refused: when the source would refuse it, with the source's own words.
        """

    def pool(self, model: str) -> str:
        """The name of what shares its limits with this model."""
        return model

    def model_exists(self, model: str, models: tuple[str, ...]) -> bool:
        """Whether a chat request may name this model."""
        return model in models

    # Answers

    @abstractmethod
    def complete(self, request: ChatRequest, answer: Answer) -> Any:
        """The whole answer, JSON-able."""

    @abstractmethod
    def stream(self, request: ChatRequest, answer: Answer) -> list[bytes]:
        """The answer as server-sent events, ready to be sent."""

    @abstractmethod
    def look_up(self, asked: LookUp) -> Reply:
        """The answer of an endpoint other than chat."""

    def answer_headers(
        self, serial: str, latency_s: float, prompt_tokens: int
    ) -> tuple[tuple[str, str], ...]:
        """Headers of every answer, limits apart."""
        return ()

    def limit_headers(self, limits: LimitState) -> tuple[tuple[str, str], ...]:
        """The headers in which this source tells its limits."""
        return ()

    def signed(self, reply: Reply, serial: str, latency_s: float, limits: LimitState | None) -> Reply:
        """A refusal or the answer to a look-up, with what names this exchange and, where this source tells them
        on such a status, its limits."""
        headers = (*self.answer_headers(serial, latency_s, 0), *reply.headers)
        if limits is not None and reply.status in self.tells_limits_on:
            there = {name for name, _ in headers}
            headers += tuple(pair for pair in self.limit_headers(limits) if pair[0] not in there)
        return reply._replace(headers=headers)

    # Refusals

    @abstractmethod
    def unauthorized(self, key: str | None) -> Reply:
        """The key is wrong, revoked or missing (None)."""

    @abstractmethod
    def rate_limited(self, reached: LimitReached, limits: LimitState) -> Reply:
        """A limit was reached; with the headers that this source sends then."""

    @abstractmethod
    def out_of_quota(self, limits: LimitState) -> Reply:
        """No money or no allowance left: waiting does not help."""

    @abstractmethod
    def server_error(self, status: int) -> Reply:
        """A failure of the source, 500 to 599."""

    @abstractmethod
    def overloaded(self) -> Reply:
        """Too busy just now."""

    @abstractmethod
    def bad_request(self, message: str) -> Reply:
        """The request as a whole is wrong (not JSON, an unknown directive)."""

    @abstractmethod
    def not_found(self, method: str, path: str) -> Reply:
        """No such endpoint."""

    def too_large(self) -> Reply:
        """More bytes than the source takes."""
        return self.bad_request("Request body too large.")._replace(status=413)

    def loading(self) -> Reply:
        """The model is not there yet."""
        return self.overloaded()

    @abstractmethod
    def error_in_200(self, request: ChatRequest, answer: Answer) -> Reply:
        """A failure that hides behind status 200."""

    @abstractmethod
    def error_event(self) -> bytes:
        """A failure in the middle of a stream."""
