"""What an answer costs; and that nobody pretends to know."""

from __future__ import annotations

from typing import Any

import genai_prices
import pytest

from chatq.contract.connection import PUBLISHED, Connection
from chatq_worker.prices import PROVIDERS, cost_usd
from chatq_worker.providers import ADAPTERS, Usage

USAGE = Usage(prompt_tokens=2000, completion_tokens=500, total_tokens=2500)
PRICE = {"input_per_million": 0.25, "output_per_million": 2}


def connection(source: str, **keys: Any) -> Connection:
    return Connection.model_validate({"source": source, **keys}, context={PUBLISHED: True})


def test_the_provider_s_own_figure_goes_before_all_others() -> None:
    assert cost_usd(connection("openai", price=PRICE), ["gpt-5-mini"], USAGE, 0.7) == 0.7
    assert cost_usd(connection("custom"), ["m"], Usage(), 0.0) == 0.0


def test_the_connection_s_price_goes_before_the_table() -> None:
    # 2000 tokens in at 0.25, 500 out at 2 for a million
    assert cost_usd(connection("openai", price=PRICE), ["gpt-4o"], USAGE) == pytest.approx(0.0015)
    assert cost_usd(connection("custom", price=PRICE), ["whatever"], USAGE) == pytest.approx(0.0015)


def test_else_the_table_tells() -> None:
    # $0.25 in and $2 out for a million, as OpenAI's price page has it
    assert cost_usd(connection("openai"), ["gpt-5-mini"], USAGE) == pytest.approx(0.0015)


def test_cached_input_counts_as_the_table_has_it() -> None:
    cached = Usage(prompt_tokens=2000, completion_tokens=0, total_tokens=2000, cached_tokens=1000)
    # $0.25 for a million, $0.025 cached
    assert cost_usd(connection("openai"), ["gpt-5-mini"], cached) == pytest.approx(0.000275)


def test_the_name_that_was_asked_for_helps_where_the_answer_s_is_not_known() -> None:
    known = cost_usd(connection("openai"), ["gpt-5-mini"], USAGE)
    assert cost_usd(connection("openai"), ["a-name-of-its-own", "gpt-5-mini"], USAGE) == known


@pytest.mark.parametrize(
    ("source", "model", "usage"),
    [
        ("openai", "no-such-model", USAGE),
        ("custom", "gpt-5-mini", USAGE),
        ("electronhub", "gpt-5-mini", USAGE),
        ("openai", "gpt-5-mini", Usage()),
    ],
)
def test_what_nobody_knows_is_none_and_never_0(source: str, model: str, usage: Usage) -> None:
    assert cost_usd(connection(source), [model], usage) is None


def test_counts_that_contradict_each_other_cost_no_answer() -> None:
    odd = Usage(prompt_tokens=10, completion_tokens=1, total_tokens=11, cached_tokens=50)
    assert cost_usd(connection("openai"), ["gpt-5-mini"], odd) is not None


def test_the_table_has_every_provider_by_the_name_we_ask_for() -> None:
    from genai_prices.data import providers

    assert set(PROVIDERS) < set(ADAPTERS)
    assert set(PROVIDERS.values()) <= {provider.id for provider in providers}
    assert genai_prices.__name__  # it is the library itself, not a stand-in
