"""What a job asks of a token limit, as it is estimated before the call."""

from __future__ import annotations

from typing import Any

from chatq.contract.job import Job
from chatq.contract.token_estimate import longest_answer, prompt_size, weight
from for_each import for_each


def size_of(*messages: dict[str, Any], **fields: Any) -> int:
    return prompt_size(Job.parse({"connection": "demo", "messages": list(messages), **fields}))


def test_the_size_of_a_prompt_is_its_text_in_bytes_and_a_little_for_each_message() -> None:
    assert prompt_size(Job.parse({"connection": "demo", "prompt": "x" * 400})) == 416
    assert size_of({"role": "system", "content": "x" * 100}, {"role": "user", "content": "x" * 300}) == 432


def test_text_in_another_script_weighs_by_its_bytes() -> None:
    assert prompt_size(Job.parse({"connection": "demo", "prompt": "\u4f60\u597d"})) == 16 + 6


def test_an_image_weighs_the_same_however_many_bytes_it_has() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    text = {"type": "text", "text": "x" * 84}
    assert size_of({"role": "user", "content": [text, image]}) == 16 + 84 + 3500


def test_tools_and_calls_of_tools_weigh_by_their_json() -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    bare = size_of({"role": "user", "content": "hi"})
    assert size_of({"role": "user", "content": "hi"}, tools=[tool]) == bare + 48
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert size_of({"role": "assistant", "content": None, "tool_calls": [call]}) == 16 + 74


@for_each(
    ("params", "cap"),
    [
        ({}, 0),
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 60, "max_tokens": 50}, 60),
        ({"max_tokens": 50, "n": 3}, 150),
        ({"max_tokens": "50"}, 0),
        ({"max_tokens": True}, 0),
        ({"max_tokens": -1}, 0),
        ({"max_tokens": 50, "n": 0}, 50),
    ],
)
def test_the_longest_answer_is_what_the_parameters_allow_all_choices_together(
    params: dict[str, Any], cap: int
) -> None:
    assert longest_answer(params) == cap


def test_in_line_a_job_weighs_its_prompt_and_its_longest_answer() -> None:
    assert weight(350, 50) == 150
    assert weight(350, 0) == 100 + 512
