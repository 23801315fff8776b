"""The sample exchanges, read by their adapters."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import answer, chat, connection, exchanges

from chatq_worker.providers import ADAPTERS, Completion

SAMPLES = {
    (source, e["name"]): e
    for source, e in exchanges("response", "response_extra", "error", "models", "other")
}


def cases(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(source, name, expected, id=f"{source}-{name}")
        for source, rows in table.items()
        for name, expected in rows.items()
    ]


def read(source: str, name: str) -> Completion:
    exchange = SAMPLES[source, name]
    settings = {"api": "sonar"} if exchange.get("source") == "perplexity-sonar" else {}
    given, model = exchange["response"], (exchange["request"]["json"] or {}).get("model", "")
    got = answer(given["json"], given["status"], given["headers"])
    return ADAPTERS[source].read(got, chat(source, model=model), connection(source, **settings))
