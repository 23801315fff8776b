from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from chatq_worker.mailbox import Mailbox


class Reader:
    """A mailbox with a count of its wake-ups and a list of what was called."""

    def __init__(self) -> None:
        self.wakes = 0
        self.called: list[int] = []
        self.mailbox = Mailbox(self.wake)

    def wake(self) -> None:
        self.wakes += 1

    def call(self, number: int) -> Callable[[], None]:
        return lambda: self.called.append(number)


def test_calls_are_made_in_the_order_of_the_requests() -> None:
    reader = Reader()
    for number in range(5):
        reader.mailbox.put(reader.call(number))
    reader.mailbox.serve(10)
    assert reader.called == [0, 1, 2, 3, 4]


def test_many_calls_wake_the_reader_once() -> None:
    reader = Reader()
    for number in range(5):
        reader.mailbox.put(reader.call(number))
    assert reader.wakes == 1


def test_the_first_call_after_the_reader_has_looked_wakes_it_again() -> None:
    reader = Reader()
    reader.mailbox.put(reader.call(1))
    reader.mailbox.serve(10)
    reader.mailbox.put(reader.call(2))
    reader.mailbox.put(reader.call(3))
    assert reader.wakes == 2


def test_calls_beyond_the_allowance_stay_and_wake_the_reader_again() -> None:
    reader = Reader()
    for number in range(3):
        reader.mailbox.put(reader.call(number))
    reader.mailbox.serve(2)
    assert (reader.called, reader.wakes) == ([0, 1], 2)
    reader.mailbox.serve(2)
    assert (reader.called, reader.wakes) == ([0, 1, 2], 2)


def test_what_a_call_raises_reaches_the_reader_and_the_calls_behind_it_stay() -> None:
    reader = Reader()
    reader.mailbox.put(lambda: [][0])
    reader.mailbox.put(reader.call(2))
    with pytest.raises(IndexError):
        reader.mailbox.serve(10)
    assert (reader.called, reader.wakes) == ([], 2)
    reader.mailbox.serve(10)
    assert reader.called == [2]


def test_a_call_that_serves_the_mailbox_itself_loses_nothing() -> None:
    """As a signal handler does that interrupts the reader."""
    reader = Reader()
    reader.mailbox.put(lambda: reader.mailbox.serve(10))
    reader.mailbox.put(reader.call(2))
    reader.mailbox.serve(10)
    assert reader.called == [2]


def test_a_call_that_is_put_while_another_wakes_the_reader_wakes_it_itself() -> None:
    """As a signal handler does that interrupts a put, and waits for the reader before the put can go on."""
    steps: list[str] = []

    def wake() -> None:
        steps.append("wake begins")
        if len(steps) == 1:
            mailbox.put(lambda: None)
        steps.append("wake ends")

    mailbox = Mailbox(wake)
    mailbox.put(lambda: None)
    assert steps == ["wake begins", "wake begins", "wake ends", "wake ends"]


def test_no_call_of_a_crowd_of_threads_is_lost_or_left_without_a_wake_up() -> None:
    woken = threading.Event()
    received: list[tuple[int, int]] = []
    mailbox = Mailbox(woken.set)

    def put(thread: int) -> None:
        for number in range(2000):
            mailbox.put(partial(received.append, (thread, number)))

    threads = [threading.Thread(target=put, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while len(received) < 8000:
        assert woken.wait(10), f"not woken after {len(received)} calls"
        woken.clear()
        mailbox.serve(100)
    for thread in threads:
        thread.join()
    assert sorted(received) == [(thread, number) for thread in range(4) for number in range(2000)]
