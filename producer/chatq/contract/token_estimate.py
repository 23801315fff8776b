"""What a job will ask of a token limit, as far as it can be said before the call: the size of its prompt, and the
longest answer that it asks for.

Sizes are UTF-8 bytes of text rather than characters: with the tokenizers of OpenAI, DeepSeek and Anthropic a token has
3 to 5 bytes of prose, code or JSON in any script, but 1 to 5 characters. How many bytes of a model's prompts make one
token is learned from its answers (`ledger/shared/limits.lua`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from chatq.contract.job import Job

BYTES_PER_TOKEN: Final = 3.5
"""Until answers tell: rather too many tokens than too few."""
_MESSAGE: Final = 16
"""What goes with each message beside its text: its role, and the marks between messages."""
_MEDIA: Final = 3500
"""An image or another medium, whatever its bytes: providers count tiles of some hundred to some thousand tokens."""
_ANSWER_TOKENS: Final = 512


def prompt_size(job: Job) -> int:
    """The size of a job's prompt, in bytes of text or what counts as much."""
    size = len(orjson.dumps(job.tools)) if job.tools else 0
    for message in job.chat():
        size += _MESSAGE + _content_size(message.get("content"))
        if message.get("tool_calls"):
            size += len(orjson.dumps(message["tool_calls"]))
    return size


def longest_answer(params: Mapping[str, Any]) -> int:
    """The most tokens that an answer may have by its parameters (OpenAI's names), all choices together; 0: not said."""
    cap = params.get("max_completion_tokens") or params.get("max_tokens")
    if not isinstance(cap, int) or isinstance(cap, bool) or cap <= 0:
        return 0
    choices = params.get("n")
    return cap * choices if isinstance(choices, int) and choices > 1 else cap


def weight(size: int, cap: int) -> int:
    """What a job weighs in line, in tokens."""
    return int(size / BYTES_PER_TOKEN) + (cap or _ANSWER_TOKENS)


def _content_size(content: str | Iterable[Mapping[str, Any]] | None) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.encode(errors="surrogatepass"))
    size = 0
    for part in content:
        text = part.get("text")
        size += len(text.encode(errors="surrogatepass")) if isinstance(text, str) else _MEDIA
    return size
