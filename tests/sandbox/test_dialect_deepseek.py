"""What api.deepseek.com takes, refuses and answers: from its documents and messages that users quote."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from simulator_testing import SourceClient

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
OFF = {"type": "disabled"}
BETA = "/beta/chat/completions"


@pytest.fixture
def deepseek(simulator: SimulatorProcess) -> SourceClient:
    return SourceClient(
        simulator,
        "deepseek",
        "/chat/completions",
        {"model": "deepseek-flash"},
        authorization="Bearer sim-deepseek-key",
    )


@for_each(
    ("fields", "status", "message"),
    [
        ({"max_tokens": 0}, 422, "target type: max_tokens: Input should be greater than or equal to 1"),
        ({"temperature": "hot"}, 422, "target type: temperature: Input should be a valid number"),
        ({"thinking": {"type": "auto"}}, 422, "thinking.type: Input should be 'enabled' or 'disabled'"),
        ({"reasoning_effort": "none"}, 422, "reasoning_effort: Input should be"),
        (
            {"messages": [{"role": "developer", "content": "x"}]},
            422,
            "messages[0].role: Input should be 'system',",
        ),
        (
            {"tools": [{"type": "custom", "function": {"name": "f"}}]},
            422,
            "tools[0].type: Input should be 'function'",
        ),
        ({"user_id": "é" * 257}, 400, "user_id is longer than 512 bytes"),
        ({"model": "gpt-4o"}, 400, "Model Not Exist"),
        ({"response_format": {"type": "json_object"}}, 400, "Prompt must contain the word 'json'"),
        ({"response_format": {"type": "json_schema"}}, 400, "This response_format type is unavailable now"),
        ({"messages": [USER, CALLING, USER], "thinking": OFF}, 400, "did not have response messages: c1"),
        (
            {"messages": [USER, {"role": "assistant", "content": "a"}, USER]},
            400,
            "The reasoning_content in the thinking mode must be passed back to the API.",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "a", "reasoning_content": ""}, USER]},
            400,
            "The reasoning_content in the thinking mode must be passed back to the API.",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "a", "prefix": True}], "thinking": OFF},
            400,
            "The last message of deepseek-flash must be a user message, or an assistant message with prefix mode on",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_deepseeks_words(
    deepseek: SourceClient, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = deepseek.chat(**fields)
    assert answer.status == status
    assert message in answer.json["error"]["message"]


@for_each(
    "fields",
    [
        {"seed": 7, "top_k": 5, "parallel_tool_calls": True},
        {"temperature": 0.1, "presence_penalty": 1},
        {"messages": [USER, {"role": "assistant", "content": "a", "reasoning_content": " "}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "a"}, USER], "thinking": OFF},
        {"stop": ["x"] * 16, "logprobs": True, "top_logprobs": 3, "user_id": "u"},
    ],
)
def test_what_deepseek_takes_is_taken(deepseek: SourceClient, fields: dict[str, Any]) -> None:
    assert deepseek.chat(**fields).status == 200


def test_a_model_thinks_unless_told_not_to(deepseek: SourceClient) -> None:
    thinking = deepseek.chat().json
    quiet = deepseek.chat(thinking=OFF).json
    assert thinking["choices"][0]["message"]["reasoning_content"]
    assert thinking["usage"]["completion_tokens_details"] == {"reasoning_tokens": 16}
    assert "reasoning_content" not in quiet["choices"][0]["message"]
    assert "completion_tokens_details" not in quiet["usage"]


def test_a_prefix_is_taken_on_the_beta_base_and_not_repeated(deepseek: SourceClient) -> None:
    turns = [
        {"role": "user", "content": "[sim: say sunny.]"},
        {"role": "assistant", "content": "It is ", "prefix": True},
    ]
    assert deepseek.chat(messages=turns, thinking=OFF, path=BETA).text == "sunny."


def test_a_key_without_money_is_a_402_and_the_balance_says_so(
    deepseek: SourceClient, simulator: SimulatorProcess
) -> None:
    assert deepseek.get("/user/balance").json["is_available"] is True
    key = {"source": "deepseek", "key": "sim-deepseek-key", "state": "out_of_quota"}
    simulator.control("POST", "keys", key)
    balance = deepseek.get("/user/balance")
    assert (balance.status, balance.json["is_available"]) == (200, False)
    assert balance.json["balance_infos"][0]["total_balance"] == "0.00"
    answer = deepseek.chat()
    assert (answer.status, answer.json["error"]["message"]) == (402, "Insufficient Balance")
    assert deepseek.get("/models").status == 200


def test_a_limit_is_refused_without_a_word_about_when_to_come_back(deepseek: SourceClient) -> None:
    deepseek.configure(limits={"requests_per_minute": 1, "bucket": "minute"})
    answered, refused = deepseek.chat(), deepseek.chat()
    assert (answered.status, refused.status) == (200, 429)
    assert [
        name for name in (*answered.headers, *refused.headers) if "ratelimit" in name or "retry" in name
    ] == []


def slowly(deepseek: SourceClient, **fields: Any) -> bytes:
    """The whole answer as it comes over the connection, chunk sizes and all."""
    place = urlsplit(deepseek.simulator.url)
    body = orjson.dumps({"model": "deepseek-flash", "messages": [USER], "thinking": OFF, **fields})
    head = (
        b"POST /deepseek/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sim-deepseek-key\r\n"
        b"connection: close\r\ncontent-length: %d\r\n\r\n"
    )
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as connected:
        connected.sendall(head % len(body) + body)
        return b"".join(iter(lambda: connected.recv(65536), b""))


def test_a_caller_who_waits_is_sent_empty_lines_before_the_answer(deepseek: SourceClient) -> None:
    deepseek.configure(latency=0.05, keep_alive_s=0.02)
    head, _, body = slowly(deepseek).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body.startswith(b"1\r\n\n\r\n")
    whole = deepseek.chat(thinking=OFF)
    assert whole.body.startswith(b"\n")
    assert whole.text.startswith("answer to")


def test_an_answer_that_comes_soon_has_no_empty_lines(deepseek: SourceClient) -> None:
    deepseek.configure(latency=0.01)
    assert deepseek.chat(thinking=OFF).body.startswith(b"{")


def test_a_stream_that_waits_is_sent_comments_before_its_events(deepseek: SourceClient) -> None:
    deepseek.configure(latency=0.05, keep_alive_s=0.03)
    answer = deepseek.chat(thinking=OFF, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.startswith(b": keep-alive\n\ndata: {")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_caller_who_goes_while_he_is_fed_is_counted_as_gone(
    deepseek: SourceClient, simulator: SimulatorProcess
) -> None:
    deepseek.configure(latency=60, keep_alive_s=0.02)
    place = urlsplit(simulator.url)
    body = orjson.dumps({"model": "deepseek-flash", "messages": [{"role": "user", "content": "job:fed"}]})
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=20) as connected:
        connected.sendall(
            b"POST /deepseek/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sim-deepseek-key\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert connected.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert simulator.wait(job="fed", aborted=1)
    assert simulator.counts("fed")["charged"] == 0


def test_usage_comes_in_the_last_chunk_unless_it_is_asked_for(deepseek: SourceClient) -> None:
    def chunks(**fields: Any) -> list[Any]:
        parts = deepseek.chat(stream=True, **fields).body.strip().split(b"\n\n")[:-1]
        return [orjson.loads(part.removeprefix(b"data: ")) for part in parts]

    unasked, asked = chunks()[-1], chunks(stream_options={"include_usage": True})[-1]
    assert (unasked["choices"][0]["finish_reason"], asked["choices"]) == ("stop", [])
    for chunk in (unasked, asked):
        assert chunk["usage"]["prompt_cache_miss_tokens"] == 2


def test_reasoning_is_streamed_before_the_text(deepseek: SourceClient) -> None:
    parts = deepseek.chat(stream=True).body.strip().split(b"\n\n")[:-1]
    deltas = [orjson.loads(part.removeprefix(b"data: "))["choices"][0]["delta"] for part in parts]
    names = [next(iter(delta)) for delta in deltas[1:-1]]
    assert names == sorted(names, reverse=True)
    assert set(names) == {"reasoning_content", "content"}
