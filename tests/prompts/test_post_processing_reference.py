"""The reference cases: data/postprocess.jsonl, a copy of the project's shared vectors.

`expected` is what the reference does. Where `quirks` names a fault of it, `better` is what the rules give; a
fault without `better` is one that the rules share (white space is text; a result without its call stays).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from chatq_worker.prompts import Names, post_process
from for_each import for_each

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "postprocess.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


def parameters(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in cases]


def run(case: dict[str, Any]) -> list[dict[str, Any]]:
    names = case["names"]
    speakers = Names(char=names["char"], user=names["user"], group=tuple(names["group"]))
    return post_process(case["messages"], case["mode"], names=speakers)


@for_each("case", parameters([case for case in CASES if "quirks" not in case]))
def test_a_case_without_quirks_is_matched_exactly(case: dict[str, Any]) -> None:
    assert run(case) == case["expected"]


@for_each("case", parameters([case for case in CASES if "better" in case]))
def test_a_case_with_a_fault_gets_the_better_outcome(case: dict[str, Any]) -> None:
    assert run(case) == case["better"]


@for_each("case", parameters([c for c in CASES if "quirks" in c and "better" not in c]))
def test_a_fault_that_the_rules_share_is_kept(case: dict[str, Any]) -> None:
    assert run(case) == case["expected"]


def test_no_case_is_left_out() -> None:
    assert len(CASES) == 162
    assert sum("quirks" not in case for case in CASES) == 116
    assert sum("better" in case for case in CASES) == 42
