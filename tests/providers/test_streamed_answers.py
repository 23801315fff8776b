"""Answers that come as streams: when they are asked for, and that they are put together to what a whole one says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_testing import (
    MODELS,
    SOURCES,
    answer,
    chat,
    connection,
    exchanges,
    failure,
    openai_answer,
    read,
    sent,
)
from stream_writing import MOST_UNSTREAMED, STREAMING, assembly_of, error_event, events_of, filled

from chatq_worker.failures import CallFailed
from chatq_worker.providers import ADAPTERS, Assembly, BrokenStream
from for_each import for_each

ANSWERS = [
    pytest.param(source, exchange["response"]["json"], id=f"{source}-{exchange['name']}")
    for source, exchange in exchanges("response")
    if source in STREAMING
]
ERRORS = [
    pytest.param(source, exchange, id=f"{source}-{exchange['name']}")
    for source, exchange in exchanges("error")
    if source in STREAMING
]


def assembly(source: str) -> Assembly:
    """A new one."""
    return assembly_of(source, chat(source, params={"max_tokens": 30_000}), connection(source))


def assembled(source: str, *events: bytes) -> bytes:
    """The body that a stream makes."""
    made = assembly(source)
    assert filled(made, b"".join(events)), "the stream does not say that the answer is whole"
    return made.whole()


def streams(source: str, model: str, cap: int | None) -> bool:
    """Whether an answer with this cap is asked for as a stream."""
    params = {} if cap is None else {"max_tokens": cap}
    prepared = (
        ADAPTERS[source].request(chat(source, model=model, params=params), connection(source), "key").request
    )
    asked = orjson.loads(prepared.body).get("stream") is True
    assert (prepared.assembly is not None) == asked
    return asked


@for_each(
    ("source", "model", "most"),
    [
        ("claude", "claude-haiku-4-5", 21_333),
        ("claude", "claude-opus-5-5", 21_333),
        ("claude", "an-alias", 21_333),
        ("claude", "claude-opus-4-1-20250805", 8192),
        ("claude", "claude-opus-4-0", 8192),
        ("fireworks", "accounts/fireworks/models/deepseek-v4-pro", 4096),
    ],
)
def test_an_answer_with_a_higher_cap_than_comes_as_a_whole_is_streamed(
    source: str, model: str, most: int
) -> None:
    assert not streams(source, model, most)
    assert streams(source, model, most + 1)


def test_the_cap_that_claude_is_sent_when_the_job_names_none_counts_too() -> None:
    assert streams("claude", "claude-opus-4-1", None)
    assert not streams("claude", "claude-haiku-4-5", None)


@for_each("source", [source for source in SOURCES if source not in STREAMING])
def test_the_other_sources_answer_as_a_whole_however_long(source: str) -> None:
    assert not streams(source, MODELS[source], 200_000)


def test_a_stream_of_fireworks_is_asked_to_count_its_tokens() -> None:
    body = sent("fireworks", params={"max_tokens": 5000}).body
    assert body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in sent("claude", params={"max_tokens": 30_000}).body


@pytest.mark.parametrize("source", STREAMING)
def test_a_jobs_own_word_on_streaming_does_not_matter(source: str) -> None:
    request = sent(source, params={"max_tokens": MOST_UNSTREAMED[source], "stream": True})
    assert "stream" not in request.body
    assert request.says("stream", "as a whole")


@for_each(("source", "body"), ANSWERS)
def test_a_streamed_answer_is_to_the_byte_what_it_would_be_as_a_whole(
    source: str, body: dict[str, Any]
) -> None:
    assert assembled(source, *events_of(source, body)) == orjson.dumps(body)


MANY_BLOCKS: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Let me see \u2026", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://a.example"}]},
        {
            "type": "text",
            "text": "It rains \U0001f327.",
            "citations": [
                {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "x"},
                {"type": "web_search_result_location", "url": "https://b.example", "title": "B", "cited_text": "y"},
            ],
        },
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo", "days": [1, 2]}},
        {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 40,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 0},
        "output_tokens": 60,
        "server_tool_use": {"web_search_requests": 1},
        "service_tier": "standard",
    },
}  # fmt: skip


ANSWERS_OF = {"claude": MANY_BLOCKS, "fireworks": openai_answer({"content": "Hello there"})}
"""An answer of each source that streams."""


def test_every_kind_of_claudes_blocks_is_put_together() -> None:
    body = assembled("claude", *events_of("claude", MANY_BLOCKS))

    assert body == orjson.dumps(MANY_BLOCKS)
    completion, whole = read("claude", body), read("claude", MANY_BLOCKS)
    assert completion.text == "It rains \U0001f327."
    assert completion.reasoning == "Let me see \u2026"
    assert (completion.usage, completion.tool_calls) == (whole.usage, whole.tool_calls)
    assert completion.response["choices"] == whole.response["choices"]


def test_choices_calls_and_log_probabilities_are_put_together_by_their_places() -> None:
    def call(index: int) -> dict[str, Any]:
        function = {"name": f"f{index}", "arguments": '{"x": "\u00e9"}'}
        return {"index": index, "id": f"call_{index}", "type": "function", "function": function}

    body = openai_answer({"content": "Hello there"})
    body["choices"][0]["logprobs"] = {"content": [{"token": "Hello"}, {"token": " there"}]}
    message = {"role": "assistant", "content": None, "tool_calls": [call(0), call(1)]}
    body["choices"].append({"index": 1, "message": message, "finish_reason": "tool_calls"})

    assert orjson.loads(assembled("fireworks", *events_of("fireworks", body))) == body


def test_the_arguments_of_a_call_that_the_cap_cut_through_stay_the_text_that_came() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"city": "Os'}
    events = events_of("claude", {**MANY_BLOCKS, "content": [block], "stop_reason": "max_tokens"})
    delta = orjson.dumps({"type": "content_block_delta", "index": 0, "delta": piece})
    place = next(place for place, event in enumerate(events) if b"content_block_stop" in event)
    events.insert(place, b"data: " + delta + b"\n\n")

    completion = read("claude", assembled("claude", *events))

    assert completion.finish_reason == "length"
    assert completion.tool_calls is not None
    assert completion.tool_calls[0]["function"]["arguments"] == '{"city": "Os'


@pytest.mark.parametrize("source", STREAMING)
def test_a_stream_that_ends_before_its_last_event_is_cut_off(source: str) -> None:
    events = events_of(source, ANSWERS_OF[source])
    for count in range(len(events)):
        cut = assembly(source)
        assert not filled(cut, b"".join(events[:count]))
        with pytest.raises(BrokenStream, match="cut off"):
            cut.whole()


@pytest.mark.parametrize("source", STREAMING)
def test_a_stream_that_ends_within_an_event_is_no_answer(source: str) -> None:
    [*_, before_last, last] = events_of(source, ANSWERS_OF[source])
    for cut in (before_last[:-9], last[:-4]):
        with pytest.raises(BrokenStream):
            assembled(source, cut)


OTHER_IN_A_STREAM = {
    # The sample's type is not the one that the documents give with a 413.
    ("claude", "error_413"): "invalid_request",
}


@for_each(("source", "exchange"), ERRORS)
def test_an_error_in_the_middle_of_a_stream_is_the_failure_that_it_is_with_a_status(
    source: str, exchange: dict[str, Any]
) -> None:
    body, status = exchange["response"]["json"], exchange["response"]["status"]
    [first, *_] = events_of(source, ANSWERS_OF[source])

    failed = failure(source, assembled(source, first, error_event(source, body)), 200)

    alone = failure(source, body, status)
    assert failed.code == OTHER_IN_A_STREAM.get((source, exchange["name"]), alone.code)
    assert failed.kind == alone.kind
    assert failed.provider_message == alone.provider_message
    assert failed.http_status == 200


def test_what_comes_after_an_error_or_the_end_is_nothing() -> None:
    events = events_of("claude", MANY_BLOCKS)
    made = assembly("claude")
    assert filled(made, b"".join([*events, b"data: nonsense\n\n"]))
    assert made.whole() == orjson.dumps(MANY_BLOCKS)


@for_each(
    ("source", "event"),
    [
        ("claude", b"nonsense"),
        ("claude", b"[]"),
        ("claude", b'{"type": "message_start", "message": NaN}'),
        ("claude", b'{"type": "message_start", "message": "\xff"}'),
        ("claude", b'{"type": "message_start"}'),
        ("claude", b'{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}'),
        ("claude", b'{"type": "content_block_start", "index": 0}'),
        ("claude", b'{"type": "content_block_start", "index": -1, "content_block": {}}'),
        ("claude", b'{"type": "content_block_start", "index": true, "content_block": {}}'),
        ("claude", b'{"type": "content_block_start", "index": 1000000000, "content_block": {}}'),
        ("claude", b'{"type": "content_block_delta", "index": 0, "delta": {"text": "x"}}'),
        ("fireworks", b"nonsense"),
        ("fireworks", b'{"choices": [7]}'),
        ("fireworks", b'{"choices": 7}'),
        ("fireworks", b'{"choices": [{"index": "0"}]}'),
        ("fireworks", b'{"choices": [{"index": 0, "delta": "x"}]}'),
        ("fireworks", b'{"choices": [{"index": 0, "delta": {"tool_calls": [null]}}]}'),
        ("fireworks", b'{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": 3}]}}]}'),
    ],
)
def test_an_event_that_makes_no_sense_makes_the_answer_a_bad_one(source: str, event: bytes) -> None:
    with pytest.raises(BrokenStream):
        filled(assembly(source), b"data: " + event + b"\n\n")


def test_a_stream_without_a_single_choice_is_a_bad_answer() -> None:
    assert failure("fireworks", assembled("fireworks", b"data: [DONE]\n\n"), 200).code == "bad_answer"


@pytest.mark.parametrize("source", STREAMING)
def test_the_size_of_what_is_kept_grows_with_the_answer_and_not_with_what_surrounds_it(source: str) -> None:
    made = assembly(source)
    ping = b'data: {"type": "ping"}\n\n: keep-alive\n\n'
    if source == "claude":
        filled(made, b"".join(events_of(source, MANY_BLOCKS)[:1]))
        filled(
            made, b'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}\n\n'
        )
        piece = b'data: {"type": "content_block_delta", "index": 0, "delta": {"text": "%b"}}\n\n'
    else:
        ping = b": keep-alive\n\n"
        piece = b'data: {"id": "x", "choices": [{"index": 0, "delta": {"content": "%b"}, "finish_reason": null}]}\n\n'
        filled(made, piece % b"")
    before = made.size
    filled(made, ping * 1000)
    assert made.size == before
    filled(made, piece % b"0123456789" * 1000)
    assert made.size == before + 10_000


@pytest.mark.parametrize("source", STREAMING)
def test_nothing_that_can_be_added_to_an_answer_is_kept_without_being_counted(source: str) -> None:
    made, kilobyte = assembly(source), "x" * 1000
    before: dict[str, Any] = {"message": {"type": "message"}}
    if source == "claude":
        filled(made, b"data: " + orjson.dumps({"type": "message_start", **before}) + b"\n\n")
    for number in range(100):
        for event in GROWTH[source](number, kilobyte):
            filled(made, b"data: " + orjson.dumps(event) + b"\n\n")
    assert made.size > 100 * 1000 * GROWN[source]


def _claude_growth(number: int, text: str) -> list[dict[str, Any]]:
    block = {"type": "text", "text": text}
    return [
        {"type": "content_block_start", "index": number, "content_block": block},
        {"type": "content_block_delta", "index": number, "delta": {"citation": {"cited_text": text}}},
        {"type": "content_block_delta", "index": number, "delta": {f"key{number}": [text]}},
        {"type": "message_delta", "delta": {f"key{number}": text}},
    ]


def _fireworks_growth(number: int, text: str) -> list[dict[str, Any]]:
    call = {"index": number, "id": text, "function": {"name": text, "arguments": text}}
    deltas = [{"tool_calls": [call]}, {f"key{number}": text}]
    choices = [{"index": 0, "delta": delta} for delta in deltas]
    choices += [{"index": 0, "logprobs": {"content": [text]}}, {"index": 0, f"key{number}": text}]
    return [{"choices": [choice]} for choice in choices] + [{f"key{number}": text}]


GROWTH = {"claude": _claude_growth, "fireworks": _fireworks_growth}
GROWN = {"claude": 4, "fireworks": 7}
"""How many texts one round of growth brings."""

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["text", "error", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "x", "index"]), inner)
    ),
    max_leaves=4,
)
claude_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "message_delta", "error", "ping"]
        )
    },
    optional={
        "index": st.integers(-1, 2) | junk,
        "message": st.just({"usage": {"input_tokens": 1}}) | junk,
        "content_block": st.just({"type": "text", "text": ""}) | junk,
        "delta": st.just({"type": "text_delta", "text": "x"}) | st.just({"partial_json": "{"}) | junk,
        "usage": st.just({"output_tokens": 3}) | junk,
        "error": junk,
    },
)
fireworks_events = st.fixed_dictionaries(
    {},
    optional={
        "choices": junk
        | st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(0, 1)},
                optional={
                    "delta": st.just({"content": "x"}) | st.just({"tool_calls": [{"index": 0}]}) | junk,
                    "finish_reason": junk,
                    "logprobs": st.just({"content": [1]}) | junk,
                },
            ),
            max_size=2,
        ),
        "error": junk,
        "usage": junk,
        "id": junk,
    },
)
streams_of_junk = st.tuples(st.just("claude"), st.lists(claude_events, max_size=6)) | st.tuples(
    st.just("fireworks"), st.lists(fireworks_events, max_size=6)
)


@pytest.mark.fuzz
@given(streams_of_junk)
def test_whatever_a_stream_says_it_is_a_completion_or_a_failure(stream: tuple[str, list[Any]]) -> None:
    source, events = stream
    end = {"claude": b'data: {"type": "message_stop"}\n\n', "fireworks": b"data: [DONE]\n\n"}[source]
    made = assembly(source)
    try:
        filled(made, b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + end)
        body = made.whole()
    except BrokenStream:
        return
    try:
        completion = ADAPTERS[source].read(answer(body), chat(source), connection(source))
    except CallFailed:
        return
    orjson.dumps(completion.response)
