"""What is special about Claude: its generations, thinking, prefill, and what its history must look like."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import CLOCK, PNG, WEATHER, Sent, read, roles, sent

from chatq_worker.providers.chat_messages import CONTINUE, NO_RESULT

VERSIONS = {
    "claude-3-opus-20240229": "2023-06-01",
    "claude-3-5-haiku-20241022": "2023-06-01",
    "claude-haiku-4-5-20251001": "2023-06-01",
    "claude-opus-4-7": "2023-06-01",
    "claude-sonnet-5": "2026-10-21",
    "claude-opus-5-5": "2026-10-21",
    "claude-fable-6": "2026-10-21",
    "my-alias": "2023-06-01",
}


def claude(model: str, messages: Any = "Hi", **job: Any) -> Sent:
    return sent("claude", messages, model=model, **job)


@pytest.mark.parametrize(("model", "version"), VERSIONS.items())
def test_the_version_of_the_api_goes_by_the_model(model: str, version: str) -> None:
    assert claude(model).headers["anthropic-version"] == version


@pytest.mark.parametrize("model", VERSIONS)
def test_max_tokens_is_always_sent_and_small_enough_for_one_answer(model: str) -> None:
    assert 4096 <= claude(model).body["max_tokens"] <= 21_300


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-opus-20240229", 4096),
        ("claude-3-5-haiku-20241022", 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-opus-5-5", 128_000),
    ],
)
def test_a_cap_above_the_models_is_lowered_with_a_warning(model: str, most: int) -> None:
    request = claude(model, params={"max_tokens": 500_000})

    assert request.body["max_tokens"] == most
    assert request.says("max_tokens", str(most))


@pytest.mark.parametrize(
    "model",
    ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-5-5", "claude-mythos-preview"],
)
@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_newer_models_get_no_sampling_parameters(model: str, name: str) -> None:
    request = claude(model, params={name: 1})

    assert name not in request.body
    assert request.says(name, "left out")


@pytest.mark.parametrize(
    "model", ["claude-3-5-haiku-20241022", "claude-sonnet-4-0", "claude-haiku-4-5", "claude-opus-4-6"]
)
@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_older_models_get_them(model: str, name: str) -> None:
    assert claude(model, params={name: 1}).body[name] == 1


def test_of_temperature_and_top_p_models_from_opus_4_1_on_take_one() -> None:
    params = {"temperature": 0.5, "top_p": 0.9}

    assert {"temperature", "top_p"} <= set(claude("claude-sonnet-4-0", params=params).body)
    request = claude("claude-haiku-4-5", params=params)
    assert request.body["temperature"] == 0.5
    assert "top_p" not in request.body
    assert request.says("top_p", "left out")


def test_a_temperature_above_1_is_lowered_with_a_warning() -> None:
    request = claude("claude-haiku-4-5", params={"temperature": 1.5})

    assert request.body["temperature"] == 1
    assert request.says("temperature", "0 to 1")


# --- prefill ---

PREFILL = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure, \n"}]


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-opus-20240229",
        "claude-3-7-sonnet-20250219",
        "claude-sonnet-4-0",
        "claude-haiku-4-5",
        "claude-opus-4-5",
    ],
)
def test_models_up_to_4_5_continue_a_prefill_which_ends_in_no_white_space(model: str) -> None:
    last = claude(model, PREFILL).body["messages"][-1]

    assert last == {"role": "assistant", "content": [{"type": "text", "text": "Sure,"}]}


@pytest.mark.parametrize(
    "model", ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-7", "claude-opus-5-5", "my-alias"]
)
def test_later_models_are_asked_to_go_on_instead(model: str) -> None:
    request = claude(model, PREFILL)

    assert roles(request.body["messages"]) == ["user", "assistant", "user"]
    assert request.body["messages"][-1]["content"] == [{"type": "text", "text": CONTINUE}]
    assert request.says("prefill")


def test_a_model_that_thinks_continues_no_prefill() -> None:
    request = claude("claude-haiku-4-5", PREFILL, params={"reasoning_effort": "low"})

    assert request.body["messages"][-1]["role"] == "user"


# --- thinking ---

EFFORTS = [
    ("claude-haiku-4-5", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-haiku-4-5", "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ("claude-haiku-4-5", "medium", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
    ("claude-haiku-4-5", "high", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
    ("claude-haiku-4-5", "none", {}),
    ("claude-opus-4-6", "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    ("claude-opus-4-6", "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    (
        "claude-opus-5-5",
        "xhigh",
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
    ),
    (
        "claude-opus-5-5",
        "minimal",
        {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
    ),
    ("claude-opus-5-5", "none", {}),
    ("claude-3-5-haiku-20241022", "high", {}),
]


@pytest.mark.parametrize(("model", "effort", "expected"), EFFORTS)
def test_an_effort_becomes_what_the_models_generation_takes(
    model: str, effort: str, expected: dict[str, Any]
) -> None:
    body = claude(model, params={"reasoning_effort": effort}).body

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


def test_a_model_that_does_not_think_says_so() -> None:
    assert claude("claude-3-5-haiku-20241022", params={"reasoning_effort": "high"}).says("reasoning_effort")


def test_a_budget_is_an_effort_for_models_that_refuse_budgets() -> None:
    request = claude("claude-opus-5-5", params={"thinking": {"type": "enabled", "budget_tokens": 4000}})

    assert request.body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert request.body["output_config"] == {"effort": "medium"}
    assert request.says("thinking", "adaptive")


def test_an_effort_is_a_budget_for_models_that_know_no_effort() -> None:
    request = claude(
        "claude-haiku-4-5", params={"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}
    )

    assert request.body["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert request.says("thinking", "budget")


def test_opus_4_6_takes_a_budget_too() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}

    assert claude("claude-opus-4-6", params={"thinking": thinking}).body["thinking"] == thinking


@pytest.mark.parametrize(
    ("cap", "budget"), [(20_000, 8192), (8192, 4096), (4000, 2000), (1500, 1024), (1025, 1024)]
)
def test_a_budget_fits_below_the_cap(cap: int, budget: int) -> None:
    body = claude("claude-haiku-4-5", params={"reasoning_effort": "high", "max_tokens": cap}).body

    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (cap, budget)


def test_a_cap_without_room_for_thoughts_leaves_the_thinking_out() -> None:
    request = claude("claude-haiku-4-5", params={"reasoning_effort": "high", "max_tokens": 1024})

    assert "thinking" not in request.body
    assert request.says("thinking", "max_tokens")


def test_while_thinking_no_sampling_and_no_forced_tool() -> None:
    request = claude(
        "claude-haiku-4-5",
        params={"reasoning_effort": "low", "temperature": 0.3, "top_k": 5},
        tools=[WEATHER],
        tool_choice="required",
    )

    assert not {"temperature", "top_k"} & set(request.body)
    assert request.body["tool_choice"] == {"type": "auto"}
    for name in ("temperature", "top_k", "tool_choice"):
        assert request.says(name)


@pytest.mark.parametrize(
    "model", ["claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-1", "claude-mythos-5-2"]
)
def test_models_that_cannot_be_made_to_call_a_tool_may_call_it(model: str) -> None:
    request = claude(model, tools=[WEATHER], tool_choice="required")

    assert request.body["tool_choice"] == {"type": "auto"}
    assert request.says("tool_choice", "auto")


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5", "claude-fable-5"])
def test_their_siblings_must(model: str) -> None:
    assert claude(model, tools=[WEATHER], tool_choice="required").body["tool_choice"] == {"type": "any"}


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


# --- history ---


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


@pytest.mark.parametrize(
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


# --- other parameters ---


@pytest.mark.parametrize(
    ("given", "sent_as"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)]
)
def test_service_tiers_in_claudes_words(given: str, sent_as: str | None) -> None:
    request = claude("claude-haiku-4-5", params={"service_tier": given})

    assert request.body.get("service_tier") == sent_as
    assert request.says("service_tier") is (sent_as is None)


def test_of_metadata_the_user_is_taken() -> None:
    request = claude("claude-haiku-4-5", params={"metadata": {"user_id": "u1", "team": "x"}})

    assert request.body["metadata"] == {"user_id": "u1"}
    assert request.says("metadata")


def test_stop_sequences_of_white_space_are_refused_and_left_out() -> None:
    request = claude("claude-haiku-4-5", params={"stop": ["\n", "END"]})

    assert request.body["stop_sequences"] == ["END"]
    assert request.says("stop", "white space")


def test_one_tool_at_a_time() -> None:
    body = claude("claude-haiku-4-5", tools=[WEATHER], params={"parallel_tool_calls": False}).body

    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_tools_of_claudes_own_pass_as_they_are() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}

    assert claude("claude-haiku-4-5", tools=[search]).body["tools"] == [search]


def test_a_schema_is_asked_for_in_words_of_models_that_take_none() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}

    request = claude("claude-sonnet-4-0", response_format=wanted)

    assert "output_config" not in request.body
    assert '{"type":"object"}' in request.body["system"][0]["text"]


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
