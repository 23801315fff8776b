"""Counting every call by job, so that a test can say how often each job was asked and paid for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Tally:
    """The calls of one job, or of all.

    - `received`: chat requests that came in. Each ends as exactly one of the following four.
    - `answered`: the right answer was sent whole.
    - `refused`: how many by kind (bad_key, bad_request, unknown_model, rate_limited, quota_exhausted, ...).
    - `misbehaved`: how many by the misbehaviour's name.
    - `aborted`: the client went away first (a call that misbehaves counts here too when the client ends it).
    - `charged`: calls for which the model's answer was ready, whether or not all of it arrived: what a
      provider bills.
    - `admitted`: calls that got past key, checks, quota and limits.
    """

    __slots__ = (
        "aborted",
        "admitted",
        "answered",
        "charged",
        "completion_tokens",
        "in_flight",
        "max_in_flight",
        "misbehaved",
        "prompt_tokens",
        "received",
        "refused",
    )

    def __init__(self) -> None:
        self.received = self.admitted = self.answered = self.aborted = self.charged = 0
        self.in_flight = self.max_in_flight = self.prompt_tokens = self.completion_tokens = 0
        # Most jobs never need them.
        self.refused: dict[str, int] | None = None
        self.misbehaved: dict[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """All counts by name."""
        return {
            "received": self.received,
            "admitted": self.admitted,
            "answered": self.answered,
            "charged": self.charged,
            "aborted": self.aborted,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "refused": self.refused or {},
            "misbehaved": self.misbehaved or {},
        }


class Counts:
    """The tally of every job, and of all together. `on_change` is called after every change."""

    def __init__(self) -> None:
        self.jobs: dict[str, Tally] = {}
        self.total = Tally()
        self.look_ups = 0
        self.bugs = 0
        self.on_change: Callable[[], None] | None = None

    def job(self, name: str) -> Tally:
        """The tally of a job, made when it is new."""
        tally = self.jobs.get(name)
        if tally is None:
            tally = self.jobs[name] = Tally()
        return tally

    def received(self, job: Tally) -> None:
        """A chat request has come in."""
        for tally in (job, self.total):
            tally.received += 1
        self._changed()

    def refused(self, job: Tally, kind: str) -> None:
        """It was refused."""
        for tally in (job, self.total):
            tally.refused = tally.refused or {}
            tally.refused[kind] = tally.refused.get(kind, 0) + 1
        self._changed()

    def admitted(self, job: Tally) -> None:
        """It is being worked on from now on."""
        for tally in (job, self.total):
            tally.admitted += 1
            tally.in_flight += 1
            if tally.in_flight > tally.max_in_flight:
                tally.max_in_flight = tally.in_flight
        self._changed()

    def charged(self, job: Tally, prompt_tokens: int, completion_tokens: int) -> None:
        """The model's answer is ready."""
        for tally in (job, self.total):
            tally.charged += 1
            tally.prompt_tokens += prompt_tokens
            tally.completion_tokens += completion_tokens

    def ended(self, job: Tally, misbehaviour: str | None) -> None:
        """The call has ended as meant."""
        for tally in (job, self.total):
            tally.in_flight -= 1
            if misbehaviour is None:
                tally.answered += 1
            else:
                tally.misbehaved = tally.misbehaved or {}
                tally.misbehaved[misbehaviour] = tally.misbehaved.get(misbehaviour, 0) + 1
        self._changed()

    def aborted(self, job: Tally) -> None:
        """The client has gone before the end."""
        for tally in (job, self.total):
            tally.in_flight -= 1
            tally.aborted += 1
        self._changed()

    def as_json(self, *, jobs: bool = True) -> dict[str, Any]:
        """`{"total", "look_ups", "bugs", "jobs"?}`; `look_ups` counts model lists and other requests
        that ask no model, `bugs` failures of the simulator itself."""
        result: dict[str, Any] = {
            "total": self.total.as_json(),
            "look_ups": self.look_ups,
            "bugs": self.bugs,
        }
        if jobs:
            result["jobs"] = {name: tally.as_json() for name, tally in self.jobs.items()}
        return result

    def _changed(self) -> None:
        if self.on_change:
            self.on_change()
