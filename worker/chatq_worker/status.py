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

from chatq.contract.addresses import SIMULATOR
from chatq.contract.connection import Connection, Timeout
from chatq.contract.live_settings import LiveSettings
from chatq.contract.record import rfc3339
from chatq.contract.redaction import redacted
from chatq.contract.status import StatusOutcome, StatusState
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import AsyncServer
from chatq.logs import fields
from chatq_worker.api_keys import read_key
from chatq_worker.failures import CODES, CallFailed
from chatq_worker.key_holders import KeyHolders
from chatq_worker.model_remedy import nearest_models
from chatq_worker.provider_client import ProviderClient
from chatq_worker.providers import ADAPTERS, Answer, CheckKind, Request
from chatq_worker.providers.custom import other_url
from chatq_worker.providers.source_adapter import MOST_MODELS

logger = logging.getLogger(__name__)

CHECK: Final = "check"
MODELS: Final = "models"
TIMEOUT: Final = Timeout(connect=5.0, total=20.0)
"""The longest that one request of a check may take; a connection's own shorter time-outs hold."""
FRESH_S: Final = 60.0
"""A worker that starts does not check again what was found good so recently."""
MODELS_FRESH_S: Final = 600.0
MOST_PAGES: Final = 50
LISTING_S: Final = 20.0
"""No further page of a model list is asked for when the first was asked for so long ago."""
_AT_ONCE: Final = 5

_BY_ANY_CHECK: Final = frozenset({"unauthorized", "key_missing"})
"""Causes of a pause that are gone when any check succeeds: it used the key."""
_BY_A_CHECK_OF_MONEY: Final = frozenset({"quota_exhausted"})
_GOOD: Final = frozenset({StatusState.OK, StatusState.NO_MODEL_LIST})
_GOOD_WHEN_MENDED: Final = _GOOD | {StatusState.BYPASSED}

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
    "redirected": StatusState.NOT_FOUND,
    "api_retired": StatusState.NOT_FOUND,
    "rate_limited": StatusState.OK,
}
"""What a failed check says of the connection; every other failure is `bad_answer`. A 429 proves key and address."""

_WRONG_ADDRESS: Final = frozenset({StatusState.NOT_FOUND, StatusState.BAD_ANSWER})
_AN_API_ANSWERS: Final = frozenset({"unauthorized", "forbidden", "quota_exhausted", "rate_limited"})
"""Failures at another address that show that it is the right one."""


def proves(cause: str, outcome: StatusOutcome, kind: CheckKind) -> bool:
    """Whether the outcome of a check of this kind shows that what a connection was paused for is gone.

    An operator's pause is nobody's business here. What no check can prove (a quota, where only a real call shows it; a
    retired API) waits for an operator, or for other settings.
    """
    if outcome.state not in _GOOD:
        return False
    return cause in _BY_ANY_CHECK or (cause in _BY_A_CHECK_OF_MONEY and kind is not CheckKind.MODELS)


class StatusChecker:
    """Checks connections for one worker."""

    def __init__(
        self,
        *,
        settings: LiveSettings,
        ledger: Ledger,
        server: AsyncServer,
        provider: ProviderClient,
        holders: KeyHolders,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._server = server
        self._provider = provider
        self._holders = holders
        self._lists: dict[str, tuple[float, str, list[str], Connection]] = {}

    async def answer(self, question_id: str, kind: str, name: str) -> StatusState | None:
        """Answer a question of a caller. Returns the state of a check, None for a model list."""
        if kind == MODELS:
            await self._server.run(self._ledger.answer(question_id, orjson.dumps(await self._models(name))))
            return None
        return (await self.check_and_tell(name, question_id)).state

    async def check_and_tell(
        self, name: str, question_id: str = "", *, mended: bool = False
    ) -> StatusOutcome:
        """Check a connection and tell everybody the outcome, and the asker of a question.

        A pause whose cause it proves to be gone ends; `mended`: the connection's settings, or its key, are others than
        when it was paused.

        Where this worker lacks the key and others have it, the outcome is of this worker, and only its asker is told.
        """
        outcome = await self.check(name)
        of_connection = not await self._holders.are_others(name)
        if of_connection:
            await self._resume(outcome, mended=mended)
        await self._tell(outcome, question_id, of_connection=of_connection)
        return outcome

    async def _resume(self, outcome: StatusOutcome, *, mended: bool) -> None:
        name = outcome.connection
        connection = self._settings.current.connections.get(name)
        reason = (await self._server.run(self._ledger.paused())).get(name)
        if reason is None or connection is None:
            return
        kind = ADAPTERS[connection.source].check_request(connection, None).kind
        # Whatever the cause was, it was one of the settings before; jobs set in one by one, and may pause it again.
        gone = outcome.state in _GOOD_WHEN_MENDED if mended else proves(reason["code"], outcome, kind)
        if gone and await self._server.run(self._ledger.resume(name, proof=True)):
            told = fields(connection=name)
            logger.info("connection resumed: a check proved that the cause is gone", extra=told)

    async def check_all(self) -> None:
        """Check every connection that was not found good a moment ago; what goes wrong is an outcome, not an error."""
        connections = self._settings.current.connections
        known = await self._server.run(self._ledger.statuses(list(connections)))
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> None:
            async with limit:
                await self.check_and_tell(name)

        await asyncio.gather(
            *(
                one(name)
                for (name, connection), last in zip(connections.items(), known, strict=True)
                if not _is_good(last, connection)
            )
        )

    async def _tell(self, outcome: StatusOutcome, question_id: str, *, of_connection: bool) -> None:
        answer = outcome.model_dump_json().encode()
        status_of = outcome.connection if of_connection else ""
        await self._server.run(self._ledger.answer(question_id, answer, status_of=status_of))
        told = fields(connection=outcome.connection, state=outcome.state.value)
        # Not its message: that has the provider's words, which may quote what it was sent.
        words = f"{outcome.state}. {outcome.remedy}" if outcome.remedy else outcome.state
        if of_connection:
            logger.info("connection checked: %s", words, extra=told)
        else:
            logger.warning("no key here, others have it and its jobs: %s", outcome.remedy, extra=told)

    async def check(self, name: str) -> StatusOutcome:
        """The outcome of a check of one connection, made now. Raises nothing that a provider can cause."""
        connection = self._settings.current.connections.get(name)
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
        except Exception as error:
            # Only the kind is told: its text could hold anything that the provider sent.
            told = fields(connection=name)
            logger.error("fault in chatq's check: %s", type(error).__name__, extra=told)
            return _outcome(
                name,
                connection.source,
                StatusState.UNKNOWN,
                message=f"A fault in chatq: {type(error).__name__}.",
                remedy=CODES["internal"].remedy,
            )
        latency_s = time.perf_counter() - started
        if models is None:
            return _outcome(
                name,
                connection.source,
                StatusState.NO_MODEL_LIST,
                latency_s=latency_s,
                message="The source offers no list of models, but it answers.",
            )
        self._remember(name, models, connection)
        return _outcome(
            name,
            connection.source,
            StatusState.OK,
            latency_s=latency_s,
            models=models,
            **_listed(connection, models),
        )

    async def _prove(self, connection: Connection, key: str | None) -> list[str] | None:
        """Ask until something proves that the connection works; raises `CallFailed`.

        The models of the connection, None: it offers no list. A list that does not come proves nothing against it.
        """
        if connection.url == SIMULATOR:
            raise CallFailed(
                "connect_error",
                "The built-in simulator does not run.",
                remedy="Start it together with a worker: chatq up.",
                sent=False,
            )
        adapter, deadline = ADAPTERS[connection.source], time.monotonic() + LISTING_S
        check = adapter.check_request(connection, key)
        answer = await self._send(check.request, connection)
        reading = adapter.read_check(check, answer, connection)
        models = None if reading.models is None else list(reading.models)
        if not reading.proved:
            model = connection.model or (models[0] if models else "")
            chat = adapter.check_request(connection, key, model=model)
            adapter.read_check(chat, await self._send(chat.request, connection), connection)
        try:
            if check.kind is not CheckKind.MODELS:
                return await self._fetch_models(connection, key, deadline) or None
            if models is not None:
                page = adapter.read_models(answer, connection).next_page
                models += await self._fetch_pages(connection, key, page, deadline, most=MOST_PAGES - 1)
        except CallFailed as failure:
            logger.info("source %s: no whole model list: %s", connection.source, failure.message)
        return None if models is None else _bounded(models)

    async def _send(self, request: Request, connection: Connection) -> Answer:
        own = connection.timeout
        timeout = Timeout(connect=min(own.connect, TIMEOUT.connect), total=min(own.total, TIMEOUT.total))
        return await self._provider.send(request, timeout)

    async def _failed(
        self, name: str, connection: Connection, key: str | None, failure: CallFailed, latency_s: float
    ) -> StatusOutcome:
        state = _STATES.get(failure.code, StatusState.BAD_ANSWER)
        words = redacted(failure.provider_message, key, connection.include_headers)
        message = f"{failure.message} {words}" if words else failure.message
        remedy: str | None = failure.remedy_at(connection)
        if failure.code == "rate_limited":
            message, remedy = "The key is good; the provider limits its rate just now.", None
        elif failure.code == "invalid_request" and not failure.sent:
            state = StatusState.UNKNOWN  # nothing was asked: there is no model to ask
        elif state in _WRONG_ADDRESS and (url := await self._answers_elsewhere(connection, key)):
            remedy = f"Write the connection's url as {url} - an API answers there."
        return _outcome(name, connection.source, state, latency_s=latency_s, message=message, remedy=remedy)

    async def _answers_elsewhere(self, connection: Connection, key: str | None) -> str | None:
        """The URL with /v1 at its end, or without, if that was the mistake: the most common one with a URL."""
        if connection.url is None:
            return None
        url = other_url(connection.url)
        try:
            await self._prove(connection.model_copy(update={"url": url}), key)
        except CallFailed as failure:
            return url if failure.code in _AN_API_ANSWERS else None
        return url

    async def _models(self, name: str) -> dict[str, Any]:
        """`{"models", "fetched_at"}`; pages are followed. Empty where there is no list, or it cannot be had now."""
        connection = self._settings.current.connections.get(name)
        known = self._lists.get(name)
        if known is not None and known[3] == connection and time.monotonic() - known[0] < MODELS_FRESH_S:
            return {"models": known[2], "fetched_at": known[1]}
        models: list[str] = []
        if connection is not None and connection.url != SIMULATOR:
            try:
                models = await self._fetch_models(
                    connection, read_key(connection), time.monotonic() + LISTING_S
                )
            except CallFailed as failure:
                told = fields(connection=name, error=failure.code)
                logger.info("no model list: %s", failure.message, extra=told)
            else:
                self._remember(name, models, connection)
        return {"models": models, "fetched_at": rfc3339(datetime.now(UTC))}

    async def _fetch_models(self, connection: Connection, key: str | None, deadline: float) -> list[str]:
        return _bounded(await self._fetch_pages(connection, key, None, deadline, first=True))

    async def _fetch_pages(
        self,
        connection: Connection,
        key: str | None,
        page: str | None,
        deadline: float,
        *,
        first: bool = False,
        most: int = MOST_PAGES,
    ) -> list[str]:
        """The models on `page` and those after it, until there are enough; with `first` from the first page on."""
        adapter = ADAPTERS[connection.source]
        models: list[str] = []
        for _ in range(most):
            if (page is None and not first) or len(models) >= MOST_MODELS or time.monotonic() > deadline:
                break
            first = False
            request = adapter.models_request(connection, key, page)
            if request is None:
                break
            read = adapter.read_models(await self._send(request, connection), connection, page)
            models += read.ids
            page = read.next_page
        return models

    def _remember(self, name: str, models: Sequence[str], connection: Connection) -> None:
        self._lists[name] = (time.monotonic(), rfc3339(datetime.now(UTC)), list(models), connection)


def _bounded(models: list[str]) -> list[str]:
    """The models, each once, and not more than are kept."""
    return list(dict.fromkeys(models))[:MOST_MODELS]


def _listed(connection: Connection, models: Sequence[str]) -> dict[str, str]:
    """What there is to say about the connection's model: whether the list knows it, and which are like it."""
    model = connection.model
    if model is None or not models or len(models) >= MOST_MODELS or _knows(models, model):
        return {}
    return {
        "message": f"The connection works, but its list of models has no {model}, the connection's model.",
        "remedy": "Check the connection's model unless the provider knows it all the same."
        + nearest_models(model, models),
    }


def _knows(models: Sequence[str], model: str) -> bool:
    """Whether a list has a model: under its name, with a path before it, or (an alias) with a date behind it."""
    return any(
        listed == model or listed.endswith(f"/{model}") or listed.startswith(f"{model}-") for listed in models
    )


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


def _is_good(outcome: bytes | None, connection: Connection) -> bool:
    """Whether an outcome of a moment ago found the connection good; one that failed may have been mended since."""
    if outcome is None or connection.bypass_status_check:
        return False
    last = orjson.loads(outcome)
    if last["source"] != connection.source or last["state"] not in _GOOD:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(last["checked_at"])
    return age.total_seconds() < FRESH_S
