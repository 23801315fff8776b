"""What is special about Perplexity: the Agent API, the search that is a tool there, and the older Sonar shape."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import WEATHER, Sent, connection, read, sent

from chatq_worker.failures import CallFailed
from for_each import for_each


def agent(messages: Any = "Hi", **job: Any) -> Sent:
    return sent("perplexity", messages, **job)


def sonar(messages: Any = "Hi", **job: Any) -> Sent:
    job.setdefault("model", "sonar-pro")
    return sent("perplexity", messages, to=connection("perplexity", api="sonar"), **job)


@for_each(
    ("model", "preset"),
    [
        ("sonar", "fast"),
        ("sonar-pro", "low"),
        ("sonar-reasoning-pro", "medium"),
        ("sonar-deep-research", "high"),
    ],
)
def test_a_bare_sonar_name_is_sent_as_the_preset_that_took_its_place(model: str, preset: str) -> None:
    request = agent(model=model)

    assert request.body == {"preset": preset, "input": "Hi"}
    assert request.says(model, preset)


def test_a_preset_of_the_jobs_own_needs_no_model() -> None:
    assert agent(model="", params={"preset": "high"}).body == {"preset": "high", "input": "Hi"}


def test_a_job_without_either_is_refused() -> None:
    with pytest.raises(CallFailed, match="needs a model or a preset"):
        agent(model="")


def test_openais_search_options_are_a_tool_that_is_to_be_used() -> None:
    options = {
        "search_context_size": "high",
        "user_location": {"type": "approximate", "approximate": {"country": "NO", "city": "Oslo"}},
    }

    body = agent(params={"web_search_options": options}).body

    assert body["tools"] == [
        {
            "type": "web_search",
            "search_context_size": "high",
            "user_location": {"country": "NO", "city": "Oslo"},
        }
    ]
    assert body["tool_choice"] == "required"


def test_sonars_filters_are_the_tools() -> None:
    params = {"search_domain_filter": ["example.org"], "search_recency_filter": "year"}

    assert agent(params=params).body["tools"] == [{"type": "web_search", "filters": params}]


def test_beside_functions_the_search_is_offered_and_not_demanded() -> None:
    body = agent(params={"web_search_options": {}}, tools=[WEATHER]).body

    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    assert "tool_choice" not in body


def test_a_search_of_the_jobs_own_wins_over_parameters() -> None:
    search = {"type": "web_search", "search_context_size": "low"}

    request = agent(params={"search_recency_filter": "day"}, tools=[search])

    assert request.body["tools"] == [search]
    assert request.says("search_recency_filter", "left out")


def test_a_disabled_search_is_none() -> None:
    request = agent(params={"disable_search": True, "web_search_options": {}})

    assert "tools" not in request.body
    assert request.says("web_search_options", "left out")


def test_what_the_system_says_later_stays_in_its_place() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]

    assert agent(messages).body["input"] == messages


def test_sources_are_kept() -> None:
    body = {
        "status": "completed",
        "output": [
            {"type": "search_results", "results": [{"url": "u1", "title": "A"}, {"url": "u2"}]},
            {"type": "sandbox_results", "results": []},
            {
                "type": "message",
                "content": [
                    {"type": "output_text", "text": "One. "},
                    {
                        "type": "output_text",
                        "text": "Two [1]",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "start_index": 4,
                                "end_index": 7,
                                "title": "A",
                                "url": "u1",
                            }
                        ],
                    },
                ],
            },
        ],
    }

    response = read("perplexity", body).response

    assert response["citations"] == ["u1", "u2"]
    assert response["search_results"][0] == {"url": "u1", "title": "A"}
    assert response["output_items"] == [{"type": "sandbox_results", "results": []}]
    assert response["choices"][0]["message"]["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 9, "end_index": 12, "title": "A", "url": "u1"},
        }
    ]


def test_an_answer_that_was_cut_says_length() -> None:
    body = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Rain"}]}],
    }

    completion = read("perplexity", body)

    assert (completion.text, completion.finish_reason) == ("Rain", "length")


def test_a_cost_in_another_currency_is_no_dollars() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, "cost": {"currency": "EUR", "total_cost": 1.0}}

    assert read("perplexity", {"status": "completed", "output": [], "usage": usage}).cost_usd is None


# --- sonar ---


def test_sonar_speaks_chat_completions() -> None:
    request = sonar(params={"max_tokens": 5, "search_mode": "academic"})

    assert request.url == "https://api.perplexity.ai/chat/completions"
    assert request.body == {
        "model": "sonar-pro",
        "max_tokens": 5,
        "search_mode": "academic",
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_sonar_gets_the_mode_strict_and_a_last_word_of_the_users() -> None:
    messages = [
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]

    request = sonar(messages)

    assert [message["role"] for message in request.body["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert request.body["messages"][2]["content"] == "a\n\nb"
    assert request.says("last")


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"frequency_penalty": 0.5}, {"frequency_penalty"}),
        ({"frequency_penalty": 0}, set()),
        ({"frequency_penalty": 0.5, "presence_penalty": 0.5}, {"presence_penalty"}),
    ],
)
def test_sonar_takes_one_penalty_and_none_of_zero(params: dict[str, Any], kept: set[str]) -> None:
    request = sonar(params=params)

    assert {name for name in params if name in request.body} == kept
    assert request.says("frequency_penalty") is (kept != {"frequency_penalty"})


def test_sonar_takes_no_seed() -> None:
    assert sonar(params={"seed": 1}).says("seed", "left out")
