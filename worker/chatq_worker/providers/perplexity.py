"""perplexity: the Agent API, or the older Sonar shape for gateways that still speak it (`api: sonar`)."""

from __future__ import annotations

from typing import ClassVar

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import (
    Adapter,
    Answer,
    Chat,
    Check,
    CheckReading,
    Completion,
    ModelPage,
    Prepared,
    Request,
)
from chatq_worker.providers.perplexity_agent import PerplexityAgent
from chatq_worker.providers.perplexity_sonar import PerplexitySonar


class PerplexityAdapter:
    """One source with two dialects: the connection's `api` says which."""

    source: ClassVar[str] = "perplexity"

    def __init__(self) -> None:
        self._agent, self._sonar = PerplexityAgent(), PerplexitySonar()

    def request(self, chat: Chat, connection: Connection, key: str | None) -> Prepared:
        return self._of(connection).request(chat, connection, key)

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        return self._of(connection).read(answer, chat, connection)

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        return self._of(connection).models_request(connection, key, page)

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        return self._of(connection).read_models(answer, connection, page)

    def check_request(self, connection: Connection, key: str | None, *, model: str | None = None) -> Check:
        return self._of(connection).check_request(connection, key, model=model)

    def read_check(self, check: Check, answer: Answer, connection: Connection) -> CheckReading:
        return self._of(connection).read_check(check, answer, connection)

    def _of(self, connection: Connection) -> Adapter:
        return self._sonar if connection.api == "sonar" else self._agent
