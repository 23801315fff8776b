"""Every source's sample exchanges against the simulator: the request is taken (or refused) as the sample says, and
the answer has the sample's shape.

The samples in `data/` are made from the providers' documents; each says so in its `origin`. A shape is equal
when every key of the sample is there, every value has the sample's JSON type (null stands for any), and no key
is there that occurs in no sample of the source.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
import pytest
from simulator_testing import HttpAnswer, send
from wire_samples import WAYS, By, samples

from chatq_sandbox.process import SimulatorProcess
from for_each import for_each

LIMITS = {
    "requests_per_minute": 500,
    "tokens_per_minute": 200_000,
    "input_tokens_per_minute": 180_000,
    "output_tokens_per_minute": 60_000,
    "requests_per_month": 1_000,
    "tokens_per_month": 4_000_000,
}
SAMPLES = [
    pytest.param(file, name, way if isinstance(way, By) else By(way), id=f"{file}-{name}")
    for file, ways in WAYS.items()
    for name, way in ways.items()
]


def mount_of(file: str, sample: dict[str, Any], way: By) -> str:
    """The prefix of the source that the sample is about."""
    if file == "custom":
        return way.mount or f"custom/{sample['name'].partition('_')[0]}"
    return way.mount or str(sample.get("source", file))


def asked(sample: dict[str, Any], way: By, mount: str, url: str) -> HttpAnswer:
    """Send the sample's request, with the simulator's key in the place of the sample's."""
    request = sample["request"]
    body = orjson.loads(orjson.dumps(request["json"]))
    path = request["url"].partition("://")[2].partition("/")[2]
    if way.directive:
        add_to_prompt(body, f" [sim: {way.directive}]")
    if way.padding:
        add_to_prompt(body, "x" * way.padding)
    key = way.settings.get("keys", [f"sim-{mount.partition('/')[0]}-key"])[0]
    headers = dict(request["headers"])
    for name, shown in (("authorization", f"Bearer {key}"), ("x-api-key", key)):
        if name in headers:
            headers[name] = shown
    answers = [send(url, request["method"], f"/{mount}/{path}", body, headers) for _ in range(way.times)]
    return answers[-1]


def add_to_prompt(body: dict[str, Any], text: str) -> None:
    """Put the text at the end of the last thing that the user says."""
    if isinstance(body.get("input"), str):
        body["input"] += text
        return
    turns = body.get("input") or body["messages"]
    last = next(
        turn for turn in reversed(turns) if turn.get("role") == "user" and isinstance(turn["content"], str)
    )
    last["content"] += text


def keys_in(value: Any) -> set[str]:
    """Every key at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()


@cache
def known_keys(file: str) -> set[str]:
    """Every key that occurs in an answer of the source's samples."""
    return keys_in([sample["response"]["json"] for sample in samples(file).values()])


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


@for_each(("file", "name", "way"), SAMPLES)
def test_the_sample_exchange_is_spoken(simulator: SimulatorProcess, file: str, name: str, way: By) -> None:
    sample = samples(file)[name]
    mount = mount_of(file, sample, way)
    assert simulator.control("POST", "reset") == {"bugs": 0}
    simulator.control("PUT", "config", {"sources": {mount: {"limits": LIMITS, **way.settings}}})
    expected = sample["response"]
    answer = asked(sample, way, mount, simulator.url)
    assert answer.status == expected["status"], answer.body
    assert answer.headers["content-type"].startswith(expected["headers"]["content-type"])
    if isinstance(expected["json"], str):
        assert answer.body.startswith(b"<html>")
        return
    assert shape_differences(expected["json"], answer.json, known_keys(file)) == []
    absent = {name for name in expected["headers"] if name not in answer.headers}
    assert absent == set()


@for_each("file", WAYS)
def test_no_sample_is_left_out(file: str) -> None:
    assert set(samples(file)) == set(WAYS[file])


def test_the_comparison_sees_a_missing_key_and_another_type() -> None:
    expected = {"a": 1, "b": [{"c": "x"}], "e": {}, "f": None}
    came = {"a": 1.5, "b": [{"c": 2}], "d": 1, "g": None}
    assert shape_differences(expected, came, known={"g"}) == [
        "body.e: missing",
        "body.d: in no sample",
        "body.b[0].c: int and str",
    ]
