"""What a worker does when the ledger says that it comes to none of its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chatq_worker.hearing import Hearing


class Deeds:
    """What was done, in order, with a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.now_s = 100.0
        publisher: Any = self
        self.hearing = Hearing(
            worker="w1",
            publisher=publisher,
            reconnect=lambda: self.done.append("connect"),
            clock_s=lambda: self.now_s,
        )

    def publish_task(self, name: str, arguments: Sequence[str], *, worker: str) -> None:
        assert (name, len(arguments)) == ("chatq.hear", 1)
        self.done.append(f"message to {worker}")

    def renewals(self, seconds: float, *, stalled: bool = True) -> list[str]:
        """What is done at the renewals of so many seconds, one a second."""
        self.done.clear()
        for _ in range(int(seconds)):
            self.hearing.note(stalled=stalled)
            self.now_s += 1
        return list(self.done)


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


def test_a_worker_that_hears_does_nothing(deeds: Deeds) -> None:
    assert deeds.renewals(10, stalled=False) == []


def test_a_stalled_worker_sends_itself_a_message_and_waits_for_it(deeds: Deeds) -> None:
    assert deeds.renewals(2) == ["message to w1"]


def test_when_only_a_message_was_lost_the_next_one_comes_and_no_connection_is_made(deeds: Deeds) -> None:
    deeds.renewals(1)
    assert deeds.renewals(10, stalled=False) == []


def test_when_its_message_does_not_come_it_connects_anew_and_sends_the_next(deeds: Deeds) -> None:
    deeds.renewals(2)
    assert deeds.renewals(1) == ["connect", "message to w1"]


def test_it_connects_anew_every_six_seconds_while_that_does_not_help(deeds: Deeds) -> None:
    deeds.renewals(2)
    assert deeds.renewals(19) == ["connect", "message to w1"] * 4


def test_the_next_stall_begins_with_a_message_again(deeds: Deeds) -> None:
    deeds.renewals(9)
    deeds.renewals(1, stalled=False)
    assert deeds.renewals(2) == ["message to w1"]
