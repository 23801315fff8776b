"""What comes back over a real socket when nothing goes wrong."""

from __future__ import annotations

import orjson
import pytest
from simulator_testing import KEY, Client, send

from chatq_sandbox.answers import digest_of
from chatq_sandbox.process import SimulatorProcess

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


def test_an_answer_names_the_job_and_the_digest_of_its_messages(client: Client) -> None:
    answer = client.chat(
        messages=[{"role": "developer", "content": "Brief."}, {"role": "user", "content": "job:a-1"}]
    )
    digest = digest_of([("system", "Brief."), ("user", "job:a-1")])
    assert answer.text.startswith(f"answer to job:a-1 digest:{digest} call:1. ")


def test_the_last_marker_of_the_last_message_that_has_one_names_the_job(client: Client) -> None:
    answer = client.chat(
        messages=[
            {"role": "user", "content": "job:old"},
            {"role": "assistant", "content": "job:echo"},
            {"role": "user", "content": "not myjob:x but job:first and job:new."},
        ]
    )
    assert answer.text.startswith("answer to job:new.")


def test_a_prompt_without_a_marker_is_the_job_of_its_digest(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.chat("no marker")
    name = f"digest-{digest_of([('user', 'no marker')])}"
    assert simulator.counts(name)["answered"] == 1


def test_the_same_seed_gives_the_same_answer_and_ids(client: Client, simulator: SimulatorProcess) -> None:
    first = client.chat("job:same").json
    simulator.control("POST", "reset")
    again = client.chat("job:same").json
    assert {**first, "created": 0} == {**again, "created": 0}


def test_another_seed_gives_other_ids(client: Client, simulator: SimulatorProcess) -> None:
    first = client.chat("job:same").json["id"]
    client.configure(seed=1)
    simulator.control("POST", "reset")
    assert client.chat("job:same").json["id"] != first


def test_usage_counts_a_token_for_every_four_characters_begun(client: Client) -> None:
    usage = client.chat("12345 job:u [sim: say nine char]").json["usage"]
    assert usage["prompt_tokens"] == 8
    assert usage["completion_tokens"] == 3
    assert usage["total_tokens"] == 11


def test_an_answer_is_as_long_as_configured_or_as_the_prompt_asks(client: Client) -> None:
    assert client.chat("job:l").json["usage"]["completion_tokens"] == 32
    client.configure(defaults={"answers": {"tokens": 50}})
    assert client.chat("job:l").json["usage"]["completion_tokens"] == 50
    assert client.chat("job:l [sim: tokens 1000]").json["usage"]["completion_tokens"] == 1000


def test_max_tokens_cuts_the_answer_and_says_length(client: Client) -> None:
    answer = client.chat("job:cut", max_completion_tokens=2)
    assert answer.text == "answer t"
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.json["usage"]["completion_tokens"] == 2


def test_reasoning_uses_up_max_tokens_first(client: Client) -> None:
    answer = client.chat("job:r", model="gpt-5.2", max_completion_tokens=16)
    assert answer.text == ""
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert answer.json["usage"]["completion_tokens_details"]["reasoning_tokens"] == 16


def test_a_stop_sequence_ends_the_text(client: Client) -> None:
    assert client.chat("job:s", stop=[" digest"]).text == "answer to job:s"


def test_n_choices_are_all_paid(client: Client) -> None:
    answer = client.chat("job:n", n=3).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 96


def test_json_object_answers_with_an_object(client: Client) -> None:
    answer = client.chat("as json, job:j", response_format={"type": "json_object"})
    assert orjson.loads(answer.text)["answer"].startswith("answer to job:j ")


def test_json_schema_answers_with_an_instance_of_it(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "score": {"type": "integer", "minimum": 4}},
        "required": ["title", "score"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "line", "schema": schema, "strict": True}}
    answer = orjson.loads(client.chat("job:js", response_format=wanted).text)
    assert answer["title"].startswith("answer to job:js ")
    assert answer["score"] == 4


def test_a_directive_makes_it_call_a_tool_with_arguments_that_fit(client: Client) -> None:
    answer = client.chat("job:t [sim: call_tool get_weather]", tools=[OTHER_TOOL, TOOL]).json["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["content"] is None
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert orjson.loads(call["function"]["arguments"])["city"].startswith("answer to job:t ")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "get_time"),
        ({"type": "function", "function": {"name": "get_weather"}}, "get_weather"),
    ],
)
def test_a_forced_tool_is_called_without_a_directive(client: Client, choice: object, expected: str) -> None:
    answer = client.chat("job:t", tools=[OTHER_TOOL, TOOL], tool_choice=choice).json["choices"][0]
    assert answer["message"]["tool_calls"][0]["function"]["name"] == expected


def test_offered_tools_are_not_called_unasked_nor_after_their_result(client: Client) -> None:
    assert client.chat("job:t", tools=[TOOL]).json["choices"][0]["finish_reason"] == "stop"
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    answered = client.chat(
        tools=[TOOL],
        messages=[
            {"role": "user", "content": "job:t [sim: call_tool]"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "4 C"},
        ],
    )
    assert answered.json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("finish", "said"), [("content_filter", "content_filter"), ("length", "length")])
def test_a_directive_sets_how_it_ends(client: Client, finish: str, said: str) -> None:
    assert client.chat(f"[sim: finish {finish}]").json["choices"][0]["finish_reason"] == said


def test_a_refusal_has_no_content(client: Client) -> None:
    message = client.chat("[sim: finish refusal]").json["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I can't help with that.")


def chunks(body: bytes) -> list[bytes]:
    return [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]


def test_a_stream_brings_the_same_text_in_pieces_then_done(client: Client) -> None:
    whole = client.chat("job:s").text
    answer = client.chat("job:s", stream=True)
    assert answer.headers["content-type"] == "text/event-stream"
    *pieces, done = chunks(answer.body)
    assert done == b"[DONE]"
    choices = [orjson.loads(piece)["choices"][0] for piece in pieces]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text == whole.replace("call:1", "call:2")
    assert [choice["finish_reason"] for choice in choices][-2:] == [None, "stop"]
    assert not any(b'"usage"' in piece for piece in pieces)


def test_a_stream_tells_its_usage_last_when_asked(client: Client) -> None:
    answer = client.chat("job:s", stream=True, stream_options={"include_usage": True})
    *_, last, _done = chunks(answer.body)
    assert orjson.loads(last)["choices"] == []
    assert orjson.loads(last)["usage"]["completion_tokens"] == 32


def test_a_streamed_tool_call_comes_in_pieces_that_join_to_json(client: Client) -> None:
    answer = client.chat("job:t [sim: call_tool]", tools=[TOOL], stream=True)
    calls = [
        call
        for piece in chunks(answer.body)[:-1]
        for call in orjson.loads(piece)["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert calls[0]["function"]["name"] == "get_weather"
    assert orjson.loads("".join(call["function"]["arguments"] for call in calls)).keys() == {"city"}


def test_the_plain_base_is_openai_too(simulator: SimulatorProcess) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "job:p"}]}
    for path in ("/v1/chat/completions", "/openai/v1/chat/completions"):
        assert send(simulator.url, "POST", path, body, {"authorization": f"Bearer {KEY}"}).status == 200


def test_the_model_list_shows_the_configured_models(client: Client, simulator: SimulatorProcess) -> None:
    client.configure(sources={"openai": {"models": ["one", "two"]}})
    answer = send(simulator.url, "GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert [row["id"] for row in answer.json["data"]] == ["one", "two"]
    row = send(simulator.url, "GET", "/v1/models/two", headers={"authorization": f"Bearer {KEY}"})
    assert row.json["id"] == "two"
    assert client.chat(model="two").status == 200
    assert client.chat(model="gpt-4o-mini").status == 404


def test_a_server_of_ones_own_needs_no_key_and_no_model(simulator: SimulatorProcess) -> None:
    body = {"messages": [{"role": "user", "content": "job:own"}], "anything": 1}
    answer = send(simulator.url, "POST", "/custom/v1/chat/completions", body)
    assert answer.json["model"] == "local-model"
    assert send(simulator.url, "GET", "/custom/health").json == {"status": "ok"}


def test_a_server_of_ones_own_asks_for_a_key_when_it_has_one(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(sources={"custom": {"keys": ["local"]}})
    body = {"messages": [{"role": "user", "content": "job:own"}]}
    path = "/custom/v1/chat/completions"
    assert send(simulator.url, "POST", path, body).status == 401
    assert send(simulator.url, "POST", path, body, {"x-api-key": "local"}).status == 200
    assert send(simulator.url, "POST", path, body, {"authorization": "Bearer local"}).status == 200
