"""What is kept of an answer in OpenAI's shape, which most sources speak."""

from __future__ import annotations

from provider_testing import SOURCES, openai_answer, read

from for_each import for_each

OPENAI_SHAPED = [source for source in SOURCES if source not in ("claude", "cohere", "perplexity")]


@for_each("source", [s for s in OPENAI_SHAPED if s != "openai"])
@for_each("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_either_name(source: str, name: str) -> None:
    completion = read(source, openai_answer({"content": "4", name: "2+2"}))

    assert (completion.text, completion.reasoning) == ("4", "2+2")
    assert completion.response["choices"][0]["message"]["reasoning_content"] == "2+2"


@for_each("source", ["fireworks", "electronhub", "custom"])
@for_each(
    ("content", "text", "reasoning"),
    [
        ("<think>\n2+2\n</think>\n4", "4", "2+2"),
        ("  <think>2+2</think>4", "4", "2+2"),
        ("<think>2+", "", "2+"),
        ("4 <think>no</think>", "4 <think>no</think>", None),
    ],
)
def test_a_leading_think_block_is_reasoning(
    source: str, content: str, text: str, reasoning: str | None
) -> None:
    completion = read(source, openai_answer({"content": content}))

    assert (completion.text, completion.reasoning) == (text, reasoning)


def test_openai_itself_thinks_in_no_text() -> None:
    assert read("openai", openai_answer({"content": "<think>x</think>y"})).text == "<think>x</think>y"


@for_each("source", OPENAI_SHAPED)
def test_arguments_that_came_as_an_object_are_text(source: str) -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}}

    (found,) = read(source, openai_answer({"content": None, "tool_calls": [call]}, None)).tool_calls or ()

    assert found == {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


@for_each("source", OPENAI_SHAPED)
def test_a_missing_finish_reason_follows_from_the_answer(source: str) -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": "{}"}}

    assert read(source, openai_answer({"content": "x"}, None)).finish_reason == "stop"
    assert read(source, openai_answer({"tool_calls": [call]}, None)).finish_reason == "tool_calls"


@for_each("source", OPENAI_SHAPED)
def test_a_refusal_is_a_completion_that_says_so(source: str) -> None:
    completion = read(source, openai_answer({"content": None, "refusal": "No."}))

    assert completion.text == "No."
    assert completion.response["choices"][0]["message"]["refusal"] == "No."


@for_each("source", OPENAI_SHAPED)
def test_every_choice_and_every_other_key_of_the_answer_is_kept(source: str) -> None:
    body = openai_answer({"content": "a"}, system_fingerprint="fp", service_tier="flex")
    body["choices"].append(
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "logprobs": {"x": 1}}
    )

    response = read(source, body).response

    assert [choice["message"]["content"] for choice in response["choices"]] == ["a", "b"]
    assert response["choices"][1]["logprobs"] == {"x": 1}
    assert (response["system_fingerprint"], response["service_tier"]) == ("fp", "flex")


@for_each("source", OPENAI_SHAPED)
def test_citations_are_kept(source: str) -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X"}}

    response = read(source, openai_answer({"content": "x", "annotations": [cited]}, citations=["u"])).response

    assert response["choices"][0]["message"]["annotations"] == [cited]
    assert response["citations"] == ["u"]


@for_each("source", OPENAI_SHAPED)
def test_missing_id_created_and_object_are_filled_in(source: str) -> None:
    response = read(source, {"choices": [{"message": {"content": "x"}}]}).response

    assert (response["id"], response["object"]) == ("", "chat.completion")
    assert response["created"] > 1_700_000_000
    assert response["choices"][0]["index"] == 0


@for_each("source", OPENAI_SHAPED)
def test_absurd_token_counts_are_not_counted(source: str) -> None:
    usage = {"prompt_tokens": 1e300, "completion_tokens": -4, "total_tokens": True}

    completion = read(source, openai_answer({"content": "x"}, usage=usage))

    assert completion.usage.total_tokens == 0


@for_each(
    "header",
    ["x-request-id", "request-id", "mistral-correlation-id", "x-debug-trace-id", "x-litellm-call-id"],
)
def test_the_id_of_the_call_is_read_from_whichever_header_has_it(header: str) -> None:
    assert read("custom", openai_answer({"content": "x"}), 200, {header: "r1"}).provider_request_id == "r1"
