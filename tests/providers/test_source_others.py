"""What is special about AI21, Fireworks, Electron Hub and custom servers."""

from __future__ import annotations

from typing import Any

import pytest
from provider_testing import CLOCK, Sent, connection, failure, sent

from chatq_worker.failures import FailureClass
from chatq_worker.providers.custom import other_url
from for_each import for_each


def custom(
    messages: Any = "Hi", *, key: str | None = None, job: dict[str, Any] | None = None, **settings: Any
) -> Sent:
    return sent("custom", messages, to=connection("custom", **settings), key=key, **(job or {}))


# --- ai21 ---


def test_ai21_gets_plain_texts_joined_by_role() -> None:
    messages = [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]

    assert sent("ai21", messages).body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\n\nb\n\nc"},
    ]


def test_ai21_always_gets_a_function_with_parameters() -> None:
    (tool,) = sent("ai21", tools=[CLOCK]).body["tools"]

    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


def test_ai21s_model_error_is_worth_a_retry() -> None:
    assert failure("ai21", {"detail": "model error"}, 424).kind is FailureClass.TRANSIENT
    assert failure("openai", {"detail": "model error"}, 424).kind is FailureClass.REQUEST


# --- fireworks ---


def test_fireworks_completes_a_bare_model_name() -> None:
    assert sent("fireworks", model="kimi-k3").body["model"] == "accounts/fireworks/models/kimi-k3"


@pytest.mark.parametrize(
    "model", ["accounts/fireworks/routers/x", "accounts/me/models/y#accounts/me/deployments/z"]
)
def test_fireworks_leaves_a_whole_name_alone(model: str) -> None:
    assert sent("fireworks", model=model).body["model"] == model


@for_each(
    ("given", "sent_as"),
    [("none", "none"), ("minimal", "low"), ("xhigh", "high"), (512, 512), (False, False)],
)
def test_fireworks_has_efforts_of_its_own(given: Any, sent_as: Any) -> None:
    assert sent("fireworks", params={"reasoning_effort": given}).body["reasoning_effort"] == sent_as


def test_fireworks_gets_back_what_the_model_thought() -> None:
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "because", "annotations": []},
        {"role": "user", "content": "c"},
    ]

    assert sent("fireworks", history).body["messages"][1] == {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "because",
    }


def test_of_fireworks_412s_those_about_money_are_the_accounts() -> None:
    assert (
        failure("fireworks", {"error": {"message": "Account is suspended"}}, 412).kind is FailureClass.ACCOUNT
    )
    assert failure("fireworks", {"error": {"message": "LoRA not loaded"}}, 412).kind is FailureClass.REQUEST


# --- electronhub ---


@pytest.mark.parametrize("headers", [{}, {"retry-after": "5"}, {"retry-after": "180"}])
def test_a_429_of_electron_hubs_is_waited_out_for_180_seconds(headers: dict[str, str]) -> None:
    assert failure("electronhub", {"error": {"message": "Rate limit"}}, 429, headers).retry_after_s == 180.0


# --- custom ---


def test_a_custom_server_needs_neither_key_nor_model() -> None:
    request = sent("custom", model="", to=connection("custom"), key=None)

    assert request.headers == {"content-type": "application/json"}
    assert request.body == {"messages": [{"role": "user", "content": "Hi"}]}


def test_a_custom_key_may_travel_as_x_api_key() -> None:
    assert custom(key="k", auth_header="x-api-key").headers["x-api-key"] == "k"
    assert custom(key="k").headers["authorization"] == "Bearer k"


def test_custom_headers_are_added_and_may_replace_the_content_type() -> None:
    request = custom(include_headers={"X-Team": "a", "Content-Type": "application/json; charset=utf-8"})

    assert request.headers == {"X-Team": "a", "Content-Type": "application/json; charset=utf-8"}


def test_include_body_is_merged_deeply_over_ours() -> None:
    include = {
        "chat_template_kwargs": {"enable_thinking": False},
        "temperature": 0.1,
        "provider": {"order": ["a"]},
    }
    job = {
        "params": {"temperature": 0.9, "chat_template_kwargs": {"x": 1}, "provider": {"order": ["b"], "y": 2}}
    }

    body = custom(include_body=include, job=job).body

    assert body["temperature"] == 0.1
    assert body["chat_template_kwargs"] == {"x": 1, "enable_thinking": False}
    assert body["provider"] == {"order": ["a"], "y": 2}


def test_exclude_body_comes_last_and_reaches_inside() -> None:
    include = {"a": {"b": {"c": 1, "d": 2}}, "e": 3}

    body = custom(include_body=include, exclude_body=["a.b.c", "e", "model", "nowhere.x", "messages.x"]).body

    assert body == {"messages": [{"role": "user", "content": "Hi"}], "a": {"b": {"d": 2}}}


def test_the_settings_of_a_connection_are_never_changed_by_a_request() -> None:
    include = {"a": {"b": {"c": 1}}}
    to = connection("custom", include_body=include, exclude_body=["a.b.c"])

    sent("custom", to=to)

    assert to.include_body == {"a": {"b": {"c": 1}}}


def test_a_stream_in_include_body_is_left_out_because_answers_are_read_whole() -> None:
    request = custom(include_body={"stream": True, "stream_options": {"include_usage": True}})

    assert not {"stream", "stream_options"} & set(request.body)
    assert request.says("stream", "left out")


def test_custom_messages_go_out_as_they_are() -> None:
    messages = [
        {"role": "developer", "name": "x", "content": "a", "mood": 1},
        {"role": "tool", "content": "b"},
    ]

    assert custom(messages).body["messages"] == messages


def test_the_other_address_of_a_server_has_a_version_where_this_one_has_none() -> None:
    assert other_url("http://127.0.0.1:5000") == "http://127.0.0.1:5000/v1"
    assert other_url("http://127.0.0.1:5000/v1") == "http://127.0.0.1:5000"
