"""What `chatq render` shows is a request that the sources' official SDKs could have sent, at every level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from openai_jobs import OPENAI_JOBS
from provider_testing import MODELS
from renders import CONNECTIONS, SONAR, problems, rendered, sample_jobs

SAMPLE_JOBS = sample_jobs()

FEATURE_JOBS = {
    f"{connection}/{name}": {
        "connection": connection,
        "model": model,
        **job,
    }
    for connection, model in {**MODELS, SONAR: "sonar-pro"}.items()
    for name, job in OPENAI_JOBS.items()
}

WRONG_BY_THE_CALLER: Mapping[str, list[str]] = {
    "ai21/error_422": ["temperature: expected a number, came 'hot'"],
    "fireworks/error_400": ["temperature: expected a number, came 'hot'"],
    "electronhub/error_400": ["temperature: expected a number, came 'hot'"],
    "custom/generic_error_400": ["max_tokens: expected an integer, came 'many'"],
}
"""Samples of an error whose cause is a value in the job: it goes out as the caller wrote it."""

NOT_SENT = {"perplexity/error_400_none": "Perplexity needs a model or a preset"}
"""Jobs that no request of the source can express, and what they are told."""

OPENAIS = "openai/chat_tool_call"
FOREIGN_TO = {
    "claude": "max_completion_tokens: unknown key of ClaudeSamplingRequest",
    "mistralai": "max_completion_tokens: unknown key of ChatCompletionRequest",
    "ai21": "frequency_penalty: unknown key of AI21Request",
    "cohere": "parallel_tool_calls: unknown key of CohereRequest",
    "perplexity": "messages: unknown key of ResponsesRequestInput",
    SONAR: "seed: unknown key of CompletionCreateParamsNonStreaming",
}
"""What each of these SDKs says of a request that OpenAI takes."""


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `chatq render` shows, by job."""
    jobs = {**SAMPLE_JOBS, **FEATURE_JOBS}
    return dict(zip(jobs, rendered(jobs.values(), tmp_path_factory.mktemp("render")), strict=True))


@pytest.fixture(scope="session")
def found(renders: dict[str, dict[str, Any]], sdk_python: Path) -> dict[str, list[str]]:
    """The problems of each request, by job."""
    jobs = {**SAMPLE_JOBS, **FEATURE_JOBS}
    requests = {
        name: {"source": jobs[name]["connection"], "headers": shown["headers"], "body": shown["body"]}
        for name, shown in renders.items()
        if "error" not in shown
    }
    for source in FOREIGN_TO:
        headers = {"anthropic-version": "2023-06-01"}
        body = renders[OPENAIS]["body"]
        requests[f"{OPENAIS} as {source}'s"] = {"source": source, "headers": headers, "body": body}
    return dict(zip(requests, problems(requests.values(), sdk_python), strict=True))


@pytest.mark.parametrize("name", [name for name in SAMPLE_JOBS if name not in NOT_SENT])
def test_the_request_for_a_samples_job_is_of_the_sdks_type(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == WRONG_BY_THE_CALLER.get(name, [])


@pytest.mark.parametrize("name", FEATURE_JOBS)
def test_whatever_a_job_uses_its_request_is_of_the_sdks_type(name: str, found: dict[str, list[str]]) -> None:
    assert found[name] == []


@pytest.mark.parametrize(("name", "message"), NOT_SENT.items())
def test_a_job_that_the_source_cannot_express_is_refused_with_the_reason(
    name: str, message: str, renders: dict[str, dict[str, Any]]
) -> None:
    assert renders[name]["error"]["code"] == "invalid_request"
    assert message in renders[name]["error"]["message"]


def test_every_source_has_samples_and_a_type() -> None:
    assert {job["connection"] for job in SAMPLE_JOBS.values()} == set(CONNECTIONS)


def test_every_exception_is_about_a_sample() -> None:
    assert {*WRONG_BY_THE_CALLER, *NOT_SENT} <= SAMPLE_JOBS.keys()


@pytest.mark.parametrize(("source", "line"), FOREIGN_TO.items())
def test_a_request_for_openai_is_not_of_another_sdks_type(
    source: str, line: str, found: dict[str, list[str]]
) -> None:
    assert line in found[f"{OPENAIS} as {source}'s"]
