"""What a call costs, in US dollars: what the provider says itself, else by the connection's own `price`, else by the
price table of a library that is kept up (`genai-prices`). What none of them knows is None, never 0.

The table counts cached input apart where a provider does, tiers by length, and fees for each request; a connection's
`price` counts tokens in and out. Discounts that an account has been given are known to neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from chatq.contract.connection import Connection
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
