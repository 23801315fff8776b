"""Which post-processing mode would have spared a refusal: providers say in many words that roles are out of order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq_worker.prompts import post_process

# In the order of restriction: the first mode that answers the complaint and changes the prompt is named.
# Wordings: chat templates of vLLM, llama.cpp and TabbyAPI; error texts of Mistral, Perplexity and Bedrock gateways.
_COMPLAINTS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (
        re.compile(
            r"system[^.]{0,40}(not supported|unsupported|not allowed|not permitted)|no system", re.IGNORECASE
        ),
        ("single",),
    ),
    (re.compile(r"alternat|consecutive|same role", re.IGNORECASE), ("merge", "semi", "strict")),
    (
        re.compile(
            r"system[^.]{0,60}(first|begin|start|only one|single|multiple|after)|role '?\"?system|multiple system",
            re.IGNORECASE,
        ),
        ("semi", "strict"),
    ),
    (
        re.compile(
            r"(first|start|begin)[^.]{0,60}\buser\b|\buser\b[^.]{0,40}(first|start|begin)", re.IGNORECASE
        ),
        ("strict",),
    ),
)


def helpful_mode(
    provider_message: str | None, messages: Sequence[Mapping[str, Any]], *, has_tools: bool
) -> str | None:
    """The least restrictive mode that answers the complaint, and changes `messages`; None when none does.

    `messages`: as they were sent. `has_tools`: the job has tools, so that their calls must be kept.
    """
    if not provider_message:
        return None
    for complaint, modes in _COMPLAINTS:
        if complaint.search(provider_message):
            for mode in modes:
                candidate = f"{mode}_tools" if has_tools and mode != "single" else mode
                if post_process(messages, candidate) != list(messages):
                    return candidate
    return None
