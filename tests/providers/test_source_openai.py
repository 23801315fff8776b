"""What is special about OpenAI: reasoning models, and what its strict reading refuses."""

from __future__ import annotations

from typing import Any

from provider_testing import Sent, sent

from for_each import for_each

REASONING = [
    "o1",
    "o3",
    "o3-mini",
    "o4-mini",
    "o4-mini-2025-04-16",
    "gpt-5",
    "gpt-5-mini-2025-08-07",
    "gpt-5.2",
    "gpt-6-sol",
]
PLAIN = [
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-3.5-turbo",
    "chatgpt-4o-latest",
    "gpt-5-chat-latest",
    "ft:gpt-4o-mini-2024-07-18:org::id",
]


def openai(model: str, **params: Any) -> Sent:
    return sent("openai", model=model, params=params)


@for_each("model", REASONING)
@for_each(
    ("name", "value"),
    [
        ("temperature", 0.3),
        ("top_p", 0.5),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("logprobs", True),
        ("logit_bias", {"1": 1}),
    ],
)
def test_a_reasoning_model_gets_no_sampling_parameters(model: str, name: str, value: Any) -> None:
    request = openai(model, **{name: value})

    assert name not in request.body
    assert request.says(name, "left out")


@for_each("model", REASONING)
def test_a_temperature_of_1_is_what_reasoning_models_have(model: str) -> None:
    assert openai(model, temperature=1).body["temperature"] == 1


@for_each("model", ["o3", "o4-mini", "gpt-5-mini", "gpt-5.2"])
def test_stop_is_left_out_where_the_model_refuses_it(model: str) -> None:
    request = openai(model, stop="END")

    assert "stop" not in request.body
    assert request.says("stop", "left out")


@for_each("model", ["o1", "o3-mini", *PLAIN])
def test_stop_is_sent_to_the_others(model: str) -> None:
    assert openai(model, stop="END").body["stop"] == ["END"]


def test_more_than_four_stops_are_cut_with_a_warning() -> None:
    request = openai("gpt-4o", stop=["a", "b", "c", "d", "e"])

    assert request.body["stop"] == ["a", "b", "c", "d"]
    assert request.says("stop", "4")


@for_each("model", PLAIN)
def test_a_model_that_does_not_reason_gets_no_effort(model: str) -> None:
    request = openai(model, reasoning_effort="low", verbosity="low")

    assert not {"reasoning_effort", "verbosity"} & set(request.body)
    assert request.says("reasoning_effort")
    assert request.says("verbosity")


@for_each(
    ("model", "wanted", "given"),
    [
        ("o3", "minimal", "low"),
        ("o3", "xhigh", "high"),
        ("gpt-5", "minimal", "minimal"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5.2", "minimal", "low"),
        ("gpt-5.2", "xhigh", "xhigh"),
        ("gpt-5.2", "max", "xhigh"),
        ("gpt-nope", "max", "max"),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_has(model: str, wanted: str, given: str) -> None:
    request = openai(model, reasoning_effort=wanted)

    assert request.body["reasoning_effort"] == given
    assert request.says("reasoning_effort", given) is (wanted != given)


def test_an_effort_that_is_none_is_left_out_with_a_warning() -> None:
    request = openai("gpt-5.2", reasoning_effort="enormous")

    assert "reasoning_effort" not in request.body
    assert request.says("reasoning_effort", "left out")


def test_a_model_that_is_told_not_to_reason_takes_sampling_parameters() -> None:
    request = openai("gpt-5.2", reasoning_effort="none", temperature=0.3, top_p=0.5)

    assert (request.body["temperature"], request.body["top_p"]) == (0.3, 0.5)
    assert request.warnings == []


@for_each(
    ("name", "value", "given"),
    [("temperature", 3, 2), ("top_p", 1.5, 1), ("presence_penalty", -3, -2), ("frequency_penalty", 9, 2)],
)
def test_a_number_out_of_range_is_the_nearest_one_with_a_warning(
    name: str, value: float, given: float
) -> None:
    request = openai("gpt-4o", **{name: value})

    assert request.body[name] == given
    assert request.says(name, "takes")


def test_top_logprobs_go_with_logprobs_only() -> None:
    assert openai("gpt-4o", logprobs=True, top_logprobs=5).body["top_logprobs"] == 5
    assert openai("gpt-4o", top_logprobs=5).says("top_logprobs", "left out")


def test_a_schema_gets_the_name_that_it_must_have() -> None:
    nameless = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}

    body = sent("openai", response_format=nameless).body

    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


def test_tools_pass_as_they_are() -> None:
    tools = [
        {"type": "function", "function": {"name": "f", "strict": True}},
        {"type": "custom", "custom": {"name": "g"}},
    ]

    assert sent("openai", tools=tools).body["tools"] == tools


def test_a_spoken_answer_goes_back_by_its_id_and_a_refusal_as_it_is() -> None:
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "audio": {"id": "a1", "data": "AAAA", "transcript": "x"}},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": None, "refusal": "No.", "audio": None, "annotations": []},
        {"role": "user", "content": "Why?"},
    ]

    messages = sent("openai", history).body["messages"]

    assert messages[1] == {"role": "assistant", "content": None, "audio": {"id": "a1"}}
    assert messages[3] == {"role": "assistant", "content": None, "refusal": "No."}
