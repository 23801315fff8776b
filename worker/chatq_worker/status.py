"""Status checks and model lists: is a connection set up right, and which models does it offer?

Asked for through the ledger (`ChatQueue.check`, `models`), done here as Celery tasks, and by each worker for every
connection when it starts. A check asks the cheapest thing that honestly proves key, address and account; each
source's adapter knows which.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from chatq.contract.connection import Connection, Timeout
from chatq.contract.record import rfc3339
from chatq.contract.settings import Settings
from chatq.contract.status import StatusOutcome, StatusState
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq_worker.api_keys import read_key
from chatq_worker.failures import CallFailed
from chatq_worker.provider_client import ProviderClient
from chatq_worker.providers import ADAPTERS, Request
from chatq_worker.redaction import redacted

logger = logging.getLogger(__name__)

CHECK: Final = "check"
MODELS: Final = "models"
TIMEOUT: Final = Timeout(connect=5.0, total=20.0)
FRESH_S: Final = 60.0
"""A worker that starts does not check again what was checked so recently."""
MODELS_FRESH_S: Final = 600.0
MOST_PAGES: Final = 50
MOST_MODELS: Final = 10_000
_AT_ONCE: Final = 5

_STATES: Final[dict[str, StatusState]] = {
    "connect_error": StatusState.UNREACHABLE,
    "timeout": StatusState.TIMEOUT,
    "unauthorized": StatusState.UNAUTHORIZED,
    "key_missing": StatusState.UNAUTHORIZED,
    "forbidden": StatusState.UNAUTHORIZED,
    "quota_exhausted": StatusState.QUOTA_EXHAUSTED,
    "not_found": StatusState.NOT_FOUND,
    "model_not_found": StatusState.NOT_FOUND,
    "wrong_url": StatusState.NOT_FOUND,
    "rate_limited": StatusState.OK,
}
"""What a failed check says of the connection; every other failure is `bad_answer`. A 429 proves key and address."""


class StatusChecker:
    """Checks connections for one worker."""

    def __init__(
        self, *, settings: Settings, ledger: Ledger, server: AsyncServer, provider: ProviderClient
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._server = server
        self._provider = provider
        self._lists: dict[str, tuple[float, str, list[str]]] = {}

    async def answer(self, question_id: str, kind: str, name: str) -> StatusState | None:
        """Answer a question of a caller. Returns the state of a check, None for a model list."""
        if kind == MODELS:
            await self._server.run(self._ledger.answer(question_id, orjson.dumps(await self._models(name))))
            return None
        outcome = await self.check(name)
        await self._tell(outcome, question_id)
        return outcome.state

    async def check_all(self) -> None:
        """Check every connection that was not checked a moment ago; what goes wrong is an outcome, not an error."""
        names = list(self._settings.connections)
        known = await self._server.run(self._ledger.statuses(names))
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> None:
            async with limit:
                await self._tell(await self.check(name))

        await asyncio.gather(
            *(one(name) for name, last in zip(names, known, strict=True) if not _is_fresh(last))
        )

    async def _tell(self, outcome: StatusOutcome, question_id: str = "") -> None:
        answer = outcome.model_dump_json(exclude_none=True).encode()
        await self._server.run(self._ledger.answer(question_id, answer, status_of=outcome.connection))
        logger.info("connection %s: %s %s", outcome.connection, outcome.state, outcome.message)

    async def check(self, name: str) -> StatusOutcome:
        """The outcome of a check of one connection, made now. Raises nothing that a provider can cause."""
        connection = self._settings.connections.get(name)
        if connection is None:
            return _outcome(
                name,
                "custom",
                StatusState.UNKNOWN,
                message="This worker's config.yaml has no such connection.",
                remedy="Give all workers the same config.yaml.",
            )
        if connection.bypass_status_check:
            return _outcome(
                name,
                connection.source,
                StatusState.BYPASSED,
                bypassed=True,
                message="Not asked: bypass_status_check is set. Jobs run.",
            )
        started = time.perf_counter()
        key = None
        try:
            key = read_key(connection)
            models = await self._prove(connection, key)
        except CallFailed as failure:
            return await self._failed(name, connection, key, failure, time.perf_counter() - started)
        latency_s = time.perf_counter() - started
        if models is None:
            return _outcome(
                name,
                connection.source,
                StatusState.NO_MODEL_LIST,
                latency_s=latency_s,
                message="The source offers no list of models, but it answers.",
            )
        self._remember(name, models)
        return _outcome(
            name, connection.source, StatusState.OK, latency_s=latency_s, models=models[:MOST_MODELS]
        )

    async def _prove(self, connection: Connection, key: str | None) -> list[str] | None:
        """Ask until something proves that the connection works. The models that came along, None: no list."""
        adapter = ADAPTERS[connection.source]
        check = adapter.check_request(connection, key)
        reading = adapter.read_check(check, await self._send(check.request), connection)
        models = reading.models
        if not reading.proved:
            model = connection.model or (models[0] if models else "")
            check = adapter.check_request(connection, key, model=model)
            reading = adapter.read_check(check, await self._send(check.request), connection)
        if models is None:
            models = reading.models
        return None if models is None else list(models)

    async def _send(self, request: Request) -> Any:
        return await self._provider.send(request, TIMEOUT)

    async def _failed(
        self, name: str, connection: Connection, key: str | None, failure: CallFailed, latency_s: float
    ) -> StatusOutcome:
        state = _STATES.get(failure.code, StatusState.BAD_ANSWER)
        words = redacted(failure.provider_message, key)
        message = f"{failure.message} {words}" if words else failure.message
        remedy: str | None = failure.remedy
        if failure.code == "rate_limited":
            message, remedy = "The key is good; the provider limits its rate just now.", None
        elif state is StatusState.NOT_FOUND and await self._answers_below_v1(connection, key):
            remedy = f"Write the connection's url with /v1 at its end: {connection.url}/v1 answers."
        return _outcome(name, connection.source, state, latency_s=latency_s, message=message, remedy=remedy)

    async def _answers_below_v1(self, connection: Connection, key: str | None) -> bool:
        """Whether the most common mistake is the cause: a URL without its /v1."""
        if connection.source != "custom" or connection.url is None or connection.url.endswith("/v1"):
            return False
        try:
            await self._prove(connection.model_copy(update={"url": f"{connection.url}/v1"}), key)
        except CallFailed:
            return False
        return True

    async def _models(self, name: str) -> dict[str, Any]:
        """`{"models", "fetched_at"}`; pages are followed. Empty where there is no list, or it cannot be had now."""
        known = self._lists.get(name)
        if known is not None and time.monotonic() - known[0] < MODELS_FRESH_S:
            return {"models": known[2], "fetched_at": known[1]}
        connection = self._settings.connections.get(name)
        models: list[str] = []
        if connection is not None:
            try:
                models = await self._fetch_models(connection)
            except CallFailed as failure:
                logger.info("connection %s: no model list: %s", name, failure.message)
            else:
                self._remember(name, models)
        return {"models": models, "fetched_at": rfc3339(datetime.now(UTC))}

    async def _fetch_models(self, connection: Connection) -> list[str]:
        adapter, key = ADAPTERS[connection.source], read_key(connection)
        models: list[str] = []
        page: str | None = None
        for _ in range(MOST_PAGES):
            request = adapter.models_request(connection, key, page)
            if request is None:
                break
            read = adapter.read_models(await self._send(request), connection, page)
            models += read.ids
            page = read.next_page
            if page is None or len(models) >= MOST_MODELS:
                break
        return models[:MOST_MODELS]

    def _remember(self, name: str, models: Sequence[str]) -> None:
        self._lists[name] = (time.monotonic(), rfc3339(datetime.now(UTC)), list(models)[:MOST_MODELS])


def _outcome(name: str, source: str, state: StatusState, **facts: Any) -> StatusOutcome:
    latency_s = facts.pop("latency_s", None)
    return StatusOutcome(
        connection=name,
        source=source,
        state=state,
        models=facts.pop("models", []),
        latency_s=None if latency_s is None else round(latency_s, 4),
        checked_at=datetime.now(UTC),
        **facts,
    )


def _is_fresh(outcome: bytes | None) -> bool:
    if outcome is None:
        return False
    checked_at = orjson.loads(outcome).get("checked_at")
    if checked_at is None:
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(checked_at)).total_seconds() < FRESH_S
