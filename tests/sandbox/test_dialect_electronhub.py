"""What ElectronHub does, above all about its limits: from its documents."""

from __future__ import annotations

import time

import pytest
from simulator_testing import SourceClient, send

from chatq_sandbox.process import SimulatorProcess


@pytest.fixture
def hub(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "electronhub",
        "/v1/chat/completions",
        {"model": "gpt-4o"},
        authorization="Bearer sim-electronhub-key",
    )


def test_exceeding_the_limit_is_a_ban_of_three_minutes(hub: SourceClient) -> None:
    hub.configure(limits={"requests_per_minute": 2})
    answers = [hub.chat() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "0"]
    assert answers[2].headers["retry-after"] == "180"
    assert 120 < int(answers[3].headers["retry-after"]) <= 180


def test_failed_calls_count_and_can_bring_the_ban(hub: SourceClient, simulator: SimulatorProcess) -> None:
    hub.configure(limits={"requests_per_minute": 2})
    wrong = [hub.chat(temperature="hot"), hub.chat(model="gpt-nope"), hub.chat(temperature="hot")]
    assert [answer.status for answer in wrong] == [400, 400, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in wrong] == ["1", "0", "0"]
    assert hub.chat().status == 429
    assert simulator.counts()["total"]["refused"] == {"bad_request": 1, "unknown_model": 1, "rate_limited": 2}


def test_a_plans_requests_are_counted_whatever_model_they_ask(hub: SourceClient) -> None:
    hub.configure(limits={"requests_per_minute": 1})
    assert [hub.chat(model=model).status for model in ("gpt-4o", "deepseek-r1")] == [200, 429]


def test_a_wrong_key_is_no_call_of_any_plan(hub: SourceClient) -> None:
    hub.configure(limits={"requests_per_minute": 1})
    assert [hub.chat(headers={"authorization": "Bearer no"}).status for _ in range(3)] == [401, 401, 401]
    assert hub.chat().status == 200


def test_the_reset_is_a_moment_in_unix_seconds(hub: SourceClient) -> None:
    hub.configure(limits={"requests_per_minute": 2})
    before = time.time()
    reset = int(hub.chat().headers["x-ratelimit-reset"])
    assert before + 59 <= reset <= time.time() + 62


def test_the_model_list_is_open_and_proves_no_key(hub: SourceClient) -> None:
    without = send(hub.simulator.url, "GET", "/electronhub/v1/models")
    assert without.status == 200
    assert [row["id"] for row in without.json["data"]] == ["gpt-4o", "claude-sonnet-4-6", "deepseek-r1"]
    assert "created" not in without.json["data"][0]


def test_reasoning_can_be_left_out_by_field_or_by_the_models_name(hub: SourceClient) -> None:
    shown = hub.chat(model="deepseek-r1").json["choices"][0]["message"]
    assert shown["reasoning_content"]
    by_field = hub.chat(model="deepseek-r1", reasoning={"exclude": True}).json
    by_name = hub.chat(model="deepseek-r1:reasoning-exclude").json
    for answer in (by_field, by_name):
        assert "reasoning_content" not in answer["choices"][0]["message"]
        assert answer["model"] == "deepseek-r1"


def test_what_a_model_does_not_know_is_dropped_without_a_word(hub: SourceClient) -> None:
    assert hub.chat(top_k=5, mirostat=2, web_search=True).status == 200


def test_every_wrong_field_has_the_same_words(hub: SourceClient) -> None:
    for fields in ({"temperature": "hot"}, {"reasoning_effort": "huge"}, {"messages": []}):
        answer = hub.chat(**fields)
        assert (answer.status, answer.json["error"]["message"]) == (400, "Invalid parameters")


def test_a_plan_that_is_used_up_is_a_429_of_another_type(
    hub: SourceClient, simulator: SimulatorProcess
) -> None:
    key = {"source": "electronhub", "key": "sim-electronhub-key", "state": "out_of_quota"}
    simulator.control("POST", "keys", key)
    answer = hub.chat()
    assert (answer.status, answer.json["error"]["type"]) == (429, "insufficient_quota")
