"""What the body of a request takes while its call is in flight."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import orjson

from chatq_worker.providers.source_adapter import encoded

BODY = {"model": "local-model", "messages": [{"role": "user", "content": "x" * 500}]}
KEPT = 200


def bytes_each(make: Callable[[], bytes]) -> float:
    tracemalloc.start()
    try:
        kept = [make() for _ in range(KEPT)]
        return tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()


def test_a_body_takes_little_more_than_its_length() -> None:
    assert bytes_each(lambda: encoded(BODY)) < len(orjson.dumps(BODY)) + 100


def test_orjson_keeps_its_buffer_behind_what_it_gives() -> None:
    """When it does not any more, the copy in `encoded` can go."""
    assert bytes_each(lambda: orjson.dumps(BODY)) > 1000
