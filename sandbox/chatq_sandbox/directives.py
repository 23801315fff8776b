"""The little language in prompts with which a caller tells the simulator what to do with this very call.

`[sim: ITEM; ITEM; ...]` anywhere in the last user message. ITEM is one of

- a misbehaviour of `misbehaviours.KINDS` with its value and conditions: `server_error`, `server_error 503`,
  `rate_limit 2.5 first 2`, `reset_mid_body share 0.3`, `refuse slow_down`;
- `latency 0.05` or `latency 0.1..0.5` (seconds; evenly spread);
- `tokens 200`, `reasoning 50`: length of the answer and of its reasoning;
- `say TEXT`: the answer is TEXT (no `;` or `]` in it);
- `call_tool` or `call_tool NAME`: call the first tool offered, or that one;
- `finish length | content_filter | refusal`: end like that;
- `finish_as WORD`: give WORD as the reason to end, whatever it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from chatq_sandbox.exchange import Finish
from chatq_sandbox.latency import Fixed, Latency, Uniform
from chatq_sandbox.misbehaviours import KINDS, Misbehaviour, check_value
from chatq_sandbox.section import nearest

_BLOCK = re.compile(r"\[sim:([^\]]*)\]")
_SETTINGS = ("latency", "tokens", "reasoning", "say", "call_tool", "finish", "finish_as")
_FINISHES = ("length", "content_filter", "refusal")
_KNOWN = (*KINDS, *_SETTINGS)


class DirectiveError(ValueError):
    """A directive that nobody understands; the message says which, and what was expected."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What the prompt asks of the simulator. `call_tool` is '' for the first tool offered."""

    misbehaviours: tuple[Misbehaviour, ...] = ()
    latency: Latency | None = None
    tokens: int | None = None
    reasoning: int | None = None
    say: str | None = None
    call_tool: str | None = None
    finish: Finish | None = None
    finish_as: str = ""


NONE = Directives()


def read_directives(text: str) -> Directives:
    """The directives in one message's text.

    Raises:
        DirectiveError: for an unknown item or a value that does not fit.
    """
    if "[sim:" not in text:
        return NONE
    blocks = _BLOCK.findall(text)
    if not blocks:
        raise DirectiveError("'[sim:' without a closing ']'")
    return _read(";".join(blocks))


@lru_cache(maxsize=1024)
def _read(block: str) -> Directives:
    found = NONE
    for item in filter(None, (part.strip() for part in block.split(";"))):
        name, _, rest = item.partition(" ")
        rest = rest.strip()
        if name in KINDS:
            found = replace(found, misbehaviours=(*found.misbehaviours, _misbehaviour(name, rest, item)))
            continue
        match name:
            case "latency":
                found = replace(found, latency=_latency(rest, item))
            case "tokens":
                found = replace(found, tokens=_count(rest, item))
            case "reasoning":
                found = replace(found, reasoning=_count(rest, item))
            case "say":
                found = replace(found, say=rest)
            case "call_tool":
                found = replace(found, call_tool=rest)
            case "finish" if rest in _FINISHES:
                found = replace(found, finish=cast(Finish, rest))
            case "finish_as" if rest:
                found = replace(found, finish_as=rest)
            case "finish_as":
                raise DirectiveError(f"{item!r}: expected a word")
            case "finish":
                raise DirectiveError(f"{item!r}: expected {', '.join(_FINISHES)}")
            case _:
                raise DirectiveError(f"unknown directive {name!r}; {nearest(name, _KNOWN)}")
    return found


def _misbehaviour(name: str, rest: str, item: str) -> Misbehaviour:
    words = rest.split()
    given = words.pop(0) if words and words[0] not in ("first", "share") else None
    rule = Misbehaviour(name)
    if given is not None:
        rule = replace(rule, what=given) if KINDS[name].what else replace(rule, value=_number(given, item))
    while words:
        condition = words.pop(0)
        if condition == "first" and words:
            rule = replace(rule, first=_count(words.pop(0), item, low=1))
        elif condition == "share" and words:
            rule = replace(rule, share=_number(words.pop(0), item))
        else:
            raise DirectiveError(f"{item!r}: expected '{name} [VALUE] [first N] [share P]'")
    problem = check_value(rule)
    if problem is None and not 0 <= rule.share <= 1:
        problem = "share is from 0 to 1"
    if problem:
        raise DirectiveError(f"{item!r}: {problem}")
    return rule


def _latency(rest: str, item: str) -> Latency:
    low, dots, high = rest.partition("..")
    latency: Latency = Uniform(_number(low, item), _number(high, item)) if dots else Fixed(_number(low, item))
    if isinstance(latency, Uniform) and latency.low_s > latency.high_s:
        raise DirectiveError(f"{item!r}: expected LOW..HIGH in seconds")
    return latency


def _number(word: str, item: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise DirectiveError(f"{item!r}: expected a number from 0, got {word!r}")
    return number


def _count(word: str, item: str, low: int = 0) -> int:
    if not word.isdecimal() or int(word) < low:
        raise DirectiveError(f"{item!r}: expected a whole number from {low}, got {word!r}")
    return int(word)
