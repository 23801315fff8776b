"""Every named misbehaviour as a client sees it on the socket."""

from __future__ import annotations

import gzip
import socket
import time

import orjson
import pytest
from simulator_testing import Client

from chatq_sandbox.misbehaviours import KINDS
from chatq_sandbox.process import SimulatorProcess


def received(connected: socket.socket) -> bytes:
    """Everything up to the end; raises ConnectionResetError when it ends with a reset."""
    data = b""
    while piece := connected.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("rate_limit", 429, "rate_limit_exceeded"),
        ("server_error", 500, None),
        ("server_error 502", 502, None),
        ("overloaded", 503, "server_is_overloaded"),
        ("quota_exhausted", 429, "insufficient_quota"),
        ("bad_key", 401, "invalid_api_key"),
        ("refuse slow_down", 429, "slow_down"),
        ("refuse credit_balance_exhausted", 429, "credit_balance_exhausted"),
        ("error_mid_stream", 500, None),
    ],
)
def test_refusals_have_the_sources_status_and_body(
    client: Client, directive: str, status: int, code: str | None
) -> None:
    answer = client.chat(f"[sim: {directive}]")
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


def test_rate_limit_tells_the_given_retry_after(client: Client) -> None:
    answer = client.chat("[sim: rate_limit 2.5]")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("3", "2500")
    assert "Please try again in 2.5s." in answer.json["error"]["message"]


def test_overloaded_tells_the_given_retry_after(client: Client) -> None:
    assert client.chat("[sim: overloaded 7]").headers["retry-after"] == "7"


@pytest.mark.parametrize("name", ["reset_before_answer", "reset_mid_body"])
def test_a_reset_is_a_real_tcp_reset(client: Client, name: str) -> None:
    with client.open(f"[sim: {name}]") as connected, pytest.raises(ConnectionResetError):
        received(connected)


def test_a_close_before_the_answer_sends_nothing(client: Client) -> None:
    with client.open("[sim: close_before_answer]") as connected:
        assert received(connected) == b""


def test_a_close_in_the_middle_leaves_the_body_short(client: Client) -> None:
    with client.open("[sim: close_mid_body]") as connected:
        head, _, body = received(connected).partition(b"\r\n\r\n")
    promised = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    assert 0 < len(body) < promised


def test_silence_lasts_until_the_client_goes(client: Client, simulator: SimulatorProcess) -> None:
    with client.open("job:quiet [sim: silence]") as connected:
        assert simulator.wait(job="quiet", in_flight=1)
        connected.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connected.recv(1)
    assert simulator.wait(job="quiet", aborted=1, in_flight=0)


def test_silence_can_set_in_after_half_of_the_body(client: Client) -> None:
    with client.open("[sim: silence_mid_body]") as connected:
        assert connected.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        connected.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connected.recv(1)


def test_a_slow_drip_brings_the_right_answer_late(client: Client) -> None:
    begun = time.monotonic()
    answer = client.chat("job:d [sim: slow_drip 0.2]")
    assert time.monotonic() - begun >= 0.19
    assert answer.text.startswith("answer to job:d ")


def test_blank_keep_alives_come_before_the_right_answer(client: Client) -> None:
    answer = client.chat("job:b [sim: blank_keep_alives 0.1]")
    assert answer.body.startswith(b"\n" * 10 + b"{")
    assert answer.text.startswith("answer to job:b ")


def test_blank_keep_alives_of_a_stream_are_comments(client: Client) -> None:
    answer = client.chat("[sim: blank_keep_alives 0.1]", stream=True)
    assert answer.body.startswith(b": keep-alive\n\n" * 10 + b"data: {")


def test_an_html_page_has_the_given_status(client: Client) -> None:
    answer = client.chat("[sim: html_page 504]")
    assert (answer.status, answer.headers["content-type"]) == (504, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<html>")


def test_a_redirect_points_elsewhere(client: Client) -> None:
    answer = client.chat("[sim: redirect 307]")
    assert (answer.status, answer.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")


@pytest.mark.parametrize("name", ["truncated_json", "empty_body", "not_json_utf8"])
def test_a_complete_http_answer_that_is_not_json(client: Client, name: str) -> None:
    answer = client.chat(f"[sim: {name}]")
    assert answer.status == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.body)


def test_bytes_that_are_not_utf8_are_in_the_middle_of_the_answer(client: Client) -> None:
    with pytest.raises(UnicodeDecodeError):
        client.chat("[sim: not_json_utf8]").body.decode()


def test_wrong_types_are_json_with_every_field_of_another_type(client: Client) -> None:
    answer = client.chat("[sim: wrong_types]").json
    assert isinstance(answer["id"], int)
    assert isinstance(answer["choices"], dict)
    assert isinstance(answer["usage"], list)
    assert isinstance(answer["created"], str)


def test_an_error_can_hide_behind_a_200(client: Client) -> None:
    answer = client.chat("[sim: error_in_200]")
    assert answer.status == 200
    assert answer.json.keys() == {"error"}


def test_a_huge_answer_is_valid_and_as_long_as_asked(client: Client) -> None:
    answer = client.chat("[sim: huge_answer 5000000]")
    assert len(answer.text) == 20 * 256 * 1024


def test_a_huge_answer_waits_for_a_slow_reader_and_ends_with_it(
    client: Client, simulator: SimulatorProcess
) -> None:
    with client.open("job:huge [sim: huge_answer 1000000000]") as connected:
        connected.recv(100)
        assert simulator.counts("huge")["in_flight"] == 1
    assert simulator.wait(job="huge", aborted=1, in_flight=0)


def test_gzip_is_the_right_answer_compressed(client: Client) -> None:
    answer = client.chat("job:z [sim: gzip]")
    assert answer.headers["content-encoding"] == "gzip"
    text = orjson.loads(gzip.decompress(answer.body))["choices"][0]["message"]["content"]
    assert text.startswith("answer to job:z ")


def test_no_usage_leaves_only_usage_out(client: Client) -> None:
    answer = client.chat("job:u [sim: no_usage]")
    assert "usage" not in answer.json
    assert answer.text.startswith("answer to job:u ")


def test_an_error_can_come_in_the_middle_of_a_stream(client: Client) -> None:
    events = client.chat("[sim: error_mid_stream]", stream=True).body.split(b"\n\n")
    assert orjson.loads(events[0].removeprefix(b"data: "))["choices"]
    assert orjson.loads(events[-2].removeprefix(b"data: "))["error"]["type"] == "server_error"


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"silence", "silence_mid_body"}))
def test_every_kind_is_counted_by_its_name_also_in_a_stream(
    client: Client, simulator: SimulatorProcess, name: str
) -> None:
    values = {
        "slow_drip": " 0.01",
        "blank_keep_alives": " 0.01",
        "huge_answer": " 1000",
        "refuse": " slow_down",
    }
    value = values.get(name, "")
    for stream in (False, True):
        with client.open(f"job:k [sim: {name}{value}]", stream=stream) as connected:
            connected.recv(65536) if "reset" not in name else None
            assert simulator.wait(job="k", in_flight=0, admitted=1 + stream)
    assert simulator.counts("k")["misbehaved"] == {name: 2}
    assert simulator.counts("k")["charged"] == (2 if KINDS[name].charged else 0)


def test_first_n_ends_after_n_calls_of_that_job(client: Client) -> None:
    for job in ("a", "b"):
        prompt = f"job:{job} [sim: server_error first 2]"
        assert [client.chat(prompt).status for _ in range(4)] == [500, 500, 200, 200]


def test_the_first_misbehaviour_that_applies_is_the_one_that_happens(client: Client) -> None:
    prompt = "job:x [sim: rate_limit first 1; server_error 503 first 2]"
    assert [client.chat(prompt).status for _ in range(3)] == [429, 503, 200]


def test_a_share_hits_the_same_calls_in_every_run_whatever_the_order(
    client: Client, simulator: SimulatorProcess
) -> None:
    client.configure(defaults={"misbehaviours": [{"name": "server_error", "share": 0.3}]})
    jobs = [f"s{number}" for number in range(60)]
    forwards = {job: client.chat(f"job:{job}").status for job in jobs}
    simulator.control("POST", "reset")
    backwards = {job: client.chat(f"job:{job}").status for job in reversed(jobs)}
    assert forwards == backwards
    assert 8 <= list(forwards.values()).count(500) <= 28


def test_a_misbehaviour_can_be_for_one_model_only(client: Client) -> None:
    client.configure(defaults={"misbehaviours": [{"name": "server_error", "model": "gpt-4o"}]})
    assert (client.chat(model="gpt-4o").status, client.chat(model="gpt-4o-mini").status) == (500, 200)


def test_refusals_come_at_once_and_failures_after_the_models_latency(client: Client) -> None:
    client.configure(defaults={"latency": 0.15})
    took = {}
    for name in ("rate_limit", "server_error"):
        begun = time.monotonic()
        client.chat(f"[sim: {name}]")
        took[name] = time.monotonic() - begun
    assert took["rate_limit"] < 0.15 <= took["server_error"]
