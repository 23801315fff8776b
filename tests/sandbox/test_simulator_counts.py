"""Counting by job, and the control plane that shows and changes things while the simulator runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from simulator_testing import KEY, Client, send

from chatq_sandbox.config import ConfigError
from chatq_sandbox.process import SimulatorError, SimulatorProcess
from chatq_sandbox.simulator import Simulator


def test_every_call_is_counted_by_its_job(client: Client, simulator: SimulatorProcess) -> None:
    for prompt in ("job:a", "job:a", "job:b [sim: server_error]"):
        client.chat(prompt)
    client.chat("job:b", temperature=9)
    client.chat("job:b", key="wrong")
    counts = simulator.counts()
    assert counts["jobs"]["a"] | {"prompt_tokens": 0} == {
        "received": 2,
        "admitted": 2,
        "answered": 2,
        "charged": 2,
        "aborted": 0,
        "in_flight": 0,
        "max_in_flight": 1,
        "prompt_tokens": 0,
        "completion_tokens": 64,
        "refused": {},
        "misbehaved": {},
    }
    other = counts["jobs"]["b"]
    assert (other["received"], other["answered"], other["charged"]) == (3, 0, 0)
    assert other["refused"] == {"bad_request": 1, "bad_key": 1}
    assert other["misbehaved"] == {"server_error": 1}
    assert counts["total"]["received"] == 5


def test_an_unknown_job_has_counts_of_nothing(simulator: SimulatorProcess) -> None:
    assert simulator.counts("nobody")["received"] == 0
    assert simulator.counts()["jobs"] == {}


def test_a_client_that_goes_away_is_counted_as_aborted_and_not_charged(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(defaults={"latency": 60})
    with client.open("job:gone"):
        assert simulator.wait(job="gone", in_flight=1)
    assert simulator.wait(job="gone", aborted=1)
    counts = simulator.counts("gone")
    assert (counts["in_flight"], counts["answered"], counts["charged"]) == (0, 0, 0)


def test_calls_at_the_same_time_are_seen_in_max_in_flight(
    client: Client, simulator: SimulatorProcess
) -> None:
    simulator.control("POST", "pause")
    connections = [client.open("job:many") for _ in range(3)]
    assert simulator.wait(job="many", in_flight=3)
    simulator.control("POST", "resume")
    assert simulator.wait(job="many", answered=3)
    for connected in connections:
        connected.close()
    assert simulator.counts("many")["max_in_flight"] == 3


def test_paused_calls_are_answered_on_resume(client: Client, simulator: SimulatorProcess) -> None:
    simulator.control("POST", "pause")
    with client.open("job:held") as connected:
        assert simulator.wait(in_flight=1)
        assert simulator.control("POST", "resume") == {"paused": False, "released": 1}
        assert connected.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_wait_that_is_not_fulfilled_says_so(simulator: SimulatorProcess) -> None:
    assert simulator.wait(received=1, timeout_s=0.05) is False


def test_lanes_show_the_highest_minute_and_only_the_end_of_a_key(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_minute": 2, "bucket": "minute"}}})
    for _ in range(3):
        client.chat("12345678")
    [lane] = simulator.control("GET", "lanes")
    assert (lane["source"], lane["model"], lane["key"]) == ("openai", "gpt-4o-mini", "-key")
    assert (lane["admitted"], lane["refused"]) == (2, 1)
    assert (lane["highest_requests_per_minute"], lane["highest_tokens_per_minute"]) == (2, 68)
    assert lane["limits"]["requests"]["remaining"] == 0


def test_remembered_requests_show_what_was_sent_without_the_key(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(remember_requests=2)
    for number in range(3):
        client.chat(f"job:r{number}", temperature=0.5)
    assert [entry["job"] for entry in simulator.control("GET", "requests")] == ["r1", "r2"]
    [entry] = simulator.control("GET", "requests?job=r2")
    assert entry["body"]["temperature"] == 0.5
    assert entry["headers"]["authorization"] == "***-key"
    assert entry["path"] == "/openai/v1/chat/completions"


def test_the_configuration_can_be_changed_while_it_runs(client: Client, simulator: SimulatorProcess) -> None:
    simulator.control("POST", "config", {"defaults": {"answers": {"tokens": 50}}})
    simulator.control("POST", "config", {"sources": {"openai": {"models": ["m"]}}})
    assert client.chat(model="m").json["usage"]["completion_tokens"] == 50
    assert simulator.control("GET", "config") == {
        "defaults": {"answers": {"tokens": 50}},
        "sources": {"openai": {"models": ["m"]}},
    }


def test_a_wrong_change_changes_nothing(client: Client, simulator: SimulatorProcess) -> None:
    with pytest.raises(SimulatorError, match="unknown key 'tokns'; did you mean 'tokens'"):
        simulator.control("POST", "config", {"defaults": {"answers": {"tokns": 50}}})
    assert simulator.control("GET", "config") == {}


def test_a_misbehaviour_can_be_started_for_a_while_and_stopped(
    client: Client, simulator: SimulatorProcess
) -> None:
    simulator.control("POST", "misbehave", {"source": "openai", "name": "server_error", "for_s": 3600})
    assert client.chat().status == 500
    simulator.control("DELETE", "misbehave")
    assert client.chat().status == 200
    simulator.control("POST", "misbehave", {"name": "server_error", "from_s": 3600})
    assert client.chat().status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "problem"),
    [
        ("GET", "count", None, "unknown control request 'GET count'; did you mean 'GET counts'?"),
        ("GET", "wait?answerd=1", None, "wait: expected one or more of received, admitted, answered"),
        ("POST", "keys", {"state": "valid"}, "keys.key: expected the key"),
        ("POST", "keys", {"key": "k", "state": "lost"}, "keys.state: unknown value 'lost'"),
        ("POST", "keys", {"key": "k", "source": "opnai"}, "unknown source 'opnai'; did you mean 'openai'"),
        ("POST", "misbehave", {"name": "silense"}, "unknown value 'silense'; did you mean 'silence'?"),
    ],
)
def test_a_wrong_control_request_says_what_was_expected(
    simulator: SimulatorProcess, method: str, path: str, body: Any, problem: str
) -> None:
    with pytest.raises(SimulatorError) as caught:
        simulator.control(method, path, body)
    assert problem in str(caught.value)


def test_it_lists_its_misbehaviours(simulator: SimulatorProcess) -> None:
    listed = simulator.control("GET", "misbehaviours")
    assert listed["rate_limit"] == {
        "meaning": "429 as if a limit had been reached",
        "value": "Retry-After in seconds",
        "default": 1.0,
        "what": None,
    }


def test_reset_forgets_counts_keys_and_buckets_but_not_the_configuration(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(sources={"openai": {"limits": {"requests_per_minute": 1, "bucket": "minute"}}})
    client.chat()
    simulator.control("POST", "keys", {"key": KEY, "state": "revoked"})
    simulator.control("POST", "reset")
    assert simulator.counts()["total"]["received"] == 0
    assert client.chat().headers["x-ratelimit-limit-requests"] == "1"


def test_it_runs_inside_a_program_too() -> None:
    async def ask() -> tuple[int, int]:
        async with Simulator({"sources": {"custom": {"latency": 0.01}}}) as simulator:
            body = {"messages": [{"role": "user", "content": "job:in"}]}
            answer = await asyncio.to_thread(send, simulator.url, "POST", "/custom/v1/chat/completions", body)
            return answer.status, simulator.counts.job("in").answered

    assert asyncio.run(ask()) == (200, 1)


def test_inside_a_program_a_wrong_configuration_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        Simulator({"sauces": {}})
