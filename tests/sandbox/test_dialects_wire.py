"""Every source's sample exchanges against the simulator: the request is taken (or refused) as the sample says, and
the answer has the sample's shape.

The samples in `data/` are made from the providers' documents; each says so in its `origin`. A shape is equal
when every key of the sample is there, every value has the sample's JSON type (null stands for any), and no key
is there that occurs in no sample of the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from simulator_testing import HttpAnswer, send

from chatq_sandbox.process import SimulatorProcess

DATA = Path(__file__).parent / "data"


class Sample(NamedTuple):
    """One exchange; `directive` provokes the answer where the request alone does not."""

    file: str
    name: str
    directive: str


# How each sample's answer is brought about; '' sends the request as it is.
OPENAI = {
    "chat_text": "",
    "chat_tool_call": "call_tool",
    "chat_tool_result": "",
    "chat_reasoning": "",
    "chat_json_schema": "",
    "chat_n2_logprobs_cached": "",
    "chat_refusal": "finish refusal",
    "model_list": "",
    "error_401": "bad_key",
    "error_400_max_tokens": "",
    "error_404_model": "",
    "error_429_rate_requests": "rate_limit 0.82",
    "error_429_quota": "quota_exhausted",
    "error_500": "server_error",
    "error_503_overloaded": "overloaded 5",
    "error_502_html": "html_page",
}
SAMPLES = [Sample("openai", name, directive) for name, directive in OPENAI.items()]

# The same answer as another sample with other words, or a state of the provider that is not simulated.
LEFT_OUT = {
    "openai": {
        "error_400_context": "needs a prompt of 128,000 tokens; test_dialect_openai has the rule",
        "error_429_rate_tokens": "test_simulator_refusals has the token limit",
        "error_429_slow_down": "another code for the same refusal",
        "error_429_credit": "another code for the same refusal",
    },
}


def samples(file: str) -> dict[str, Any]:
    return {sample["name"]: sample for sample in orjson.loads((DATA / f"{file}.json").read_bytes())}


def asked(file: str, sample: dict[str, Any], directive: str, url: str) -> HttpAnswer:
    request = sample["request"]
    body = request["json"]
    path = request["url"].partition("://")[2].partition("/")[2]
    if body is not None and directive:
        last = next(message for message in reversed(body["messages"]) if message["role"] == "user")
        last["content"] += f" [sim: {directive}]"
    return send(url, request["method"], f"/{file}/{path}", body, {"authorization": f"Bearer sim-{file}-key"})


def keys_in(value: Any) -> set[str]:
    """Every key at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


def shape_differences(expected: Any, came: Any, known: set[str], where: str = "body") -> list[str]:
    """Where the two differ in their keys or types; `known` keys may be there beside the expected ones."""
    if expected is None or came is None:
        return []
    if isinstance(expected, dict) and isinstance(came, dict):
        lacking = {key for key in expected.keys() - came.keys() if expected[key] is not None}
        added = came.keys() - expected.keys() - known
        differences = [f"{where}.{key}: missing" for key in sorted(lacking)]
        differences += [f"{where}.{key}: in no sample" for key in sorted(added)]
        for key in expected.keys() & came.keys():
            differences += shape_differences(expected[key], came[key], known, f"{where}.{key}")
        return differences
    if isinstance(expected, list) and isinstance(came, list):
        return shape_differences(expected[0], came[0], known, f"{where}[0]") if expected and came else []
    kinds = {type(expected).__name__, type(came).__name__}
    return [] if len(kinds) == 1 or kinds == {"int", "float"} else [f"{where}: {' and '.join(sorted(kinds))}"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.file}-{sample.name}")
def test_the_sample_exchange_is_spoken(simulator: SimulatorProcess, sample: Sample) -> None:
    limits = {"requests_per_minute": 500, "tokens_per_minute": 200_000}
    simulator.control("PUT", "config", {"sources": {sample.file: {"limits": limits}}})
    all_samples = samples(sample.file)
    found = all_samples[sample.name]
    expected = found["response"]
    answer = asked(sample.file, found, sample.directive, simulator.url)
    assert answer.status == expected["status"]
    assert answer.headers["content-type"].startswith(expected["headers"]["content-type"])
    if isinstance(expected["json"], str):
        assert answer.body.startswith(b"<html>")
        return
    known = keys_in([other["response"]["json"] for other in all_samples.values()])
    assert shape_differences(expected["json"], answer.json, known) == []
    absent = {name for name in expected["headers"] if name not in answer.headers}
    assert absent == set()


@pytest.mark.parametrize("file", LEFT_OUT)
def test_every_sample_is_spoken_or_left_out_for_a_reason(file: str) -> None:
    spoken = {sample.name for sample in SAMPLES if sample.file == file}
    assert set(samples(file)) == spoken | set(LEFT_OUT[file])
    assert not spoken & set(LEFT_OUT[file])


def test_the_comparison_sees_a_missing_key_and_another_type() -> None:
    expected = {"a": 1, "b": [{"c": "x"}], "e": {}, "f": None}
    came = {"a": 1.5, "b": [{"c": 2}], "d": 1, "g": None}
    assert shape_differences(expected, came, known={"g"}) == [
        "body.e: missing",
        "body.d: in no sample",
        "body.b[0].c: int and str",
    ]
