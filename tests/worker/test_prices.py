"""What an answer costs; and that nobody pretends to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import genai_prices
import pytest

from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.connection import PUBLISHED, Connection
from chatq.contract.sources import LISTED
from chatq.ledger.call_facts import CallPrice
from chatq_worker.failures import CallFailed
from chatq_worker.prices import PROVIDERS, call_price, charged_by_failure, cost_usd, unpriced_budgets
from chatq_worker.providers import ADAPTERS, Usage
from for_each import for_each

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


@for_each(
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

    assert set(PROVIDERS) == set(LISTED) < set(ADAPTERS)
    assert set(PROVIDERS.values()) <= {provider.id for provider in providers}
    assert genai_prices.__name__  # it is the library itself, not a stand-in


# -- What budgets reserve by


def about(*dollars: float) -> Any:
    """A price, without the last digits of floating point."""
    return CallPrice(*(pytest.approx(amount) for amount in dollars))  # type: ignore[arg-type]


def test_a_call_costs_what_the_connection_s_price_says() -> None:
    assert call_price(connection("custom", price=PRICE), "whatever") == CallPrice(0, 0.25, 2)


def test_else_what_the_table_says_with_its_fee_for_each_request() -> None:
    assert call_price(connection("openai"), "gpt-5-mini") == about(0, 0.25, 2)
    # $1 in and out for a million, and $12 for a thousand requests of the largest context
    assert call_price(connection("perplexity"), "sonar") == about(0.012, 1, 1)


def test_of_a_price_with_tiers_the_dearest_is_reserved() -> None:
    # $3 and $15 up to 200,000 tokens, $6 and $22.50 beyond
    assert call_price(connection("claude"), "claude-sonnet-4-5") == about(0, 6, 22.5)


@pytest.mark.parametrize(("source", "model"), [("openai", "no-such-model"), ("custom", "gpt-5-mini")])
def test_what_nobody_knows_has_no_price(source: str, model: str) -> None:
    assert call_price(connection(source), model) is None


def test_a_budget_whose_default_model_has_no_price_is_refused_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "connections:\n"
        "  known: {source: openai, model: gpt-5-mini, budget: {per_day_usd: 5}}\n"
        "  any: {source: openai, budget: {per_day_usd: 5}}\n"
        "  priced: {source: openai, model: mine, budget: {per_day_usd: 5},\n"
        "           price: {input_per_million: 1, output_per_million: 1}}\n"
        "  unknown:\n"
        "    source: openai\n"
        "    model: mine\n"
        "    budget: {per_day_usd: 5}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(config, environ={}, also=unpriced_budgets)
    [problem] = caught.value.problems
    assert (problem.line, problem.key) == (9, "connections.unknown.budget")
    assert problem.message == (
        "nobody knows what mine costs; give the connection a price (input_per_million, output_per_million)"
    )


@for_each(
    ("failure", "charged"),
    [
        (CallFailed("timeout", "silence"), "?"),
        (CallFailed("bad_answer", "cut off", http_status=200), "?"),
        (CallFailed("server_error", "the gateway waits no longer", http_status=504), "?"),
        (CallFailed("server_error", "no", http_status=500), ""),
        (CallFailed("rate_limited", "no", http_status=429), ""),
        (CallFailed("connect_error", "nobody there", sent=False), ""),
    ],
)
def test_a_failed_call_may_have_been_charged_unless_it_was_refused_or_not_sent(
    failure: CallFailed, charged: str
) -> None:
    assert charged_by_failure(failure) == charged
