"""Every sample exchange: the request for the job behind it is the sample's, but for the differences written down here.

The samples are in data/wire, a copy of the project's shared ones; each is made from the documented shapes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest
from provider_testing import connection, exchanges
from wire_jobs import job_of

from chatq_worker.failures import CallFailed
from chatq_worker.providers import ADAPTERS
from chatq_worker.providers.chat_messages import CONTINUE
from for_each import for_each

ABSENT = object()


class Difference(NamedTuple):
    """Keys of the body that differ from the sample's, and why."""

    body: dict[str, Any]
    why: str


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


RAIN = "Write one short line about rain."

DIFFERENT: dict[tuple[str, str], Difference] = {
    ("openai", "chat_n2_logprobs_cached"): Difference(
        {"max_tokens": ABSENT, "max_completion_tokens": 4}, "every model takes the newer name"
    ),
    ("openai", "error_400_max_tokens"): Difference(
        {"max_tokens": ABSENT, "max_completion_tokens": 64}, "reasoning models refuse the older name"
    ),
    ("claude", "error_400_temperature_model"): Difference(
        {"temperature": ABSENT}, "the model refuses it: dropped, with a warning"
    ),
    ("claude", "error_400_prefill"): Difference(
        {"messages": [user(RAIN), assistant("Rain"), user(CONTINUE)]}, "the model continues no prefill"
    ),
    ("claude", "error_400_prefill_space"): Difference(
        {"messages": [user(RAIN), assistant("Rain")]}, "a prefill that ends in white space is refused"
    ),
    ("claude", "error_400_empty_text"): Difference(
        {"messages": [user("[Start a new chat]")]}, "an empty block is refused, and so is a chat of nothing"
    ),
    ("claude", "error_400_no_max_tokens"): Difference({"max_tokens": 16_000}, "it is required"),
    ("mistralai", "error_400_last_role"): Difference(
        {
            "messages": [
                {"role": "user", "content": RAIN},
                {"role": "assistant", "content": "Rain", "prefix": True},
            ]
        },
        "a last turn of the assistant must be marked as a prefix",
    ),
    ("mistralai", "error_400_tool_id"): Difference(
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "718bcafb8",
                            "type": "function",
                            "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "718bcafb8", "content": "4"},
            ]
        },
        "ids have 9 letters and digits",
    ),
    ("mistralai", "error_422_extra_field"): Difference(
        {"seed": ABSENT, "random_seed": 7}, "seed has another name there"
    ),
    ("deepseek", "error_400_reasoning_missing"): Difference(
        {
            "messages": [
                {"role": "user", "content": RAIN},
                {"role": "assistant", "content": "Rain.", "reasoning_content": " "},
                {"role": "user", "content": "More."},
            ]
        },
        "earlier turns must carry reasoning while the model thinks",
    ),
    ("ai21", "chat_json_object"): Difference(
        {"stream": False}, "AI21's SDK always sends it; false is its default"
    ),
    ("cohere", "error_400"): Difference({"p": 0.99}, "the nearest value that Cohere takes, with a warning"),
    ("cohere", "error_422"): Difference({"p": 0.5, "top_p": ABSENT}, "top_p has another name there"),
    ("perplexity", "chat_preset"): Difference(
        {"instructions": "One line.", "input": [{"role": "user", "content": "What is rain?"}]},
        "what the system says at the start are the instructions",
    ),
    ("perplexity", "error_400_model"): Difference(
        {"model": ABSENT, "preset": "fast"}, "the Agent API has no bare Sonar names"
    ),
    ("perplexity", "sonar_legacy_error_400_alternate"): Difference(
        {"messages": [{"role": "user", "content": f"{RAIN}\n\n{RAIN}"}]}, "turns must alternate"
    ),
    ("perplexity", "sonar_legacy_error_400_last_role"): Difference(
        {
            "messages": [
                {"role": "user", "content": RAIN},
                {"role": "assistant", "content": "Rain"},
                {"role": "user", "content": CONTINUE},
            ]
        },
        "the last message must be the user's",
    ),
}

HEADERS: dict[tuple[str, str], dict[str, str]] = {
    # The newer version of the API refuses sampling from every model, and haiku-4-5 takes it under the older.
    ("claude", "error_400_sampling_2026_10_21"): {"anthropic-version": "2023-06-01"},
}

NO_REQUEST = {
    ("perplexity", "error_400_none"): "a request without a model is refused here, before it is sent"
}

CHATS = [
    pytest.param(source, exchange, id=f"{source}-{exchange['name']}")
    for source, exchange in exchanges("response", "response_extra", "error")
    if exchange["request"]["method"] == "POST" and (source, exchange["name"]) not in NO_REQUEST
]


def setting_of(source: str, exchange: dict[str, Any]) -> tuple[Any, str | None]:
    """The connection and the key behind a sample."""
    headers = exchange["request"]["headers"]
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None
    settings: dict[str, Any] = {}
    if exchange.get("source") == "perplexity-sonar":
        settings["api"] = "sonar"
    if source == "custom":
        settings["url"] = exchange["request"]["url"].removesuffix("/chat/completions")
        if "x-api-key" in headers:
            settings["auth_header"] = "x-api-key"
    return connection(source, **settings), key


def in_blocks(source: str, body: dict[str, Any]) -> dict[str, Any]:
    """To Anthropic a text and one block of text are the same; chatq always writes blocks."""
    if source != "claude":
        return body

    def blocks(content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    body = {**body, "messages": [{**m, "content": blocks(m["content"])} for m in body["messages"]]}
    if "system" in body:
        body["system"] = blocks(body["system"])
    return body


@for_each(("source", "exchange"), CHATS)
def test_the_request_for_a_samples_job_is_the_sample(source: str, exchange: dict[str, Any]) -> None:
    given = exchange["request"]
    to, key = setting_of(source, exchange)

    prepared = ADAPTERS[source].request(job_of(source, given["json"], sonar=to.api == "sonar"), to, key)

    expected = in_blocks(source, given["json"])
    different = DIFFERENT.get((source, exchange["name"]), Difference({}, ""))
    expected = {**expected, **different.body}
    expected = {name: value for name, value in expected.items() if value is not ABSENT}
    assert orjson.loads(prepared.request.body) == expected
    assert prepared.request.method == "POST"
    assert prepared.request.url == given["url"]
    headers = {name.lower(): value for name, value in given["headers"].items()}
    if "x-client-name" in headers:
        headers["x-client-name"] = "chatq"  # whoever calls puts its own name there
    headers |= HEADERS.get((source, exchange["name"]), {})
    assert prepared.request.headers == headers


@pytest.mark.parametrize(("source", "name"), list(NO_REQUEST))
def test_a_job_without_a_model_is_refused_before_it_is_sent(source: str, name: str) -> None:
    exchange = next(e for s, e in exchanges("error") if (s, e["name"]) == (source, name))
    to, key = setting_of(source, exchange)

    with pytest.raises(CallFailed, match="invalid_request") as failed:
        ADAPTERS[source].request(job_of(source, exchange["request"]["json"]), to, key)

    assert not failed.value.sent


def test_every_difference_is_about_a_sample() -> None:
    known = {
        (source, exchange["name"]) for source, exchange in exchanges("response", "response_extra", "error")
    }
    assert {*DIFFERENT, *HEADERS, *NO_REQUEST} <= known


@for_each(
    ("source", "exchange"),
    [
        pytest.param(source, exchange, id=f"{source}-{exchange['name']}")
        for source, exchange in exchanges("models")
        if exchange["request"]["headers"]
    ],
)
def test_the_request_for_a_model_list_is_the_sample(source: str, exchange: dict[str, Any]) -> None:
    given = exchange["request"]
    settings = {"url": given["url"].removesuffix("/models")} if source == "custom" else {}
    key = given["headers"].get("x-api-key") or given["headers"]["authorization"].removeprefix("Bearer ")

    request = ADAPTERS[source].models_request(connection(source, **settings), key)

    assert request is not None
    assert (request.method, request.url, request.body) == ("GET", given["url"], b"")
    headers = {name.lower(): value for name, value in given["headers"].items()}
    if source == "cohere":
        headers["x-client-name"] = "chatq"
    assert request.headers == headers
