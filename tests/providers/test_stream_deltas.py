"""What is told of an answer while it grows, source by source: put together, it is what is read in the whole."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_testing import CLOCK, KEY, WEATHER, answer, chat, connection, exchanges, openai_answer
from stream_writing import events_of
from test_streamed_answers import claude_events, fireworks_events

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed
from chatq_worker.providers import ADAPTERS, BrokenStream, Completion, Delta, Overheard, Request
from chatq_worker.providers.event_stream import EventParser
from chatq_worker.providers.think_block import ThinkBlock, split_thinking
from for_each import for_each

GROWING = (
    "openai", "claude", "mistralai", "deepseek", "ai21", "perplexity", "fireworks", "electronhub", "custom",
)  # fmt: skip
THINKS_ALOUD = ("perplexity", "fireworks", "electronhub", "custom")
WITH_USAGE = {"openai", "deepseek", "fireworks", "electronhub", "custom"}


def own(source: str, **settings: Any) -> Connection:
    """A connection of the source whose streams are read."""
    return connection(source, **({"api": "sonar"} if source == "perplexity" else {}), **settings)


def request(source: str, to: Connection | None = None, **job: Any) -> Request:
    return ADAPTERS[source].request(chat(source, stream=True, **job), to or own(source), KEY).request


def body(source: str, to: Connection | None = None, **job: Any) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(request(source, to, **job).body)
    return made


def heard(source: str, stream: bytes) -> tuple[list[Delta], Completion]:
    """The deltas of a stream, and what is read in the whole."""
    made, deltas = request(source), list[Delta]()
    assert made.assembly is not None
    assert made.deltas is not None
    assembly = Overheard(made.assembly(), made.deltas(), deltas.extend)
    parser = EventParser()
    any(map(assembly.add, [*parser.feed(stream), *parser.end()]))
    whole = assembly.whole()
    return deltas, ADAPTERS[source].read(answer(whole), chat(source), own(source))


def put_together(deltas: Iterable[Delta]) -> dict[int, dict[str, Any]]:
    """The messages of the choices, as OpenAI's clients put them together."""
    messages: dict[int, dict[str, Any]] = defaultdict(dict)
    for delta in deltas:
        message = messages[delta["index"]]
        [(name, value)] = delta["delta"].items()
        assert value
        if name != "tool_calls":
            message[name] = message.get(name, "") + value
            continue
        calls = message.setdefault(name, {})
        for piece in value:
            call = calls.setdefault(piece["index"], {"id": "", "type": "", "name": "", "arguments": ""})
            call |= {key: piece[key] for key in ("id", "type") if key in piece}
            function = piece.get("function", {})
            call |= {"name": function["name"]} if "name" in function else {}
            call["arguments"] += function.get("arguments", "")
    return dict(messages)


def said(completion: Completion) -> dict[int, dict[str, Any]]:
    """The same of what was read in the whole, without what is empty."""
    messages = {}
    for choice in completion.response["choices"]:
        message = choice["message"]
        texts = {name: message.get(name) for name in ("content", "reasoning_content", "refusal")}
        calls = {
            place: {"id": call["id"], "type": call["type"], **call["function"]}
            for place, call in enumerate(message.get("tool_calls") or ())
        }
        kept = {name: value for name, value in {**texts, "tool_calls": calls}.items() if value}
        if kept:
            messages[choice["index"]] = kept
    return messages


def with_arguments_read(messages: Mapping[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Arguments that are JSON as data: Claude's are told with the blanks that it writes."""
    for message in messages.values():
        for call in message.get("tool_calls", {}).values():
            with contextlib.suppress(json.JSONDecodeError):
                call["arguments"] = json.loads(call["arguments"])
    return dict(messages)


def assert_told(source: str, stream: bytes) -> list[Delta]:
    """What was told is what is read; the deltas."""
    deltas, completion = heard(source, stream)
    assert with_arguments_read(put_together(deltas)) == with_arguments_read(said(completion))
    return deltas


def chunks(*deltas: Any, done: bool = True) -> bytes:
    """A stream of OpenAI's chunks, each with one delta of the first choice."""
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    written = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    return written + (b"data: [DONE]\n\n" if done else b"")


def texts(deltas: Iterable[Delta]) -> list[tuple[str, str]]:
    return [item for delta in deltas for item in delta["delta"].items()]


# When a stream is asked for


@for_each("source", GROWING)
def test_an_answer_that_its_caller_wants_to_see_grow_is_asked_for_as_a_stream(source: str) -> None:
    asked = body(source)
    assert asked["stream"] is True
    assert asked.get("stream_options") == ({"include_usage": True} if source in WITH_USAGE else None)


@pytest.mark.parametrize(("source", "api"), [("cohere", None), ("perplexity", None)])
def test_sources_whose_streams_are_not_read_answer_as_a_whole(source: str, api: str | None) -> None:
    made = request(source, connection(source, api=api))
    assert (made.assembly, made.deltas) == (None, None)
    assert not orjson.loads(made.body).get("stream")


@for_each("source", GROWING)
def test_what_nobody_wants_to_see_grow_is_not_told(source: str) -> None:
    made = ADAPTERS[source].request(chat(source), own(source), KEY).request
    assert (made.assembly, made.deltas) == (None, None)


def test_a_long_answer_that_nobody_wants_to_see_grow_is_a_stream_that_is_not_told() -> None:
    long = chat("fireworks", params={"max_tokens": 5000})
    made = ADAPTERS["fireworks"].request(long, own("fireworks"), KEY).request
    assert made.assembly is not None
    assert made.deltas is None


@for_each(
    ("source", "job"),
    [
        pytest.param("openai", {"tools": [WEATHER, {"type": "custom", "custom": {"name": "f"}}]}, id="other tools"),
        pytest.param("openai", {"params": {"audio": {"voice": "alloy"}, "modalities": ["audio"]}}, id="sound"),
        pytest.param("openai", {"params": {"functions": [{"name": "f"}]}}, id="the oldest calls"),
        pytest.param("electronhub", {"params": {"functions": [{"name": "f"}]}}, id="the oldest calls, elsewhere"),
        pytest.param("ai21", {"params": {"n": 2}}, id="several choices of AI21"),
        pytest.param("ai21", {"tools": [WEATHER]}, id="calls of AI21"),
    ],
)  # fmt: skip
def test_an_answer_that_may_come_in_pieces_of_another_kind_is_asked_for_as_a_whole(
    source: str, job: dict[str, Any]
) -> None:
    made = request(source, **job)
    assert (made.assembly, made.deltas) == (None, None)
    assert not orjson.loads(made.body).get("stream")


@for_each("source", [source for source in GROWING if source != "ai21"])
def test_functions_are_no_hindrance(source: str) -> None:
    assert body(source, tools=[WEATHER, CLOCK])["stream"] is True


def test_what_a_connection_includes_and_excludes_holds_for_streams_too() -> None:
    def asked(**settings: Any) -> tuple[Any, Any]:
        made = body("custom", own("custom", **settings))
        return made.get("stream"), made.get("stream_options")

    assert asked(include_body={"stream_options": {"every": 1}}) == (True, {"include_usage": True, "every": 1})
    assert asked(exclude_body=["stream_options"]) == (True, None)
    assert asked(exclude_body=["stream_options.include_usage"]) == (True, {})
    assert asked(include_body={"stream": False}) == (False, None)
    assert asked(exclude_body=["stream"]) == (None, None)


@pytest.mark.parametrize("off", [{"include_body": {"stream": False}}, {"exclude_body": ["stream"]}])
def test_a_server_that_is_not_asked_for_a_stream_gives_none(off: dict[str, Any]) -> None:
    made = request("custom", own("custom", **off))
    assert (made.assembly, made.deltas) == (None, None)


# What is told

ANSWERS = [
    pytest.param(source, exchange["response"]["json"], id=f"{source}-{exchange['name']}")
    for source, exchange in exchanges("response")
    if source in GROWING and (source != "perplexity" or exchange["name"].startswith("sonar"))
]


@for_each(("source", "whole"), ANSWERS)
def test_of_every_sample_answer_what_is_told_is_what_is_read(source: str, whole: dict[str, Any]) -> None:
    shape = "claude" if source == "claude" else "fireworks"
    whole = {"object": "", "created": 1, "model": "m", "usage": None, **whole}
    for choice in whole.get("choices", ()):
        for place, call in enumerate(choice["message"].get("tool_calls") or ()):
            call.setdefault("index", place)
        choice["message"] |= {"tool_calls": choice["message"].get("tool_calls") or ()}
    deltas = assert_told(source, b"".join(events_of(shape, whole)))
    assert deltas or not said(ADAPTERS[source].read(answer(whole), chat(source), own(source)))


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


some_text = st.text(st.sampled_from("ab \n\t<>/think\u00e9\U0001f327"), max_size=20) | st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "</", "nk>", " ", "\n", "Hello", ""]), max_size=8
).map("".join)


@st.composite
def openai_streams(draw: st.DrawFn) -> bytes:
    """Chunks of up to two choices, with every kind of text and calls of functions, in pieces of any size."""
    events: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 2))):
        said: list[dict[str, Any]] = [{"role": "assistant", "content": draw(st.sampled_from(["", None]))}]
        name = draw(st.sampled_from(["reasoning_content", "reasoning", "both"]))
        for piece in draw(cut(draw(some_text | st.just("")))):
            both = ("reasoning_content", "reasoning")
            said.append(dict.fromkeys(both, piece) if name == "both" else {name: piece})
        said += [{"content": piece} for piece in draw(cut(draw(some_text)))]
        said += [{"refusal": piece} for piece in draw(st.just([]) | cut(draw(some_text)))]
        for place in range(draw(st.integers(0, 2))):
            function = {"name": f"f{place}", "arguments": draw(st.sampled_from(["", None]))}
            said.append(
                {
                    "tool_calls": [
                        {"index": place, "id": f"c{place}", "type": "function", "function": function}
                    ]
                }
            )
            arguments = json.dumps({"x": draw(some_text)})
            for piece in draw(cut(arguments)):
                said.append({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
        events += [{"choices": [{"index": index, "delta": delta}]} for delta in said]
        events.append({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


@given(st.sampled_from([source for source in GROWING if source != "claude"]), openai_streams())
def test_of_any_stream_of_chunks_what_is_told_is_what_is_read(source: str, stream: bytes) -> None:
    assert_told(source, stream)


@st.composite
def claude_streams(draw: st.DrawFn) -> bytes:
    """Events of Claude with blocks of every kind that is told, and one that is not, in pieces of any size."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"role": "assistant"}},
        {"type": "ping"},
    ]
    for index, kind in enumerate(
        draw(st.lists(st.sampled_from(["text", "thinking", "tool_use", "server_tool_use"]), max_size=4))
    ):
        key = {"text": "text", "thinking": "thinking"}.get(kind, "partial_json")
        text = draw(some_text)
        pieces = draw(
            cut(text if key != "partial_json" else draw(st.sampled_from(["", "{}", json.dumps({"x": text})])))
        )
        begun = (
            {"id": f"t{index}", "name": "f", "input": {}}
            if key == "partial_json"
            else {key: draw(st.sampled_from(["", "Oh "]))}
        )
        events.append(
            {"type": "content_block_start", "index": index, "content_block": {"type": kind, **begun}}
        )
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": "x", key: piece}}
            for piece in pieces
        ]
        events.append({"type": "content_block_stop", "index": index})
    details = draw(st.none() | st.just({"explanation": "No."}))
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_details": details}})
    events.append({"type": "message_stop"})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)  # fmt: skip


@given(claude_streams())
def test_of_any_stream_of_claudes_what_is_told_is_what_is_read(stream: bytes) -> None:
    assert_told("claude", stream)


def test_thoughts_and_text_of_claude_are_told_apart() -> None:
    message = {
        "type": "message", "role": "assistant", "stop_reason": "end_turn", "stop_sequence": None, "usage": {},
        "content": [
            {"type": "thinking", "thinking": "Hm. So", "signature": "x"}, {"type": "text", "text": "Hello"},
        ],
    }  # fmt: skip
    assert texts(assert_told("claude", b"".join(events_of("claude", message)))) == [
        ("reasoning_content", "Hm."), ("reasoning_content", " So"), ("content", "He"), ("content", "llo"),
    ]  # fmt: skip


def test_a_call_of_claude_without_arguments_has_none_in_the_end() -> None:
    message = {
        "type": "message", "role": "assistant", "stop_reason": "tool_use", "stop_sequence": None, "usage": {},
        "content": [{"type": "tool_use", "id": "t1", "name": "get_time", "input": {}}],
    }  # fmt: skip
    deltas = assert_told("claude", b"".join(events_of("claude", message)))
    assert [delta["delta"]["tool_calls"] for delta in deltas] == [
        [{"index": 0, "id": "t1", "type": "function", "function": {"name": "get_time", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": "{}"}}],
    ]  # fmt: skip


def test_mistrals_chunks_of_thoughts_are_reasoning() -> None:
    def thought(text: str) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    stream = chunks(
        {"role": "assistant", "content": ""},
        thought("Let "),
        thought("me."),
        {"content": "Hel"},
        {"content": "lo"},
    )
    assert texts(assert_told("mistralai", stream)) == [
        ("reasoning_content", "Let "), ("reasoning_content", "me."), ("content", "Hel"), ("content", "lo"),
    ]  # fmt: skip
    _, completion = heard("mistralai", stream)
    assert (completion.text, completion.reasoning) == ("Hello", "Let me.")


def test_references_of_mistral_are_kept_and_not_told() -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    stream = chunks({"content": "It rains"}, {"content": [reference]}, {"content": "."})
    assert texts(assert_told("mistralai", stream)) == [("content", "It rains"), ("content", ".")]
    _, completion = heard("mistralai", stream)
    assert completion.response["choices"][0]["message"]["citations"] == [reference]


@for_each("source", THINKS_ALOUD)
def test_a_block_of_thoughts_in_the_text_is_told_as_reasoning(source: str) -> None:
    stream = chunks(
        *(
            {"content": piece}
            for piece in ("\n<thi", "nk>\nHm", ". \n", "So", "</thi", "nk>\n", "\nHel", "lo ")
        )
    )
    assert texts(assert_told(source, stream)) == [
        ("reasoning_content", "Hm"), ("reasoning_content", "."), ("reasoning_content", " \nSo"), ("content", "Hel"),
        ("content", "lo "),
    ]  # fmt: skip


@for_each("source", ["openai", "deepseek", "ai21", "mistralai"])
def test_elsewhere_it_is_text(source: str) -> None:
    stream = chunks({"content": "<think>Hm</think>"}, {"content": "Hello"})
    assert texts(assert_told(source, stream)) == [("content", "<think>Hm</think>"), ("content", "Hello")]


def test_a_block_behind_reasoning_that_stands_elsewhere_is_text() -> None:
    stream = chunks({"content": " "}, {"reasoning": "Hm"}, {"content": "<think>"}, {"content": "x</think>"})
    assert texts(assert_told("custom", stream)) == [
        ("reasoning_content", "Hm"), ("content", " <think>"), ("content", "x</think>"),
    ]  # fmt: skip


@pytest.mark.parametrize("held", ["<", "  ", "<think"])
def test_what_was_held_back_is_told_at_the_end(held: str) -> None:
    assert texts(assert_told("custom", chunks({"content": held}))) == [("content", held)]


@given(some_text.flatmap(lambda text: st.tuples(st.just(text), cut(text))))
def test_a_text_in_pieces_is_parted_as_the_whole_is(parts: tuple[str, list[str]]) -> None:
    text, pieces = parts
    block = ThinkBlock()
    told = [*map(block.feed, pieces), block.end()]
    reasoning, rest = split_thinking(text)
    assert ("".join(part for part, _ in told), "".join(part for _, part in told)) == (reasoning or "", rest)


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from(["", "x", "<think>", "text", "thinking"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "thinking"]), inner)
    ),
    max_leaves=4,
)
odd_calls = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 1) | odd,
        "id": odd,
        "function": st.fixed_dictionaries({}, optional={"name": odd, "arguments": odd}) | odd,
    },
)
odd_chunks = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content", "reasoning", "reasoning_content", "refusal"), odd),
        "tool_calls": st.lists(odd_calls, max_size=2) | odd,
    },
).map(lambda delta: {"choices": [{"delta": delta}]})


@pytest.mark.fuzz
@given(
    st.tuples(st.just("claude"), st.lists(claude_events, max_size=6))
    | st.tuples(
        st.sampled_from([*THINKS_ALOUD, "mistralai"]), st.lists(odd_chunks | fireworks_events, max_size=6)
    )
)
def test_whatever_a_stream_says_its_deltas_are_ones_or_it_is_broken(stream: tuple[str, list[Any]]) -> None:
    source, events = stream
    end = b'data: {"type": "message_stop"}\n\n' if source == "claude" else b"data: [DONE]\n\n"
    try:
        deltas, _ = heard(
            source, b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + end
        )
    except (BrokenStream, CallFailed):
        return
    put_together(deltas)


# Servers that write chunks in ways of their own


def call(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"id-{name}",
        "type": "function",
        "function": {"name": name, "arguments": f'{{"{name}":1}}'},
        **more,
    }


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([[call("f")], [call("g")]], id="without places"),
        pytest.param([[call("f"), call("g")]], id="without places, at once"),
        pytest.param([[call("f", index=0)], [call("g", index=0)]], id="all at the first place"),
    ],
)
def test_calls_that_come_whole_are_several_whatever_their_places(calls: list[Any]) -> None:
    stream = chunks(*({"tool_calls": some} for some in calls))
    [message] = put_together(assert_told("custom", stream)).values()
    assert [(one["name"], one["arguments"]) for one in message["tool_calls"].values()] == [
        ("f", '{"f":1}'), ("g", '{"g":1}'),
    ]  # fmt: skip


def test_a_new_id_for_every_piece_is_still_one_call() -> None:
    stream = chunks(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]},
        {"tool_calls": [{"index": 0, "id": "b", "function": {"arguments": ":1}"}}]},
    )
    deltas, completion = heard("custom", stream)
    [message] = put_together(deltas).values()
    assert [one["arguments"] for one in message["tool_calls"].values()] == ['{"x":1}']
    assert completion.tool_calls is not None
    assert [one["function"]["arguments"] for one in completion.tool_calls] == ['{"x":1}']


def test_arguments_that_are_no_text_are_told_as_json() -> None:
    assert_told(
        "mistralai", chunks({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]})
    )


def test_a_chunk_that_also_has_the_message_so_far_says_it_once() -> None:
    def chunk(so_far: str, piece: str, finish: str | None = None) -> bytes:
        message = {"role": "assistant", "content": so_far}
        choice = {"index": 0, "message": message, "delta": {"content": piece}, "finish_reason": finish}
        return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"

    stream = chunk("Hel", "Hel") + chunk("Hello", "lo", "stop")
    assert texts(assert_told("perplexity", stream)) == [("content", "Hel"), ("content", "lo")]
    assert heard("perplexity", stream)[1].text == "Hello"


@pytest.mark.parametrize("source", ["perplexity", "electronhub", "custom"])
def test_of_a_gateway_an_answer_that_ended_is_whole_without_a_word_at_the_streams_end(source: str) -> None:
    assert heard(source, chunks({"content": "Hello"}, done=False))[1].text == "Hello"


@for_each("source", GROWING)
def test_an_answer_that_did_not_end_is_cut_off(source: str) -> None:
    begun = b'data: {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}\n\n'
    with pytest.raises(BrokenStream, match="cut off"):
        heard(source, b'data: {"type": "ping"}\n\n' if source == "claude" else begun)


@for_each("source", ["openai", "mistralai", "deepseek", "ai21", "fireworks"])
def test_of_a_source_that_says_so_at_the_end_what_lacks_it_is_cut_off(source: str) -> None:
    with pytest.raises(BrokenStream, match="cut off"):
        heard(source, chunks({"content": "Hello"}, done=False))


def test_an_answer_in_the_plain_shape_of_openai_is_told_to_the_letter() -> None:
    whole = openai_answer({"content": "Hello there"})
    assert assert_told("openai", b"".join(events_of("fireworks", whole))) == [
        {"index": 0, "delta": {"content": "Hello"}},
        {"index": 0, "delta": {"content": " there"}},
    ]
