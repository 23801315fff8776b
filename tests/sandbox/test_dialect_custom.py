"""Servers of one's own: what they have in common, and what each does in its own way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest
from simulator_testing import LEAVE_OUT, SourceClient

from chatq_sandbox.dialects.registry import DIALECTS
from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SERVERS = sorted(name for name in DIALECTS if name.startswith("custom"))
Server = Callable[..., SourceClient]


@pytest.fixture
def server(simulator: SimulatorProcess) -> Server:
    def make(name: str, **headers: str) -> SourceClient:
        source = f"custom/{name}" if name else "custom"
        model = DIALECTS[source].default_models[0]
        return SourceClient(simulator, source, "/v1/chat/completions", {"model": model}, **headers)

    return make


def short(source: str) -> str:
    return source.removeprefix("custom").removeprefix("/")


@for_each("source", SERVERS)
def test_every_server_answers_lists_its_models_and_ignores_unknown_fields(
    server: Server, source: str
) -> None:
    client = server(short(source), authorization="Bearer sim-custom-key")
    answer = client.chat("job:c", mirostat=2, dry_multiplier=0.8, top_p=0.9)
    assert answer.status == 200
    assert answer.text.startswith("answer to job:c")
    models = client.get("/v1/models").json["data"]
    assert DIALECTS[source].default_models[0] in {row["id"] for row in models}


@for_each("source", SERVERS)
def test_every_server_streams_what_it_would_say_at_once(server: Server, source: str) -> None:
    client = server(short(source), authorization="Bearer sim-custom-key")
    body = client.chat("[sim: say one two three]", stream=True).body
    parts = body.strip().split(b"\n\n")
    assert parts[-1] == b"data: [DONE]"
    deltas = [orjson.loads(part.removeprefix(b"data: "))["choices"][0]["delta"] for part in parts[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "one two three"


@for_each("source", [name for name in SERVERS if not DIALECTS[name].needs_key])
def test_a_server_asks_for_a_key_when_it_has_one(server: Server, source: str) -> None:
    client = server(short(source))
    assert client.chat().status == 200
    client.configure(keys=["secret"])
    assert client.chat().status == 401
    assert client.chat(headers={"authorization": "Bearer secret"}).status == 200


def test_litellm_always_asks_for_a_key(server: Server) -> None:
    answer = server("litellm").chat()
    assert (answer.status, answer.json["error"]["code"]) == (401, "401")


@for_each(
    ("name", "status"), [("", 200), ("tabbyapi", 200), ("llamacpp", 200), ("vllm", 401), ("oobabooga", 401)]
)
def test_some_take_the_key_in_x_api_key_too(server: Server, name: str, status: int) -> None:
    client = server(name, x_api_key="secret")
    client.configure(keys=["secret"])
    assert client.chat().status == status


@for_each(
    ("name", "body"),
    [
        ("vllm", {"error": "Unauthorized"}),
        ("tabbyapi", {"detail": "Invalid API key"}),
        ("oobabooga", {"detail": "Unauthorized"}),
        (
            "llamacpp",
            {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}},
        ),
    ],
)
def test_a_wrong_key_is_refused_in_the_servers_shape(server: Server, name: str, body: Any) -> None:
    client = server(name)
    client.configure(keys=["secret"])
    assert client.chat().json == body


@for_each(
    ("name", "status", "body"),
    [
        (
            "vllm",
            400,
            {
                "error": {
                    "message": "max_tokens: Input should be a valid integer",
                    "type": "BadRequestError",
                    "param": "max_tokens",
                    "code": 400,
                }
            },
        ),
        (
            "tabbyapi",
            422,
            {
                "detail": [
                    {
                        "loc": ["body", "max_tokens"],
                        "msg": "Input should be a valid integer",
                        "type": "int_type",
                    }
                ]
            },
        ),
        (
            "llamacpp",
            400,
            {
                "error": {
                    "code": 400,
                    "message": "max_tokens: Input should be a valid integer",
                    "type": "invalid_request_error",
                }
            },
        ),
        (
            "ollama",
            400,
            {
                "error": {
                    "message": "max_tokens: Input should be a valid integer",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        ),
        (
            "litellm",
            400,
            {
                "error": {
                    "message": "max_tokens: Input should be a valid integer",
                    "type": "BadRequestError",
                    "param": "max_tokens",
                    "code": "400",
                }
            },
        ),
    ],
)
def test_a_wrong_field_is_refused_in_the_servers_shape(
    server: Server, name: str, status: int, body: Any
) -> None:
    answer = server(name, authorization="Bearer sim-custom-key").chat(max_tokens="many")
    assert (answer.status, answer.json) == (status, body)


@for_each(
    ("name", "status", "model"),
    [
        ("vllm", 404, None),
        ("ollama", 404, None),
        ("lmstudio", 404, None),
        ("litellm", 400, None),
        ("llamacpp", 200, "local-model"),
        ("tabbyapi", 200, "Meta-Llama-3-8B-exl3"),
        ("oobabooga", 200, "local-model"),
    ],
)
def test_an_unknown_model_is_refused_or_answered_by_the_loaded_one(
    server: Server, name: str, status: int, model: str | None
) -> None:
    answer = server(name, authorization="Bearer sim-custom-key").chat(model="nope")
    assert answer.status == status
    assert answer.json.get("model") == model


@for_each("name", ["", "llamacpp", "vllm", "tabbyapi"])
def test_the_model_may_be_left_out(server: Server, name: str) -> None:
    assert server(name).chat(model=LEAVE_OUT).status == 200


@for_each(
    ("name", "field"),
    [
        ("", "reasoning_content"),
        ("llamacpp", "reasoning_content"),
        ("aphrodite", "reasoning_content"),
        ("vllm", "reasoning"),
        ("ollama", "reasoning"),
    ],
)
def test_the_field_for_reasoning_has_two_names(server: Server, name: str, field: str) -> None:
    message = server(name).chat(reasoning_effort="low").json["choices"][0]["message"]
    assert message[field].startswith("Rain")
    assert message["content"].startswith("answer to")


@for_each("name", ["localai", "tabbyapi", "oobabooga"])
def test_some_leave_reasoning_in_the_text(server: Server, name: str) -> None:
    message = server(name).chat("job:t", reasoning_effort="low").json["choices"][0]["message"]
    assert message["content"].startswith("<think>\nRain")
    assert "</think>\n\nanswer to job:t" in message["content"]


def test_llamacpp_answers_nothing_until_its_model_is_loaded(server: Server) -> None:
    client = server("llamacpp")
    client.configure(loading_s=3600)
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    for answer in (client.chat(), client.get("/health"), client.get("/v1/models")):
        assert (answer.status, answer.json) == (503, loading)
    client.configure()
    assert client.get("/health").json == {"status": "ok"}


def test_llamacpp_and_litellm_answer_without_v1_as_well(server: Server) -> None:
    for name in ("llamacpp", "litellm"):
        client = server(name, authorization="Bearer sim-custom-key")
        assert client.chat(path="/chat/completions").status == 200
        assert client.get("/models").status == 200
    assert server("vllm").chat(path="/chat/completions").status == 404


def test_vllm_goes_on_with_the_last_message_only_when_both_switches_are_set(server: Server) -> None:
    client = server("vllm")
    turns = [USER, {"role": "assistant", "content": "It is"}]
    both = {"continue_final_message": True, "add_generation_prompt": False}
    assert client.chat(messages=turns, **both).status == 200
    refused = client.chat(messages=turns, continue_final_message=True)
    assert refused.status == 400
    assert "Cannot set both" in refused.json["error"]["message"]


def test_vllm_counts_max_tokens_into_the_context(server: Server) -> None:
    answer = server("vllm").chat("12345678", max_tokens=40_959)
    assert answer.status == 400
    assert "40961 tokens (2 in the messages, 40959 in the completion)" in answer.json["error"]["message"]
    assert server("vllm").get("/v1/models").json["data"][0]["max_model_len"] == 40_960


def test_vllm_names_the_stop_sequence(server: Server) -> None:
    choice = server("vllm").chat("[sim: say one END two]", stop="END").json["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", "END")


def test_ollama_ignores_most_fields_and_cuts_a_long_prompt_without_a_word(server: Server) -> None:
    answer = server("ollama").chat(
        "x" * 40_000, model="llama3.2", n=2, max_completion_tokens=1, tools=[TOOL], tool_choice="required"
    )
    assert answer.status == 200
    assert (len(answer.json["choices"]), answer.json["choices"][0]["finish_reason"]) == (1, "stop")
    assert answer.json["usage"]["prompt_tokens"] == 4096


def test_lm_studio_wants_a_schema_for_json(server: Server) -> None:
    client = server("lmstudio")
    assert client.chat(response_format={"type": "json_object"}).status == 400
    schema = {"name": "a", "schema": {"type": "object", "properties": {}}}
    assert client.chat(response_format={"type": "json_schema", "json_schema": schema}).text == "{}"


def test_litellm_wraps_the_providers_error_and_tells_costs(server: Server) -> None:
    client = server("litellm", authorization="Bearer sim-custom-key")
    wrapped = client.chat("[sim: refuse wrapped]")
    assert (wrapped.status, wrapped.json["error"]["code"]) == (400, "400")
    assert "Insufficient Balance" in wrapped.json["error"]["message"]
    assert float(client.chat().headers["x-litellm-response-cost"]) > 0


def test_a_gateway_tells_when_to_come_back_as_a_date(server: Server) -> None:
    client = server("gateway")
    answer = client.chat("[sim: rate_limit 30]")
    assert answer.status == 429
    assert answer.headers["retry-after"].endswith(" GMT")
    wait = parsedate_to_datetime(answer.headers["retry-after"]) - datetime.now(UTC)
    assert 10 < wait.total_seconds() <= 31


def test_a_bare_server_sends_the_text_and_nothing_else(server: Server) -> None:
    client = server("bare")
    assert client.chat("[sim: say hi]").json == {"choices": [{"message": {"content": "hi"}}]}
    assert client.get("/v1/models").json["data"] == [{"id": "local-model"}]


@for_each(
    ("name", "path", "status"),
    [
        ("", "/health", 200),
        ("vllm", "/health", 200),
        ("vllm", "/version", 200),
        ("llamacpp", "/props", 200),
        ("ollama", "/api/version", 200),
        ("ollama", "/api/tags", 200),
        ("tabbyapi", "/health", 200),
        ("tabbyapi", "/v1/model", 200),
        ("litellm", "/health/liveliness", 200),
        ("litellm", "/model/info", 401),
        ("localai", "/readyz", 200),
        ("lmstudio", "/api/v0/models", 200),
        ("oobabooga", "/v1/internal/model/info", 200),
        ("oobabooga", "/health", 404),
        ("bare", "/health", 404),
    ],
)
def test_each_has_health_paths_of_its_own(server: Server, name: str, path: str, status: int) -> None:
    assert server(name).get(path).status == status
