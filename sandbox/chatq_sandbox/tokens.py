"""The simulator's tokenizer: a token for every four characters begun."""

from __future__ import annotations

from collections.abc import Sequence

from chatq_sandbox.exchange import Message

CHARACTERS_A_TOKEN = 4


def tokens_in(characters: int) -> int:
    """Tokens in a text of so many characters."""
    return -(-characters // CHARACTERS_A_TOKEN)


def prompt_tokens_of(messages: Sequence[Message]) -> int:
    """Tokens of a prompt: all its texts together; at least 1."""
    return max(1, tokens_in(sum(len(message.text) for message in messages)))


def split(text: str) -> list[str]:
    """The tokens of a text."""
    return [text[start : start + CHARACTERS_A_TOKEN] for start in range(0, len(text), CHARACTERS_A_TOKEN)]
