"""What Perplexity takes, refuses and answers: the Agent API, and the Sonar shape of gateways; from its documents and
messages that users quote."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
ASSISTANT = {"role": "assistant", "content": "hi"}
SYSTEM = {"role": "system", "content": "be brief"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SEARCH = {"type": "web_search", "search_context_size": "low"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "4 C"}


@pytest.fixture
def agent(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "perplexity",
        "/v1/agent",
        {"model": "perplexity/sonar", "input": "hello", "messages": LEAVE_OUT},
        authorization="Bearer sim-perplexity-key",
    )


@pytest.fixture
def sonar(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "perplexity-sonar",
        "/chat/completions",
        {"model": "sonar"},
        authorization="Bearer sim-perplexity-sonar-key",
    )


@for_each(
    ("fields", "message"),
    [
        ({"input": LEAVE_OUT}, "validation failed: input: Field required"),
        ({"input": []}, "validation failed: input: Input should be a valid string"),
        ({"model": LEAVE_OUT}, "one of model, models or preset is required"),
        ({"model": "sonar-pro"}, 'validation failed: model "sonar-pro" is not supported'),
        ({"models": ["perplexity/sonar"] * 6}, "models: List should have at most 5 items"),
        ({"messages": [USER]}, "messages: Extra inputs are not permitted"),
        ({"max_tokens": 5}, "max_tokens: Extra inputs are not permitted"),
        ({"stop": ["x"]}, "stop: Extra inputs are not permitted"),
        ({"seed": 7}, "seed: Extra inputs are not permitted"),
        ({"preset": "pro"}, "preset: Input should be 'fast', 'low', 'medium', 'high' or 'xhigh'"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name: Field required"),
        ({"tools": [{"type": "search"}]}, "tools[0].type: Input should be 'function',"),
        (
            {"tools": [{**SEARCH, "search_context_size": "huge"}]},
            "tools[0].search_context_size: Input should be",
        ),
        ({"tool_choice": "any"}, "tool_choice: Input should be 'none', 'auto' or 'required'"),
        ({"response_format": {"type": "json_object"}}, "response_format.type: Input should be 'json_schema'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role: Input should be 'system',"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "input[0].content[0].type: Input should be 'input_text',",
        ),
        ({"input": [USER, CALL], "tools": [TOOL]}, "No tool output found for function call c1."),
        ({"input": [USER, OUTPUT]}, "input[1]: no function call found for call_id c1."),
    ],
)
def test_a_wrong_request_is_refused_in_the_agents_words(
    agent: SourceClient, fields: dict[str, Any], message: str
) -> None:
    answer = agent.chat(**fields)
    assert (answer.status, answer.json["error"]["code"]) == (400, 400)
    assert message in answer.json["error"]["message"]


@for_each(
    "fields",
    [
        {"instructions": "be brief", "max_output_tokens": 64, "top_p": 0.9, "store": False},
        {
            "input": [
                SYSTEM,
                USER,
                ASSISTANT,
                {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            ]
        },
        {"input": [USER, CALL, OUTPUT], "tools": [TOOL]},
        {"model": LEAVE_OUT, "models": ["openai/gpt-5.2", "perplexity/sonar"]},
        {"model": LEAVE_OUT, "effort": "low"},
        {"reasoning": {"effort": "high"}},
    ],
)
def test_what_the_agent_takes_is_taken(agent: SourceClient, fields: dict[str, Any]) -> None:
    assert agent.chat(**fields).status == 200


def test_both_paths_lead_to_the_agent(agent: SourceClient) -> None:
    one, other = agent.chat(), agent.chat(path="/v1/responses")
    assert (one.status, other.status) == (200, 200)
    assert set(one.json) == set(other.json)


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/sonar"])
def test_the_old_endpoints_answer_403_to_a_valid_key_and_401_to_a_wrong_one(
    agent: SourceClient, simulator: SimulatorProcess, path: str
) -> None:
    answer = agent.chat(path=path, model="sonar", messages=[USER], input=LEAVE_OUT)
    assert (answer.status, answer.json["error"]["type"]) == (403, "chat_completions_not_available")
    assert agent.chat(path=path, headers={"authorization": "Bearer no"}).status == 401
    assert simulator.counts()["total"]["refused"] == {"endpoint_retired": 1, "bad_key": 1}


def test_the_web_is_searched_when_forced_and_with_a_preset(agent: SourceClient) -> None:
    def kinds(**fields: Any) -> list[str]:
        return [item["type"] for item in agent.chat(**fields).json["output"]]

    assert kinds(tools=[SEARCH]) == ["message"]
    assert kinds(tools=[SEARCH], tool_choice="required") == ["search_results", "message"]
    assert kinds(model=LEAVE_OUT, preset="fast") == ["search_results", "message"]


def test_marks_in_the_text_point_to_results_and_the_cost_is_told(agent: SourceClient) -> None:
    answer = agent.chat(tools=[SEARCH], tool_choice="required").json
    part = answer["output"][1]["content"][0]
    [mark] = part["annotations"]
    assert part["text"][mark["start_index"] : mark["end_index"]] == "[1]"
    cost = answer["usage"]["cost"]
    total = cost["input_cost"] + cost["output_cost"] + cost["tool_calls_cost"]
    assert cost["total_cost"] == pytest.approx(total)


def test_a_function_call_is_an_item_of_its_own_and_the_status_says_so(agent: SourceClient) -> None:
    answer = agent.chat(tools=[TOOL], tool_choice="required").json
    [item] = answer["output"]
    assert (answer["status"], item["type"], item["name"], item["arguments"]) == (
        "requires_action",
        "function_call",
        "f",
        "{}",
    )


def test_a_failure_can_hide_behind_200(agent: SourceClient) -> None:
    answer = agent.chat(input="[sim: error_in_200]")
    assert (answer.status, answer.json["status"], answer.json["output"]) == (200, "failed", [])


def test_a_key_without_credits_is_a_401_of_another_type(
    agent: SourceClient, simulator: SimulatorProcess
) -> None:
    key = {"source": "perplexity", "key": "sim-perplexity-key", "state": "out_of_quota"}
    simulator.control("POST", "keys", key)
    answer = agent.chat()
    assert (answer.status, answer.json["error"]["type"]) == (401, "insufficient_quota")


def test_the_queries_of_an_organization_are_counted_together(agent: SourceClient) -> None:
    agent.configure(limits={"requests_per_minute": 1})
    answers = [agent.chat(model=model) for model in ("perplexity/sonar", "openai/gpt-5.2")]
    assert [answer.status for answer in answers] == [200, 429]
    assert 50 < int(answers[1].headers["retry-after"]) <= 60


def test_an_agents_stream_ends_with_the_whole_answer(agent: SourceClient) -> None:
    body = agent.chat(input="job:s", stream=True).body.strip()
    events = [orjson.loads(part.split(b"data: ", 1)[1]) for part in body.split(b"\n\n")]
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert kinds[-3:] == ["output_text.done", "output_item.done", "completed"]
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@for_each(
    ("fields", "kind", "message"),
    [
        (
            {"messages": [SYSTEM, USER, USER]},
            "invalid_message",
            "should alternate with assistant message(s).",
        ),
        ({"messages": [ASSISTANT, USER]}, "invalid_message", "should alternate with assistant message(s)."),
        ({"messages": [USER, SYSTEM]}, "invalid_message", "should alternate with assistant message(s)."),
        ({"messages": [USER, ASSISTANT]}, "invalid_message", "Last message must have role `user`."),
        ({"messages": [SYSTEM]}, "invalid_message", "Last message must have role `user`."),
        ({"model": "perplexity/sonar"}, "invalid_model", "Invalid model 'perplexity/sonar'."),
        ({"frequency_penalty": 0}, "invalid_request_error", "frequency_penalty must be greater than 0"),
        (
            {"frequency_penalty": 1, "presence_penalty": 1},
            "invalid_request_error",
            "only one of presence_penalty and frequency_penalty",
        ),
        ({"response_format": {"type": "json_object"}}, "invalid_request_error", "response_format.type"),
    ],
)
def test_a_wrong_request_is_refused_in_sonars_words(
    sonar: SourceClient, fields: dict[str, Any], kind: str, message: str
) -> None:
    answer = sonar.chat(**fields)
    assert (answer.status, answer.json["error"]["type"]) == (400, kind)
    assert message in answer.json["error"]["message"]


def test_sonar_takes_turns_that_alternate_and_ignores_what_it_does_not_know(sonar: SourceClient) -> None:
    turns = [SYSTEM, SYSTEM, USER, ASSISTANT, USER]
    assert sonar.chat(messages=turns, seed=7, presence_penalty=1, frequency_penalty=None).status == 200


def test_sonar_puts_its_reasoning_into_the_content(sonar: SourceClient) -> None:
    text = sonar.chat("job:r", model="sonar-reasoning-pro").text
    assert text.startswith("<think>\nRain")
    assert "\n</think>\nanswer to job:r" in text


def test_sonar_cites_its_sources_unless_told_not_to_search(sonar: SourceClient) -> None:
    searched, quiet = sonar.chat().json, sonar.chat(disable_search=True).json
    assert searched["citations"] == [searched["search_results"][0]["url"]]
    assert searched["choices"][0]["message"]["content"].endswith("[1]")
    assert "citations" not in quiet
    assert searched["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_sonar_has_no_model_list(sonar: SourceClient) -> None:
    assert sonar.get("/models").status == 404
