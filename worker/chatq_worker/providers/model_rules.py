"""What single models take and refuse: one table, read by every adapter.

To teach chatq a new model, add a row above the one that would match it; of each source the first row that fits
counts. Sources: OpenAI's and Anthropic's SDK types and documents, and LiteLLM's model map (supports_* flags).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar


class Thinking(StrEnum):
    """How a model is told to think."""

    NONE = "none"
    """It cannot."""
    BUDGET = "budget"
    """With a number of tokens, when asked."""
    EITHER = "either"
    """With a number of tokens or an effort, when asked."""
    ADAPTIVE = "adaptive"
    """With an effort; a number of tokens is refused."""
    DEFAULT_ON = "default_on"
    """It does unless told not to."""
    EFFORT = "effort"
    """With an effort, by its nature: it always reasons, or chooses."""
    UNKNOWN = "unknown"
    """What the job says is passed on."""


SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})
_PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})
_LOGPROBS: Final = frozenset({"logprobs", "top_logprobs"})
_ALL_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

EFFORTS: Final = _ALL_EFFORTS
"""OpenAI's words for how much to think, from least to most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """What an adapter has to know of one model. The defaults refuse nothing."""

    refuses: frozenset[str] = frozenset()
    """Parameters, in OpenAI's words, that the model refuses whatever their value."""
    only_temperature_1: bool = False
    """Any other temperature is refused."""
    refuses_while_thinking: frozenset[str] = frozenset()
    """Parameters that are refused or without effect unless thinking is off (reasoning_effort none, for OpenAI)."""
    temperature_or_top_p: bool = False
    """One of the two, never both."""
    thinking: Thinking = Thinking.UNKNOWN
    efforts: tuple[str, ...] = _ALL_EFFORTS
    """Accepted values of the effort, least first."""
    prefill: bool = False
    """A last turn of the assistant is continued."""
    forced_tools: bool = True
    """The call of a tool can be demanded."""
    tool_choice: bool = True
    """Whether tools are used can be stated at all."""
    json_schema: bool = True
    images: bool = True
    default_output_tokens: int | None = None
    """Sent when the job names no cap and the source wants one."""
    most_output_tokens: int | None = None
    """A higher cap is refused."""
    streams_above: int | None = None
    """An answer with a higher cap is asked for as a stream: the source does not give it as a whole."""
    api_version: str | None = None
    """The version of the API that goes with the model."""


Rules = TypeVar("Rules")


@dataclass(frozen=True, slots=True)
class Row(Generic[Rules]):
    """Models of a source whose name matches `name` (anywhere, lower case) and whose version is in range."""

    name: str
    rules: Rules
    since: tuple[int, int] = (0, 0)
    before: tuple[int, int] = (10_000, 0)


_OPENAI_NEVER: Final = _PENALTIES | {"logit_bias"}
_OPENAI_REASONING: Final = ModelRules(
    refuses=_OPENAI_NEVER | _LOGPROBS | {"top_p"},
    only_temperature_1=True,
    thinking=Thinking.EFFORT,
    efforts=("low", "medium", "high"),
)
_GPT_5: Final = ModelRules(
    refuses=_OPENAI_NEVER | {"stop"},
    refuses_while_thinking=_LOGPROBS | {"temperature", "top_p"},
    thinking=Thinking.EFFORT,
    efforts=("none", "low", "medium", "high", "xhigh"),
)
_OPENAI_PLAIN: Final = ModelRules(refuses=frozenset({"reasoning_effort", "verbosity"}))

# What 128,000 tokens an hour give in ten minutes: Anthropic's SDK makes no longer call without streaming. It holds
# the older Opus to less (_constants, MODEL_NONSTREAMING_TOKENS).
_CLAUDE_WHOLE: Final = 21_333
_OLD_OPUS_WHOLE: Final = 8192
_CLAUDE_OUTPUT: Final = 16_000
# "Requests with max_tokens > 4096 must have stream=true", a 400 that public issues quote.
_FIREWORKS_WHOLE: Final = 4096
_CLAUDE_4: Final = ModelRules(
    thinking=Thinking.BUDGET,
    prefill=True,
    json_schema=False,
    default_output_tokens=_CLAUDE_OUTPUT,
    most_output_tokens=64_000,
    streams_above=_CLAUDE_WHOLE,
    api_version="2023-06-01",
)
_CLAUDE_5: Final = ModelRules(
    refuses=SAMPLING,
    thinking=Thinking.ADAPTIVE,
    efforts=("low", "medium", "high", "xhigh", "max"),
    default_output_tokens=_CLAUDE_OUTPUT,
    most_output_tokens=128_000,
    streams_above=_CLAUDE_WHOLE,
    api_version="2026-10-21",
)


_UNFORCED_CLAUDE_5: Final = replace(_CLAUDE_5, forced_tools=False)

_DEEPSEEK: Final = ModelRules(
    thinking=Thinking.DEFAULT_ON,
    efforts=("none", "low", "high", "max"),
    # Accepted there, and without effect.
    refuses_while_thinking=_PENALTIES | {"temperature", "top_p"},
)

TABLE: Final[Mapping[str, tuple[Row[ModelRules], ...]]] = {
    "openai": (
        Row(r"\bgpt-5(\.\d+)?-chat", _OPENAI_PLAIN),
        Row(r"\bgpt-", replace(_GPT_5, efforts=("none", "low", "medium", "high")), (5, 1), (5, 2)),
        Row(r"\bgpt-", _GPT_5, (5, 2)),
        Row(
            r"\bgpt-",
            replace(
                _OPENAI_REASONING,
                refuses=_OPENAI_REASONING.refuses | {"stop"},
                efforts=("minimal", "low", "medium", "high"),
            ),
            (5, 0),
        ),
        Row(r"\b(gpt|chatgpt)-[34]", _OPENAI_PLAIN),
        Row(r"\bo3-mini|\bo1\b", _OPENAI_REASONING),
        Row(r"\bo\d\b", replace(_OPENAI_REASONING, refuses=_OPENAI_REASONING.refuses | {"stop"})),
    ),
    "claude": (
        Row(
            r"\bclaude-",
            ModelRules(
                thinking=Thinking.NONE,
                prefill=True,
                json_schema=False,
                default_output_tokens=4096,
                most_output_tokens=4096,
                api_version="2023-06-01",
            ),
            (1, 0),
            (3, 5),
        ),
        Row(
            r"\bclaude-",
            ModelRules(
                thinking=Thinking.NONE,
                prefill=True,
                json_schema=False,
                default_output_tokens=8192,
                most_output_tokens=8192,
                api_version="2023-06-01",
            ),
            (3, 5),
            (3, 7),
        ),
        Row(
            r"\bclaude-.*opus|opus.*claude",
            replace(
                _CLAUDE_4,
                most_output_tokens=32_000,
                streams_above=_OLD_OPUS_WHOLE,
                temperature_or_top_p=True,
            ),
            (4, 0),
            (4, 2),
        ),
        Row(r"\bclaude-", _CLAUDE_4, (3, 7), (4, 5)),
        Row(r"\bclaude-", replace(_CLAUDE_4, json_schema=True, temperature_or_top_p=True), (4, 5), (4, 6)),
        Row(
            r"\bclaude-",
            replace(
                _CLAUDE_4,
                thinking=Thinking.EITHER,
                efforts=("low", "medium", "high", "max"),
                prefill=False,
                json_schema=True,
                temperature_or_top_p=True,
                most_output_tokens=128_000,
            ),
            (4, 6),
            (4, 7),
        ),
        Row(r"\bclaude-", replace(_CLAUDE_5, api_version="2023-06-01"), (4, 7), (5, 0)),
        Row(r"\bclaude-mythos-preview", replace(_CLAUDE_5, api_version="2023-06-01")),
        Row(r"\bclaude-(sonnet|opus)-", _UNFORCED_CLAUDE_5, (5, 5)),
        Row(r"\bclaude-(fable|mythos)-", _UNFORCED_CLAUDE_5, (5, 1)),
        Row(r"\bclaude-", _CLAUDE_5, (5, 0)),
        # A name without a version is an alias of a gateway's: nothing is known, so nothing is held back.
        Row(
            r"",
            ModelRules(
                thinking=Thinking.ADAPTIVE,
                efforts=("low", "medium", "high", "max"),
                default_output_tokens=8192,
                streams_above=_CLAUDE_WHOLE,
                api_version="2023-06-01",
            ),
        ),
    ),
    "deepseek": (
        Row(r"\bdeepseek-chat\b", ModelRules(thinking=Thinking.NONE, images=False)),
        Row(r"\bflash\b", _DEEPSEEK),
        Row(r"", replace(_DEEPSEEK, images=False)),
    ),
    "cohere": (
        Row(r"\bcommand-a-(plus|reasoning)", ModelRules(thinking=Thinking.BUDGET)),
        Row(
            r"\bcommand-r(-plus)?(-\d|$)|\bcommand(-light|-nightly)?$|\bc4ai",
            ModelRules(thinking=Thinking.NONE, tool_choice=False),
        ),
        Row(r"\bcommand-", ModelRules(thinking=Thinking.NONE)),
    ),
    "fireworks": (
        Row(r"", ModelRules(efforts=("none", "low", "medium", "high"), streams_above=_FIREWORKS_WHOLE)),
    ),
    "electronhub": (Row(r"", ModelRules(efforts=("none", "minimal", "low", "medium", "high", "xhigh"))),),
    "perplexity": (Row(r"", ModelRules(efforts=("minimal", "low", "medium", "high", "xhigh"))),),
    "ai21": (Row(r"", ModelRules(thinking=Thinking.NONE, images=False)),),
}
"""Rows by source."""

_UNKNOWN: Final = ModelRules()
_VERSION: Final = re.compile(r"(?<![\d.])(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)", re.ASCII)


def rules_of(source: str, model: str) -> ModelRules:
    """The rules of a model; those that refuse nothing when no row fits."""
    return first_fit(TABLE.get(source, ()), model) or _UNKNOWN


def first_fit(rows: Iterable[Row[Rules]], model: str) -> Rules | None:
    """What the first row that fits says of a model."""
    name = model.lower()
    version = version_of(name)
    for row in rows:
        if re.search(row.name, name) and (not _is_bounded(row) or row.since <= version < row.before):
            return row.rules
    return None


def version_of(model: str) -> tuple[int, int]:
    """The first version in a model's name: `claude-haiku-4-5-20251001` is (4, 5), `gpt-5.2` (5, 2), none (0, 0)."""
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def nearest_effort(wanted: str, accepted: tuple[str, ...]) -> str | None:
    """The accepted effort nearest to `wanted`, the lower of two; None when `wanted` is no effort at all."""
    if wanted in accepted:
        return wanted
    if wanted not in EFFORTS or not accepted:
        return None
    place = EFFORTS.index(wanted)
    thinking = [effort for effort in accepted if effort != "none"] or list(accepted)
    return min(thinking, key=lambda effort: (abs(EFFORTS.index(effort) - place), EFFORTS.index(effort)))


def _is_bounded(row: Row[Rules]) -> bool:
    return row.since != (0, 0) or row.before != (10_000, 0)
