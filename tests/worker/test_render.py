"""`chatq render` shows the request that would be sent; nothing is sent, and no key is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatq.contract.errors import InvalidJob
from chatq.contract.job import Job
from chatq.contract.settings import Settings
from chatq_worker.render import render
from forked import run

SETTINGS = Settings.model_validate(
    {
        "connections": {
            "openai-main": {"source": "openai", "model": "gpt-4o-mini", "api_key": "env:NOT_SET"},
            "own": {
                "source": "custom",
                "url": "http://127.0.0.1:5000/v1",
                "model": "m",
                "post_processing": "strict",
                "include_headers": {"x-team": "canary"},
                "params": {"temperature": 0.5, "seed": 1},
            },
        }
    }
)


def rendered(**job: Any) -> dict[str, Any]:
    return render(Job.parse(job), SETTINGS)


def test_the_request_is_shown_whole_with_the_key_masked() -> None:
    shown = rendered(connection="openai-main", prompt="hi", params={"max_tokens": 9})
    assert shown == {
        "method": "POST",
        "url": "https://api.openai.com/v1/chat/completions",
        "headers": {"content-type": "application/json", "authorization": "Bearer [key]"},
        "body": {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "hi"}],
            "max_completion_tokens": 9,
        },
        "messages": [{"role": "user", "content": "hi"}],
        "warnings": [],
    }


def test_messages_are_those_after_the_mode_of_the_connection() -> None:
    shown = rendered(connection="own", messages=[{"role": "assistant", "content": "Hello"}])
    assert shown["messages"] == [
        {"role": "user", "content": "[Start a new chat]"},
        {"role": "assistant", "content": "Hello"},
    ]


def test_the_mode_of_the_job_wins() -> None:
    messages = [{"role": "assistant", "content": "Hello"}]
    assert rendered(connection="own", messages=messages, post_processing="none")["messages"] == messages


def test_params_of_the_job_lie_over_those_of_the_connection() -> None:
    body = rendered(connection="own", prompt="hi", params={"seed": 2})["body"]
    assert (body["temperature"], body["seed"]) == (0.5, 2)


def test_values_of_headers_that_the_user_added_are_hidden() -> None:
    assert rendered(connection="own", prompt="hi")["headers"]["x-team"] == "[hidden]"


def test_tools_under_a_mode_without_tools_are_refused_with_the_variant_to_use() -> None:
    with pytest.raises(InvalidJob) as caught:
        rendered(connection="own", prompt="hi", tools=[{"type": "function", "function": {"name": "f"}}])
    assert "strict_tools" in caught.value.remedy


def test_an_empty_list_of_messages_is_refused_under_mode_none_alone() -> None:
    with pytest.raises(InvalidJob, match="mode none"):
        rendered(connection="openai-main", messages=[])
    assert rendered(connection="own", messages=[])["messages"] == [
        {"role": "user", "content": "[Start a new chat]"}
    ]


def test_a_file_of_jobs_is_rendered_line_by_line_and_a_bad_line_stops_no_other(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("connections: {own: {source: custom, url: 'http://127.0.0.1:5000/v1', model: m}}")
    lines = ['{"prompt": "one\u2028two"}', "", "{bad", '{"prompt": "three", "connection": "none"}']
    done = run("chatq", "render", "own", "--config", str(config), "-", standard_input="\n".join(lines))
    shown = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert done.returncode == 1
    assert shown[0]["body"]["messages"][0]["content"] == "one\u2028two"
    assert shown[1]["error"]["message"] == (
        "Line 3 is not a JSON object: expecting property name enclosed in double quotes."
    )
    assert shown[2]["error"]["code"] == "unknown_connection"
