"""Connections: what workers are asked about them, and what an operator does to them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

import orjson

from chatq.contract.check import unknown_connection
from chatq.contract.connection_limits import ConnectionLimits, read_limits
from chatq.contract.errors import ConnectionPaused, NoWorker, WaitTimeout
from chatq.contract.job import Job
from chatq.contract.record import JobRecord
from chatq.contract.states import State
from chatq.contract.status import ModelList, StatusOutcome, StatusState
from chatq.contract.why import START_A_WORKER
from chatq.core.jobs import POLL_S, Jobs, new_job_id
from chatq.steps import Hear, Steps

ASK_AGAIN_S: Final = 10.0
TEST_PROMPT: Final = "Answer with the single word: ready"
TEST_TOKENS: Final = 64
"""Enough for a short answer of a model that reasons a little first."""


class Connections(Jobs):
    """What is asked about connections."""

    def _ask(self, kind: str, connection: str, timeout: float) -> Steps[bytes]:
        """The answer of a worker. Raises `UnknownConnection`, `NoWorker`, `WaitTimeout` after `timeout` seconds."""
        yield from self._known(connection)
        question_id = new_job_id()
        question = orjson.dumps({"id": question_id, "kind": kind, "connection": connection})
        channel = self.ledger.keys.answered(question_id)
        deadline = time.monotonic() + timeout
        ask_again_at = 0.0
        yield Hear(channel, 0)
        while True:
            if time.monotonic() >= ask_again_at:
                # Whoever took the question may have died with it; asking twice costs one more check.
                if not (yield self.ledger.ask(question)):
                    raise NoWorker(
                        f"No worker is alive that could be asked about connection {connection}.",
                        remedy=START_A_WORKER,
                    )
                ask_again_at = time.monotonic() + ASK_AGAIN_S
            answer = yield self.ledger.answered(question_id)
            if answer is not None:
                return answer  # type: ignore[no-any-return]
            left = min(POLL_S, deadline - time.monotonic())
            if left <= 0:
                raise WaitTimeout(
                    f"No worker answered about connection {connection} within {timeout:g} s.",
                    remedy="Ask again with a longer timeout; see the workers' log if it stays silent.",
                )
            yield Hear(channel, left)

    def check(self, connection: str, timeout: float) -> Steps[StatusOutcome]:
        """Have a worker check a connection; the outcome. Raises as `_ask`."""
        return StatusOutcome.model_validate_json((yield from self._ask("check", connection, timeout)))

    def status(self, connection: str) -> Steps[StatusOutcome]:
        """The last outcome, not asked anew; state `unknown` when it was never checked. Raises `UnknownConnection`."""
        settings = yield from self.settings()
        if connection not in settings.connections:
            raise unknown_connection(connection, settings)
        (outcome,) = yield self.ledger.statuses([connection])
        if outcome is not None:
            return StatusOutcome.model_validate_json(outcome)
        return StatusOutcome(
            connection=connection,
            source=settings.connections[connection].source,
            state=StatusState.UNKNOWN,
            models=[],
            message="The connection was never checked.",
            remedy=f"Check it: chatq connections check {connection}",
        )

    def key_facts(self) -> Steps[dict[str, str]]:
        """For each connection what the leading worker says of its key: `none`, `set`, `missing`, or its end `...1234`.

        Empty when no worker ever led.
        """
        data = yield self.ledger.published()
        return {} if data is None else dict(orjson.loads(data).get("keys", {}))

    def model_list(self, connection: str, timeout: float) -> Steps[ModelList]:
        """The models that a connection offers; the worker asks the source when it knows no recent list. Raises as
        `_ask`."""
        answer = orjson.loads((yield from self._ask("models", connection, timeout)))
        return ModelList(tuple(answer["models"]), datetime.fromisoformat(answer["fetched_at"]))

    def test_message(
        self, connection: str, timeout: float, *, model: str | None = None, tenant: str | None = None
    ) -> Steps[JobRecord]:
        """Send one short message down the path of every job; the final record. `model`: default: the connection's.
        `tenant`: whose job it is.

        Raises as `enqueue` and `wait`; and `ConnectionPaused`, when the message was cancelled because it would wait for
        a paused connection.
        """
        job = Job(
            connection=connection,
            model=model,
            tenant=tenant,
            prompt=TEST_PROMPT,
            params={"max_tokens": TEST_TOKENS},
            priority=9,
            metadata={"made_by": "test message"},
        )
        record = yield from self.enqueue(job)
        try:
            return (yield from self.wait(record.id, timeout, through_pauses=False))
        except ConnectionPaused as paused:
            record = yield from self.cancel(record.id)
            if record.state is State.CANCELLED:
                raise ConnectionPaused(
                    f"{paused.message} The test message was cancelled.",
                    remedy=paused.remedy,
                    connection=connection,
                ) from None
        return (yield from self.wait(record.id, timeout))

    def _known(self, connection: str) -> Steps[None]:
        """Raises `UnknownConnection` unless the settings, ours or the latest published, have the connection."""
        settings = yield from self.settings()
        if connection not in settings.connections:
            settings = yield from self.settings(fresh=True)
        if connection not in settings.connections:
            raise unknown_connection(connection, settings)

    def pause(self, connection: str, message: str) -> Steps[None]:
        """Pause a connection until it is resumed. Raises `UnknownConnection`."""
        yield from self._known(connection)
        yield self.ledger.pause(connection, message=message)

    def resume(self, connection: str) -> Steps[bool]:
        """Resume a connection; False when it was not paused. Raises `UnknownConnection`."""
        yield from self._known(connection)
        return bool((yield self.ledger.resume(connection)))

    def limits(self, connection: str) -> Steps[ConnectionLimits]:
        """What limits a connection's calls, and how much of it is used now. Raises `UnknownConnection`."""
        yield from self._known(connection)
        pause, spending, lanes = yield self.ledger.limits(connection)
        return read_limits(connection, pause, spending, lanes)
