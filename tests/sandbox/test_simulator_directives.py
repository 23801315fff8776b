from __future__ import annotations

import pytest

from chatq_sandbox.directives import NONE, DirectiveError, Directives, read_directives
from chatq_sandbox.latency import Fixed, Uniform
from chatq_sandbox.misbehaviours import Misbehaviour
from for_each import for_each


def test_a_prompt_without_a_directive_asks_for_nothing() -> None:
    assert read_directives("similar [sims] are [not sim: these]") is NONE


@for_each(
    ("text", "expected"),
    [
        ("[sim: latency 0.05]", Directives(latency=Fixed(0.05))),
        ("[sim: latency 0.1..0.5]", Directives(latency=Uniform(0.1, 0.5))),
        ("[sim: tokens 200; reasoning 50]", Directives(tokens=200, reasoning=50)),
        ("[sim: say Hello, world]", Directives(say="Hello, world")),
        ("[sim: call_tool]", Directives(call_tool="")),
        ("[sim: call_tool get_weather]", Directives(call_tool="get_weather")),
        ("[sim: finish content_filter]", Directives(finish="content_filter")),
        ("[sim: silence]", Directives(misbehaviours=(Misbehaviour("silence"),))),
        ("[sim: server_error 503]", Directives(misbehaviours=(Misbehaviour("server_error", 503),))),
        (
            "[sim: rate_limit 2.5 first 2]",
            Directives(misbehaviours=(Misbehaviour("rate_limit", 2.5, first=2),)),
        ),
        (
            "[sim: gzip share 0.3 first 9]",
            Directives(misbehaviours=(Misbehaviour("gzip", first=9, share=0.3),)),
        ),
        ("[sim: finish_as pause_turn]", Directives(finish_as="pause_turn")),
        (
            "[sim: refuse slow_down first 2]",
            Directives(misbehaviours=(Misbehaviour("refuse", first=2, what="slow_down"),)),
        ),
        (
            "say hi [sim: gzip] to [sim: latency 1;] all",
            Directives(misbehaviours=(Misbehaviour("gzip"),), latency=Fixed(1.0)),
        ),
    ],
)
def test_what_a_directive_means(text: str, expected: Directives) -> None:
    assert read_directives(text) == expected


@for_each(
    ("text", "problem"),
    [
        ("[sim: sever_error]", "unknown directive 'sever_error'; did you mean 'server_error'?"),
        ("[sim: server_error 404]", "server_error takes a status from 500 to 599, got 404"),
        ("[sim: silence 3]", "silence takes no value, got 3"),
        ("[sim: gzip first]", "'gzip first': expected 'gzip [VALUE] [first N] [share P]'"),
        ("[sim: gzip first 0]", "expected a whole number from 1, got '0'"),
        ("[sim: gzip share 2]", "share is from 0 to 1"),
        ("[sim: latency fast]", "'latency fast': expected a number from 0, got 'fast'"),
        ("[sim: latency 2..1]", "expected LOW..HIGH in seconds"),
        ("[sim: finish early]", "expected length, content_filter, refusal"),
        ("[sim: finish_as]", "expected a word"),
        ("[sim: gzip", "'[sim:' without a closing ']'"),
    ],
)
def test_a_directive_that_nobody_understands_says_what_was_expected(text: str, problem: str) -> None:
    with pytest.raises(DirectiveError) as caught:
        read_directives(text)
    assert problem in str(caught.value)
