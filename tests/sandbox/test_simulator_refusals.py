"""Keys, quota and limits over a real socket, in OpenAI's words."""

from __future__ import annotations

import pytest
from simulator_testing import KEY, Client, send

from chatq_sandbox.process import SimulatorProcess


def test_a_wrong_key_is_refused_and_its_ends_are_echoed_as_openai_does(client: Client) -> None:
    answer = client.chat(key="sk-wrong-0123456789abcdef")
    assert answer.status == 401
    error = answer.json["error"]
    assert error["code"] == "invalid_api_key"
    assert error["message"].startswith("Incorrect API key provided: sk-wrong*************cdef.")


def test_a_missing_key_is_refused(client: Client) -> None:
    answer = client.chat(key=None)
    assert (answer.status, answer.json["error"]["code"]) == (401, None)


def test_the_model_list_needs_the_key(simulator: SimulatorProcess) -> None:
    assert send(simulator.url, "GET", "/v1/models").status == 401


def test_configured_keys_are_the_only_valid_ones(client: Client) -> None:
    client.configure(sources={"openai": {"keys": ["sk-a", "sk-b"]}})
    assert [client.chat(key=key).status for key in ("sk-a", "sk-b", KEY)] == [200, 200, 401]


def test_a_key_can_be_revoked_and_made_valid_again(client: Client, simulator: SimulatorProcess) -> None:
    simulator.control("POST", "keys", {"key": KEY, "state": "revoked"})
    assert client.chat().status == 401
    simulator.control("POST", "keys", {"key": KEY, "state": "valid"})
    assert client.chat().status == 200


def test_a_key_can_run_out_of_quota(client: Client, simulator: SimulatorProcess) -> None:
    simulator.control("POST", "keys", {"key": KEY, "state": "out_of_quota"})
    answer = client.chat()
    assert (answer.status, answer.json["error"]["code"]) == (429, "insufficient_quota")
    assert "retry-after" not in answer.headers
    models = send(simulator.url, "GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert models.status == 200


def test_the_request_limit_is_kept_and_told_in_openais_headers(client: Client) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_minute": 3, "bucket": "minute"}}})
    answers = [client.chat("job:l") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert answers[0].headers["x-ratelimit-reset-requests"] == "20s"
    refused = answers[3]
    assert 15 < int(refused.headers["retry-after"]) <= 20
    assert 15_000 < int(refused.headers["retry-after-ms"]) <= 20_000
    assert refused.json["error"]["type"] == "requests"
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert "on requests per min (RPM): Limit 3, Used 3, Requested 1." in refused.json["error"]["message"]


def test_the_token_limit_counts_the_prompt_and_the_answer_that_is_given(client: Client) -> None:
    client.configure(
        sources={"openai": {"limits": {"tokens_per_minute": 100, "bucket": "minute", "charge": "used"}}}
    )
    answers = [client.chat("12345678", max_completion_tokens=90) for _ in range(3)]
    remaining = [int(answer.headers["x-ratelimit-remaining-tokens"]) for answer in answers]
    assert remaining[0] == 66
    # It refills while the calls are made, so these are a little more on a slow machine.
    assert all(32 <= left < 40 for left in remaining[1:])
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].json["error"]["type"] == "tokens"


def test_openais_token_limit_charges_all_of_max_tokens_at_the_door(client: Client) -> None:
    limits = {"tokens_per_minute": 100, "bucket": "minute"}
    client.configure(sources={"openai": {"limits": limits}})
    assert [client.chat("12345678", max_completion_tokens=90).status for _ in range(2)] == [200, 429]


def test_a_request_bigger_than_the_limit_is_never_told_to_come_back(client: Client) -> None:
    client.configure(sources={"openai": {"limits": {"tokens_per_minute": 20}}})
    answer = client.chat("job:big")
    assert answer.status == 429
    assert answer.json["error"]["message"].startswith("Request too large for gpt-4o-mini")
    assert "retry-after" not in answer.headers


def test_limits_are_kept_for_each_key_and_model_by_itself(client: Client) -> None:
    limits = {"requests_per_minute": 1, "bucket": "minute"}
    client.configure(sources={"openai": {"keys": ["sk-a", "sk-b"], "limits": limits}})
    calls = [("sk-a", "gpt-4o"), ("sk-a", "gpt-4o"), ("sk-a", "gpt-4o-mini"), ("sk-b", "gpt-4o")]
    assert [client.chat(key=key, model=model).status for key, model in calls] == [200, 429, 200, 200]


def test_a_model_can_have_limits_of_its_own(client: Client) -> None:
    client.configure(
        sources={"openai": {"limits_by_model": {"gpt-4o": {"requests_per_minute": 1, "bucket": "minute"}}}}
    )
    assert [client.chat(model="gpt-4o").status for _ in range(2)] == [200, 429]
    assert [client.chat(model="gpt-4o-mini").status for _ in range(2)] == [200, 200]


def test_the_concurrency_limit_refuses_the_call_that_is_one_too_many(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(sources={"openai": {"limits": {"concurrency": 1}}})
    simulator.control("POST", "pause")
    with client.open("job:held"):
        assert simulator.wait(in_flight=1)
        assert client.chat("job:next").status == 429
        simulator.control("POST", "resume")
        assert simulator.wait(in_flight=0)
    assert client.chat("job:next").status == 200


def test_limits_can_be_kept_without_a_word_about_them(client: Client) -> None:
    limits = {"requests_per_minute": 1, "bucket": "minute", "headers": False}
    client.configure(sources={"openai": {"limits": limits}})
    answered, refused = client.chat(), client.chat()
    assert (answered.status, refused.status) == (200, 429)
    named = [name for answer in (answered, refused) for name in answer.headers if "ratelimit" in name]
    assert named == []
    assert "retry-after" not in refused.headers


def test_input_and_output_can_have_limits_of_their_own(client: Client) -> None:
    limits = {"input_tokens_per_minute": 10, "output_tokens_per_minute": 100, "bucket": "minute"}
    client.configure(sources={"openai": {"limits": limits}})
    statuses = [client.chat(prompt, max_tokens=90).status for prompt in ("x" * 44, "x" * 20, "x" * 16)]
    assert statuses == [429, 200, 429]
    client.configure(sources={"openai": {"limits": limits | {"charge": "used"}}})
    assert [client.chat("x" * 16, max_tokens=90).status for _ in range(3)] == [200, 200, 429]


def test_what_a_month_allows_does_not_come_back_and_is_a_quota(client: Client) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_month": 2, "penalty_s": 9}}})
    answers = [client.chat() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[3].json["error"]["code"] == "insufficient_quota"
    assert client.simulator.counts()["total"]["refused"] == {"quota_exhausted": 2}


def test_a_window_gives_back_what_was_taken_a_minute_ago_and_not_a_little_at_a_time(client: Client) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_minute": 2, "bucket": "window"}}})
    answers = [client.chat() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert 50 < int(answers[2].headers["retry-after"]) <= 60


def test_nothing_is_answered_while_the_model_loads(client: Client, simulator: SimulatorProcess) -> None:
    client.configure(sources={"openai": {"loading_s": 3600}})
    assert client.chat("job:early").status == 503
    assert send(simulator.url, "GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"}).status == 503
    assert simulator.counts("early")["refused"] == {"loading": 1}
    client.configure()
    assert client.chat("job:early").status == 200


@pytest.mark.parametrize("status", [404, 500])
def test_model_lists_can_fail_while_chats_are_answered(
    client: Client, simulator: SimulatorProcess, status: int
) -> None:
    client.configure(sources={"openai": {"look_up_error": status}})
    models = send(simulator.url, "GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert (models.status, client.chat().status) == (status, 200)


def test_an_unknown_refusal_is_refused_and_names_the_nearest(client: Client) -> None:
    answer = client.chat("[sim: refuse slow_don]")
    assert answer.status == 400
    assert "got 'slow_don'; did you mean 'slow_down'?" in answer.json["error"]["message"]


def test_a_call_that_is_refused_for_its_fields_costs_no_allowance(client: Client) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_minute": 1, "bucket": "minute"}}})
    assert client.chat(temperature=9).status == 400
    assert client.chat().status == 200


def test_an_unknown_directive_is_refused_and_says_so(client: Client) -> None:
    answer = client.chat("[sim: explode]")
    assert answer.status == 400
    assert "[simulator] unknown directive 'explode'" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/openai/v1/completions"), ("GET", "/v1/chat/completions"), ("GET", "/")]
)
def test_an_unknown_path_is_a_404_in_the_sources_shape(
    simulator: SimulatorProcess, method: str, path: str
) -> None:
    answer = send(simulator.url, method, path, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status == 404
    assert answer.json["error"]["message"] == f"Invalid URL ({method} {path})"


def test_a_body_that_is_too_large_is_a_413(client: Client) -> None:
    client.configure(request_bytes=1024)
    assert client.chat("x" * 2000).status == 413
