"""Whatever a client sends, a source takes it or refuses it; no request makes the simulator itself fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from wire_samples import requests_of

from chatq_sandbox.answers import compose
from chatq_sandbox.dialects.base import Dialect
from chatq_sandbox.dialects.registry import DIALECTS
from chatq_sandbox.directives import NONE
from chatq_sandbox.exchange import HttpRequest, Refused
from chatq_sandbox.randomness import Draws
from for_each import for_each

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    2**63,
    "",
    "x",
    [],
    ["x"],
    [None],
    [[]],
    {},
    {"type": []},
    {"type": {}},
)
HEADERS = {b"anthropic-version": b"2023-06-01"}


def changed(value: Any) -> Iterator[Any]:
    """The value with one thing in it, at any depth, replaced by something odd, or with a key more."""
    yield from ODD
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {name: item for name, item in value.items() if name != key}
            for other in changed(inner):
                yield {**value, key: other}
        yield {**value, "odd": 1}
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            for other in changed(inner):
                yield [*value[:place], other, *value[place + 1 :]]


def answer(dialect: Dialect, path: str, body: Any) -> None:
    """Read the request and answer it, whole and streamed, as the simulator would; raises when that fails."""
    request = HttpRequest("POST", path, "", HEADERS, b"")
    try:
        chat = dialect.read(request, body, dialect.default_models)
    except Refused as refused:
        orjson.dumps(dialect.signed(refused.reply, "0" * 24, 0.0, None).body)
        return
    draws = Draws(0, "job", 1)
    said = compose(chat, "job", 1, draws, NONE, tokens=8, reasoning_tokens=4, created=1)
    orjson.dumps(dialect.complete(chat, said))
    dialect.stream(chat, said)


@pytest.mark.thorough
@for_each("name", DIALECTS)
def test_a_request_with_something_odd_in_it_is_taken_or_refused(name: str) -> None:
    dialect = DIALECTS[name]
    found = requests_of(name)
    assert found
    failures = set()
    for path, body in found:
        for odd in changed(body):
            try:
                answer(dialect, path, odd)
            except Exception as error:
                failures.add(f"{type(error).__name__}: {error} at {where(error)}")
    assert failures == set()


def where(error: Exception) -> str:
    """The line of the simulator that failed."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        line = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return line
