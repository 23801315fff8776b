"""The progress of a batch on one line of a terminal: how much is done, how fast, how long it will take, what limits it.

In a pipe only bad lines are told, and what somebody has to do before it goes on; whoever wants numbers there asks
`chatq batch status --json`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chatq.batch_input import BadLine
from chatq.cli.bad_lines import BadLines
from chatq.cli.status import standstill
from chatq.client.blocking import ChatQueue
from chatq.contract.budget_words import used_up
from chatq.contract.connection_limits import ConnectionLimits
from chatq.contract.dollars import cost, dollars
from chatq.contract.duration import format_duration
from chatq.contract.errors import ServerError
from chatq.contract.record import Batch, JobRecord, rfc3339
from chatq.contract.why import KINDS, reads

_SHOWN_EACH_S: Final = 0.2
_ASKED_EACH_S: Final = 1.0


class BatchProgress:
    """Watches a `BatchRun`."""

    def __init__(self, path: Path, queue: ChatQueue) -> None:
        self._bad = BadLines(path)
        self._queue = queue
        self._on_terminal = sys.stderr.isatty()
        self._batch: Batch | None = None
        self._since = self._asked_at = time.monotonic()
        self._shown_at = 0.0
        self._before = self._done = 0
        self._held = ""
        self._waits_for = ""
        self._connections: set[str] = set()
        self._is_shown = False

    def bad_line(self, line: BadLine) -> None:
        self._bad.add(line)

    def enqueued(self, jobs: int, connection: str) -> None:
        if jobs == 1:
            self._bad.tell()
        self._connections.add(connection)
        self._show(f"{jobs:,} enqueued")

    def follows(self, batch: Batch, *, resumed: bool) -> None:
        self._batch = batch
        self._before = batch.counts.final
        self._since = time.monotonic()
        if resumed and self._on_terminal:
            self.end()
            print(f"Going on with batch {batch.id}", file=sys.stderr)

    def wrote(self, records: list[JobRecord]) -> None:
        self._connections.update(record.connection for record in records)

    def waited(self) -> None:
        now = time.monotonic()
        if self._batch is None:
            return
        if now - self._asked_at >= _ASKED_EACH_S:
            self._asked_at = now
            try:
                self._batch = self._queue.batch(self._batch.id)
                stands = self._batch.counts.final == self._done
                hindrances = standstill(self._queue) if stands else []
                self._tell_what_it_waits_for(self._batch, hindrances)
                if self._on_terminal:
                    self._held = self._what_holds(hindrances) if stands else ""
            except ServerError as error:
                self._held = error.message
            self._done = self._batch.counts.final
        self._show(self._line(self._batch, now - self._since))

    def _tell_what_it_waits_for(self, batch: Batch, hindrances: Sequence[str]) -> None:
        """Say once, each time it happens, that somebody has to do something before the batch goes on."""
        waits_for = told = ""
        if (spent := used_up(batch)) is not None:
            waits_for, told = spent[0], f"Batch {batch.id} is paused: {spent[0]}.\n{spent[1]}"
        elif batch.paused_at is not None:
            waits_for, told = "resume", f"Batch {batch.id} is paused.\nGo on: chatq batch resume {batch.id}"
        elif hindrances:  # their words tell for how long
            waits_for, told = "hindrances", "\n".join(hindrances)
        if told and waits_for != self._waits_for:
            self.end()
            print(told, file=sys.stderr, flush=True)
        self._waits_for = waits_for

    @property
    def is_paused(self) -> bool:
        """Whether the batch was paused when it was looked at last."""
        return self._batch is not None and self._batch.paused_at is not None

    def end(self) -> None:
        """Leave the line to others."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._is_shown = False
        self._bad.tell()

    def _line(self, batch: Batch, seconds: float) -> str:
        counts = batch.counts
        done = batch.counts.final
        rate = (done - self._before) / seconds if seconds > 1 else 0.0
        parts = [f"{done:,}/{counts.total:,} done ({done * 100 // max(1, counts.total)} %)"]
        if self._held:  # before what a narrow terminal cuts off
            parts.append(self._held)
        if counts.failed:
            parts.append(f"{counts.failed:,} failed")
        parts.append(f"{counts.running:,} running")
        if rate > 0:
            parts.append(f"{rate:,.1f}/s")
        if batch.usage.total_tokens:
            parts.append(f"{batch.usage.total_tokens:,} tokens")
        if batch.cost_usd is not None:
            in_all = batch.cost_usd / max(1, counts.succeeded) * counts.total
            parts.append(f"{cost(batch.cost_usd, batch.uncosted)} of about {dollars(in_all)}")
        if rate > 0 and done < counts.total:
            parts.append(f"{format_duration(round((counts.total - done) / rate))} left")
        return " · ".join(parts)

    def _what_holds(self, hindrances: Sequence[str]) -> str:
        """Why nothing ends, where that can be seen."""
        if self._batch is not None and self._batch.paused_at is not None:
            if used_up(self._batch) is not None:
                return "paused: its budget is used up"
            return f"paused: chatq batch resume {self._batch.id}"
        if hindrances:
            return hindrances[0].partition("\n")[0]
        for name in sorted(self._connections):
            limits = self._queue.limits(name)
            if limits.spending.goes_on_at is not None:
                return f"{name}: its budget of the day is used up until {rfc3339(limits.spending.goes_on_at)}"
            if held := _held_by(limits):
                return f"{name}: {held}"
        return ""

    def _show(self, text: str) -> None:
        now = time.monotonic()
        if self._on_terminal and now - self._shown_at >= _SHOWN_EACH_S:
            self._shown_at, self._is_shown = now, True
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]}\x1b[K", end="", file=sys.stderr, flush=True)


def _held_by(limits: ConnectionLimits) -> str:
    if limits.paused is not None:
        return f"paused: {limits.paused.message}"
    for lane in limits.lanes:
        if lane.cooling_until is not None:
            return f"the provider asked to wait until {rfc3339(lane.cooling_until)}"
        if lane.breaker != "closed":
            return "the provider failed too often in a row; it is probed"
        for allowance in lane.allowances:
            if (
                allowance.holds
                and allowance.used
                and allowance.next_at
                and allowance.free_at != allowance.next_at
            ):
                return f"{reads(allowance.holds)} {KINDS[allowance.kind]}"
    return ""
