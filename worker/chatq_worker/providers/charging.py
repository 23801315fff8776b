"""How sources charge a call against their limits: one table, beside what their models take.

Facts of documents only; what none of them states is the default, and what an answer says of `remaining` corrects it
(`rate_limit_headers.py`). A custom server may be anything: Azure OpenAI charges the prompt and max_tokens at the door
and gives back what was not used, Cerebras charges the same, Groq leaves cached input out.

Sources, as of November 2026: OpenAI, Rate limits, and Help Center article 5955604; Anthropic, Rate limits; Mistral,
Help Center article 392924; DeepSeek, Rate Limit & Isolation; AI21, Rate Limits; Cohere, API Keys and Rate Limits;
Perplexity, Rate Limits & Usage Tiers; Fireworks, Serverless Rate Limits; Electron Hub, Rate Limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from chatq_worker.providers.model_rules import Row, first_fit


class Charge(StrEnum):
    """What of an answer counts against the limit of tokens, and when. The prompt always counts as the call begins."""

    RESERVED = "reserved"
    """The most that may be answered, as the call begins; nothing is given back."""
    RESERVED_REFUNDED = "reserved_refunded"
    """The most that may be answered, as the call begins; at its end what was not used is given back."""
    USED = "used"
    """What is answered, as it is made."""


class Refill(StrEnum):
    """How an allowance comes back."""

    CONTINUOUS = "continuous"
    """Bit by bit, all the time."""
    SLIDING = "sliding"
    """Each piece 60 s after it was taken: never more than the limit in any minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charging:
    """How a source charges calls. The defaults are what its documents do not say otherwise."""

    answer: Charge = Charge.USED
    input_and_output_apart: bool = False
    """A limit for tokens in and another for tokens out, in place of one for both."""
    cached_input_counts: bool = True
    """Input that was read from the provider's cache counts against the limit like other input."""
    failed_calls_count: bool = False
    """A call that was refused or went wrong counts as a request."""
    tells_limits: bool = False
    """Its answers tell the limits in their headers."""
    refill: Refill = Refill.CONTINUOUS
    ban_s: float = 0.0
    """Seconds for which everything is refused once a limit was reached, whatever else the answer says."""
    documented: str = ""
    """The limits that the documents name, for people to read: accounts differ, so nothing is taken from it."""


_OPENAI: Final = Charging(
    # "The maximum of max_tokens and the estimated number of tokens based on the character count": taken as the sum of
    # both, the stricter reading. That nothing is given back is unverified.
    answer=Charge.RESERVED,
    # "Unsuccessful requests contribute to your per-minute limit."
    failed_calls_count=True,
    tells_limits=True,
    documented="by organization, usage tier and model",
)
_CLAUDE: Final = Charging(
    # "Evaluated in real time as output tokens are produced"; "max_tokens does not factor into" it. Until the end of
    # 2025 it did, and what was not used was given back.
    answer=Charge.USED,
    input_and_output_apart=True,
    # "cache_read_input_tokens do not count"; those written to the cache do.
    cached_input_counts=False,
    tells_limits=True,
    documented="by tier and model family; the first tier has 50 requests a minute",
)
_MISTRAL: Final = Charging(
    # "Token limits include both input and output"; when those of the answer count is unverified.
    tells_limits=True,
    documented="by organization and tier: requests a second, tokens a minute and a month",
)
_DEEPSEEK: Final = Charging(
    documented="calls at a time, by account: deepseek-flash 2,500, deepseek-v4-pro 500; no requests or tokens a minute",
)
_AI21: Final = Charging(documented="10 requests a second and 200 a minute for each model")
_COHERE: Final = Charging(
    documented="by model: trial keys 20 requests a minute and 1,000 a month, production keys 500 a minute, with the "
    "newest models as trial keys",
)
_PERPLEXITY: Final = Charging(
    documented="by tier, 0 to 5: 1, 3, 8, 17, 33, 33 requests a second, which is 50 to 2,000 a minute",
)
_FIREWORKS: Final = Charging(
    # When the generated tokens count is unverified.
    input_and_output_apart=True,
    tells_limits=True,
    documented="adaptive: at first 3.6 M prompt, 0.9 M uncached prompt and 36,000 generated tokens a minute; a fast "
    "ramp is refused",
)
_ELECTRON_HUB: Final = Charging(
    # "Both successful and failed requests count", "a sliding window of 60 seconds", "you must wait 3 minutes".
    failed_calls_count=True,
    tells_limits=True,
    refill=Refill.SLIDING,
    ban_s=180.0,
    documented="requests a minute, by plan: Free 5, Starter 10, Plus 15, Core 20, Pro 30, Business 60, Enterprise 100 "
    "and more",
)

TABLE: Final[Mapping[str, tuple[Row[Charging], ...]]] = {
    "openai": (Row(r"", _OPENAI),),
    "claude": (
        # "Also counts cache_read_input_tokens": marked with a dagger.
        Row(r"\bclaude-.*haiku", replace(_CLAUDE, cached_input_counts=True), (3, 0), (3, 6)),
        Row(r"", _CLAUDE),
    ),
    "mistralai": (Row(r"", _MISTRAL),),
    "deepseek": (Row(r"", _DEEPSEEK),),
    "ai21": (Row(r"", _AI21),),
    "cohere": (Row(r"", _COHERE),),
    "perplexity": (Row(r"", _PERPLEXITY),),
    "fireworks": (Row(r"", _FIREWORKS),),
    "electronhub": (Row(r"", _ELECTRON_HUB),),
}
"""Rows by source; of each the first that fits a model counts."""

_UNKNOWN: Final = Charging()


def charging_of(source: str, model: str = "") -> Charging:
    """How a source charges the calls to a model; that which no document describes when no row fits."""
    return first_fit(TABLE.get(source, ()), model) or _UNKNOWN
