"""Each error of ours has a stable code and says what to do."""

from __future__ import annotations

import chatq
from chatq.contract.errors import ChatQueueError


def all_errors(root: type[ChatQueueError] = ChatQueueError) -> set[type[ChatQueueError]]:
    return {root}.union(*(all_errors(kind) for kind in root.__subclasses__()))


def test_every_code_belongs_to_one_error() -> None:
    errors = [error for error in all_errors() if error.__module__.startswith("chatq.contract")]
    codes = [error.code for error in errors]
    assert len(codes) == len(set(codes))


def test_a_wait_that_is_over_is_also_a_timeout_error() -> None:
    assert issubclass(chatq.WaitTimeout, TimeoutError)


def test_an_error_shows_its_message_and_its_remedy() -> None:
    assert (
        str(chatq.UnknownJob("There is no job x.", remedy="Check the id."))
        == "There is no job x.\nCheck the id."
    )
