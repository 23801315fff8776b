"""A table of cases as one test: what pytest spends on a test is more than most cases take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

ParameterSet = type(pytest.param())


def for_each(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """Like `pytest.mark.parametrize`, but one test, which goes through all rows and tells each that fails.

    A fixture is made once for all of them. Rows marked as `thorough` are a second test, marked so.
    """
    keys = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    everyday, thorough = [], []
    for row in rows:
        marks = {mark.name for mark in row.marks} if isinstance(row, ParameterSet) else set()
        assert marks <= {"thorough"}, f"what would {marks} mean for a row?"
        (thorough if marks else everyday).append(_case(keys, row))
    assert everyday, "a test of no case cannot fail"
    which = "rows_of_" + "_".join(keys)
    tables = [pytest.param(everyday, id="everyday")]
    tables += [pytest.param(thorough, id="rest", marks=pytest.mark.thorough)] if thorough else []

    def all_of_them(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            failures = []
            table = fixtures.pop(which, everyday)
            for name, case in table:
                try:
                    check(**fixtures, **case)
                except (Exception, pytest.fail.Exception) as failure:
                    failure.add_note(f"case: {name}")
                    failures.append(failure)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(table)} cases", failures)

        signature = inspect.signature(check)
        left = [value for name, value in signature.parameters.items() if name not in keys]
        assert len(left) == len(signature.parameters) - len(keys), f"{check.__name__} does not take {names}"
        if thorough:
            left.append(inspect.Parameter(which, inspect.Parameter.KEYWORD_ONLY))
        test.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return pytest.mark.parametrize(which, tables)(test) if thorough else test

    return all_of_them


def _case(keys: list[str], row: Any) -> tuple[str, dict[str, Any]]:
    """A row's name and its arguments."""
    own_name = row.id if isinstance(row, ParameterSet) else None
    values = row.values if isinstance(row, ParameterSet) else row if len(keys) > 1 else (row,)
    case = dict(zip(keys, values, strict=True))
    return str(own_name or ", ".join(f"{key}={value!r:.100}" for key, value in case.items())), case
