"""Reading a JSON object that somebody else wrote."""

from __future__ import annotations

import pytest

from chatq.contract.json_object import NotAnObject, read_object
from for_each import for_each


@for_each(
    ("text", "found"),
    [
        ('{"a": 9223372036854775807}', {"a": 9223372036854775807}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        ('{"a": Infinity}', {"a": float("inf")}),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": 0.1, "b": 1e2, "c": null, "d": [true]}', {"a": 0.1, "b": 100.0, "c": None, "d": [True]}),
    ],
)
def test_an_object_is_read_as_python_reads_it(text: str, found: dict[str, object]) -> None:
    assert read_object(text) == found


@for_each(
    ("text", "told", "line"),
    [
        ('{"a": 1,\n"b" 2}', "expecting ':' delimiter", 2),
        ("[1]", "it is a list", None),
        ('{"a": ' + "[" * 100_000, "it is nested too deeply", None),
        ('{"a": ' + "9" * 5000 + "}", "a number is far too long", None),
    ],
)
def test_what_is_no_object_is_told(text: str, told: str, line: int | None) -> None:
    with pytest.raises(NotAnObject) as caught:
        read_object(text)
    assert (str(caught.value), caught.value.line) == (told, line)
