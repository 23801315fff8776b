"""The table of states is the interface's."""

from __future__ import annotations

from chatq.contract.states import CHANGES, FINAL, State


def test_the_last_four_states_are_final_and_never_change() -> None:
    assert {"succeeded", "failed", "cancelled", "expired"} == FINAL
    assert all(not CHANGES[state] for state in FINAL)


def test_the_allowed_changes_are_those_of_the_interface() -> None:
    assert CHANGES[State.QUEUED] == {"running", "cancelled", "expired", "failed"}
    assert CHANGES[State.RUNNING] == {"succeeded", "failed", "cancelled", "queued", "retrying"}
    assert CHANGES[State.RETRYING] == {"running", "cancelled", "expired", "failed"}
