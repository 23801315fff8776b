"""The tables of the conformance suite: a thing that a job can say, and what each source's request holds for it."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import SOURCES

OPENAI_SHAPED = ("openai", "mistralai", "deepseek", "ai21", "fireworks", "electronhub", "custom")


def each(table: dict[str, Any]) -> list[Any]:
    """A row for each source; a table without all ten is a hole in the suite."""
    assert set(table) == set(SOURCES)
    return [pytest.param(source, expected, id=source) for source, expected in table.items()]


def shared(expected: Any, **others: Any) -> dict[str, Any]:
    """The same for the sources of OpenAI's shape (and Cohere, unless it is among the others)."""
    return {**dict.fromkeys((*OPENAI_SHAPED, "cohere"), expected), **others}


def said(body: dict[str, Any]) -> dict[str, Any]:
    """What a body says to the model, in the source's own shape."""
    return {name: body[name] for name in ("messages", "system", "input", "instructions") if name in body}
