"""`for_each` hides no case."""

from __future__ import annotations

import pytest

from for_each import for_each


def test_every_case_is_tried_and_each_that_fails_is_told_by_name() -> None:
    tried = []

    @for_each(("a", "b"), [(1, 1), (1, 2), pytest.param(3, 3, id="threes"), pytest.param(4, 5, id="odd")])
    def equal(a: int, b: int, fixture: str) -> None:
        tried.append((a, b, fixture))
        assert a == b

    with pytest.raises(BaseExceptionGroup, match="2 of 4 cases") as raised:
        equal(fixture="made")
    assert tried == [(1, 1, "made"), (1, 2, "made"), (3, 3, "made"), (4, 5, "made")]
    assert [failure.__notes__ for failure in raised.value.exceptions] == [["case: a=1, b=2"], ["case: odd"]]


def test_one_over_another_tries_all_pairs() -> None:
    tried = []

    @for_each("a", [1, 2])
    @for_each("b", "xy")
    def note(a: int, b: str) -> None:
        tried.append((a, b))

    note()
    assert tried == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_thorough_rows_are_a_second_test() -> None:
    tried = []

    @for_each("a", [1, pytest.param(2, marks=pytest.mark.thorough), 3])
    def note(a: int, fixture: str) -> None:
        tried.append(a)

    [mark] = note.pytestmark
    tables = {table.id: (table.values[0], [mark.name for mark in table.marks]) for table in mark.args[1]}
    note(fixture="made", **{mark.args[0]: tables["rest"][0]})
    assert (tried, tables["rest"][1], tables["everyday"][1]) == ([2], ["thorough"], [])
    note(fixture="made", **{mark.args[0]: tables["everyday"][0]})
    assert tried == [2, 1, 3]


def test_a_misspelt_name_and_a_table_without_a_row_are_told() -> None:
    with pytest.raises(AssertionError, match="check does not take c"):

        @for_each("c", [1])
        def check(a: int) -> None: ...

    with pytest.raises(AssertionError, match="of no case"):
        for_each("a", [])
