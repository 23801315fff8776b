"""What a history must look like for Claude, and what its answers keep."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import CLOCK, PNG, Sent, read, sent

from chatq_worker.providers.chat_messages import NO_RESULT
from for_each import for_each


def claude(model: str, messages: Any = "Hi", **job: Any) -> Sent:
    return sent("claude", messages, model=model, **job)


# --- history ---
def test_thoughts_go_back_unchanged_before_the_text() -> None:
    thought = {"type": "thinking", "thinking": "2+2", "signature": "c2ln"}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "4", "reasoning_content": "2+2", "thinking_blocks": [thought]},
        {"role": "user", "content": "More"},
    ]

    turn = claude("claude-opus-5-5", history).body["messages"][1]

    assert turn == {"role": "assistant", "content": [thought, {"type": "text", "text": "4"}]}


def test_the_thoughts_of_an_answer_are_kept_for_that() -> None:
    blocks = [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "4"}]

    completion = read("claude", {"content": blocks, "stop_reason": "end_turn"})

    message = completion.response["choices"][0]["message"]
    assert message["thinking_blocks"] == blocks[:1]
    assert completion.text == "4"


def test_text_beside_a_call_is_kept() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ]

    turn = claude("claude-haiku-4-5", history, tools=[CLOCK]).body["messages"][1]

    assert [block["type"] for block in turn["content"]] == ["text", "tool_use"]


def test_a_history_with_calls_names_its_tools_when_the_job_offers_none() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ]

    body = claude("claude-haiku-4-5", history).body

    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "none"}


def test_a_call_without_a_result_gets_one_that_says_so() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    messages = claude(
        "claude-haiku-4-5", [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]
    ).body["messages"]

    assert messages[-1]["content"] == [{"type": "tool_result", "tool_use_id": "c1", "content": NO_RESULT}]


def test_a_result_without_a_call_is_the_users_words() -> None:
    messages = claude("claude-haiku-4-5", [{"role": "tool", "tool_call_id": "c9", "content": "A"}]).body[
        "messages"
    ]

    assert messages == [{"role": "user", "content": [{"type": "text", "text": "A"}]}]


def test_a_result_that_came_late_moves_up_to_its_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "user", "content": "Hurry."},
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ]

    last = claude("claude-haiku-4-5", history).body["messages"][-1]

    assert last["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "A"},
        {"type": "text", "text": "Hurry."},
    ]


def test_ids_of_other_sources_are_mapped_the_same_way_in_calls_and_results() -> None:
    call = {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "A"},
    ]

    messages = claude("claude-haiku-4-5", history).body["messages"]

    use, result = messages[1]["content"][0]["id"], messages[2]["content"][0]["tool_use_id"]
    assert use == result
    assert use.replace("_", "").isalnum()


@for_each(
    ("arguments", "expected"),
    [("", {}), ("not json", {"arguments": "not json"}), ("[1]", {"arguments": [1]}), ({"x": 1}, {"x": 1})],
)
def test_arguments_that_are_no_object_are_not_lost(arguments: Any, expected: dict[str, Any]) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}

    messages = claude(
        "claude-haiku-4-5", [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]
    ).body["messages"]

    assert messages[1]["content"][0]["input"] == expected


def test_openais_older_function_calls_are_tool_calls() -> None:
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "A"},
    ]

    messages = claude("claude-haiku-4-5", history).body["messages"]

    assert messages[1]["content"][0]["type"] == "tool_use"
    assert messages[2]["content"][0]["tool_use_id"] == messages[1]["content"][0]["id"]


def test_empty_turns_vanish_and_neighbours_are_one() -> None:
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "  "},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
        {"role": "user", "content": "b"},
    ]

    assert claude("claude-haiku-4-5", history).body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


def test_a_pdf_is_a_document() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}

    content = claude("claude-haiku-4-5", [{"role": "user", "content": [part]}]).body["messages"][0]["content"]

    assert content == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            "title": "a.pdf",
        }
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AAA1", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "ftp://x.test/a.png"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ],
)
def test_a_part_that_cannot_be_taken_is_left_out_with_a_warning(part: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "Hi"}, part]

    request = claude("claude-haiku-4-5", [{"role": "user", "content": content}])

    assert request.body["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert request.says("left out")


def test_an_image_in_a_tool_result_is_an_image() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
    ]

    block = claude("claude-haiku-4-5", history).body["messages"][2]["content"][0]

    assert block["content"][0]["source"] == {"type": "base64", "media_type": "image/png", "data": "AAA1"}


# --- answers ---


def test_citations_of_web_pages_are_annotations_and_all_are_kept() -> None:
    cited = {"type": "web_search_result_location", "url": "https://x.test", "title": "X", "cited_text": "y"}
    blocks = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "text", "text": "Rain "},
        {"type": "text", "text": "falls.", "citations": [cited]},
    ]

    completion = read("claude", {"content": blocks, "stop_reason": "end_turn"})

    message = completion.response["choices"][0]["message"]
    assert completion.text == "Rain falls."
    assert message["citations"] == [cited]
    assert message["content_blocks"] == blocks[:1]
    assert message["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 5, "end_index": 11, "url": "https://x.test", "title": "X"},
        }
    ]


def test_a_refusal_with_an_explanation_is_told_in_its_words() -> None:
    body = {
        "content": [],
        "stop_reason": "refusal",
        "stop_details": {"type": "refusal", "category": "cyber", "explanation": "Not this."},
    }

    completion = read("claude", body)

    assert (completion.text, completion.finish_reason) == ("Not this.", "content_filter")
    assert completion.response["choices"][0]["stop_details"]["category"] == "cyber"


def test_the_stop_sequence_that_was_met_is_kept() -> None:
    body = {
        "content": [{"type": "text", "text": "x"}],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
    }

    assert read("claude", body).response["choices"][0]["stop_sequence"] == "END"


def test_the_prompt_counts_what_the_cache_read_and_wrote() -> None:
    usage = {
        "input_tokens": 3,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 5,
    }

    completion = read("claude", {"content": [], "stop_reason": "end_turn", "usage": usage})

    assert (completion.usage.prompt_tokens, completion.usage.total_tokens) == (123, 128)
    assert completion.usage.cached_tokens == 100
    assert completion.response["usage"]["cache_creation_input_tokens"] == 20
