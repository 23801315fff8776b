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

    A fixture is made once for all of them.
    """
    keys = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    table = [_case(keys, row) for row in rows]
    assert table, "a test of no case cannot fail"

    def all_of_them(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            failures = []
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
        test.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return test

    return all_of_them


def _case(keys: list[str], row: Any) -> tuple[str, dict[str, Any]]:
    """A row's name and its arguments."""
    own_name = row.id if isinstance(row, ParameterSet) else None
    values = row.values if isinstance(row, ParameterSet) else row if len(keys) > 1 else (row,)
    case = dict(zip(keys, values, strict=True))
    return str(own_name or ", ".join(f"{key}={value!r:.100}" for key, value in case.items())), case
