"""docs/simulator.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from chatq_sandbox.config import SimulatorConfig
from chatq_sandbox.dialects.registry import DIALECTS
from chatq_sandbox.directives import read_directives
from chatq_sandbox.misbehaviours import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_example_configuration_is_valid() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    config = SimulatorConfig.from_mapping(
        yaml.safe_load(example[1]), {name: dialect.refusals for name, dialect in DIALECTS.items()}
    )
    assert config.source("openai").misbehaviours[1].first == 1


def test_the_example_directive_is_understood() -> None:
    [example] = re.findall(r"For example `(\[sim: .*?\])`", PAGE)
    assert read_directives(example).misbehaviours[0].first == 2


def test_the_table_has_every_misbehaviour_as_it_is() -> None:
    rows = [
        f"| `{name}` | {kind.meaning} | {f'{kind.value} ({kind.default:g})' if kind.value else kind.what} |"
        f" {'yes' if kind.charged else ''} |"
        for name, kind in KINDS.items()
    ]
    assert "\n".join(rows) in PAGE


def test_every_refusal_that_can_be_asked_for_is_listed_with_its_source() -> None:
    for name, dialect in DIALECTS.items():
        if dialect.refusals:
            listed = ", ".join(f"`{refusal}` {reply.status}" for refusal, reply in dialect.refusals.items())
            assert f"| {name} | {listed} |" in PAGE


def test_every_source_has_its_base_url() -> None:
    for name in DIALECTS:
        assert f"`{{url}}/{name}" in PAGE
