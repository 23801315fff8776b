"""What a call costs, in US dollars: what the provider says itself, else by the connection's own `price`, else by the
price table of a library that is kept up (`genai-prices`). What none of them knows is None, never 0.

The table counts cached input apart where a provider does, tiers by length, and fees for each request; a connection's
`price` counts tokens in and out. Discounts that an account has been given are known to neither.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final, NamedTuple

from chatq.contract.connection import Connection
from chatq.contract.section import Broken
from chatq.contract.settings import Settings
from chatq.ledger.call_facts import MAYBE_CHARGED, CallPrice
from chatq_worker.failures import CallFailed
from chatq_worker.providers import Usage

logger = logging.getLogger(__name__)

PROVIDERS: Final = {
    "openai": "openai",
    "claude": "anthropic",
    "mistralai": "mistral",
    "deepseek": "deepseek",
    "cohere": "cohere",
    "perplexity": "perplexity",
    "fireworks": "fireworks",
}
"""What the library calls our sources; the others are not in it."""

_GAVE_UP: Final = frozenset({408, 504, 524})
"""Statuses with which a gateway says that it waits no longer: the provider may go on."""
_MANY_TOKENS: Final = 10_000_000
"""More than any tier of a price begins at."""
_LOOKED_UP_EACH_S: Final = 60.0
"""Some prices go by the hour of the day."""


def uses_table(connection: Connection) -> bool:
    """Whether the costs of a connection are looked up in the library's table."""
    return connection.price is None and connection.source in PROVIDERS


def load_table() -> None:
    """Load the table, which takes a moment: before the first answer is there."""
    import genai_prices  # noqa: F401


def cost_usd(
    connection: Connection, models: Iterable[str], usage: Usage, told: float | None = None
) -> float | None:
    """What an answer with this usage costs. `models`: the names of what answered, the best known first. `told`: the
    provider's own figure."""
    if told is not None:
        return told
    if not usage.prompt_tokens and not usage.completion_tokens:
        return None  # the provider did not count
    price = connection.price
    if price is not None:
        return (
            usage.prompt_tokens * price.input_per_million + usage.completion_tokens * price.output_per_million
        ) / 1_000_000
    if not uses_table(connection):
        return None
    period = int(time.time() / _LOOKED_UP_EACH_S)
    for model in models:
        listed = _listed(PROVIDERS[connection.source], model, period)
        if listed is not None:
            return _by_table(listed, usage)
    return None


def call_price(connection: Connection, model: str) -> CallPrice | None:
    """What calls of a model cost; None: nobody knows. Budgets reserve by it, so where the table has tiers it is the
    dearest, and cached input costs as much as other."""
    price = connection.price
    if price is not None:
        return CallPrice(0.0, price.input_per_million, price.output_per_million)
    if not uses_table(connection):
        return None
    listed = _listed(PROVIDERS[connection.source], model, int(time.time() / _LOOKED_UP_EACH_S))
    if listed is None:
        return None
    nothing, prompt, both = (
        _by_table(listed, Usage(tokens_in, tokens_out, tokens_in + tokens_out))
        for tokens_in, tokens_out in ((0, 0), (_MANY_TOKENS, 0), (_MANY_TOKENS, _MANY_TOKENS))
    )
    if nothing is None or prompt is None or both is None:
        return None
    millions = _MANY_TOKENS / 1_000_000
    return CallPrice(nothing, (prompt - nothing) / millions, (both - prompt) / millions)


def unpriced_budgets(settings: Settings) -> Iterator[Broken]:
    """Budgets whose connection has a default model of which nobody knows what it costs."""
    for name, connection in settings.connections.items():
        if (
            connection.budget is not None
            and connection.model is not None
            and call_price(connection, connection.model) is None
        ):
            yield Broken(
                ("connections", name, "budget"),
                f"nobody knows what {connection.model} costs; give the connection a price "
                "(input_per_million, output_per_million)",
            )


def run_prices(settings: Settings) -> None:
    """Tell what calls cost. In: a JSON list of [connection, model]. Out: for each [of a call, of a million tokens of
    prompts, of answers], or null where nobody knows."""
    asked = json.load(sys.stdin)
    told = [call_price(settings.connections[connection], model) for connection, model in asked]
    print(json.dumps([None if price is None else list(astuple(price)) for price in told]))  # noqa: T201 - its work


def charged_by_failure(failure: CallFailed) -> str:
    """Whether a call that failed may have been charged: not one that was refused."""
    status = failure.http_status
    unknown = status is None or status < 400 or status in _GAVE_UP
    return MAYBE_CHARGED if failure.sent and unknown else ""


class _Listed(NamedTuple):
    """A price of the table, and the library's kind of usage that it wants."""

    price: Any
    usage: Any


@lru_cache(maxsize=1000)
def _listed(provider: str, model: str, _period: int) -> _Listed | None:
    # Imported where it is needed: the table has some megabytes.
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    try:
        found = calc_price(
            ListedUsage(input_tokens=1, output_tokens=1), model_ref=model, provider_id=provider
        )
    except LookupError:
        return None
    return _Listed(found.model_price, ListedUsage)


def _by_table(listed: _Listed, usage: Usage) -> float | None:
    counts = listed.usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=min(usage.cached_tokens or 0, usage.prompt_tokens),
    )
    try:
        return float(listed.price.calc_price(counts)["total_price"])
    except (ValueError, LookupError) as error:
        # Counts that do not agree with each other; an answer is no worse for it.
        logger.warning("the cost of a call could not be told: %s", error)
        return None
