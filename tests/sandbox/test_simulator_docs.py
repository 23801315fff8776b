"""docs/simulator.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from wire_samples import requests_of

from chatq_sandbox.config import SimulatorConfig
from chatq_sandbox.dialects.registry import DIALECTS
from chatq_sandbox.directives import read_directives
from chatq_sandbox.exchange import Allowance, HttpRequest, LimitState, Refused
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


def full_limits() -> LimitState:
    allowance = Allowance(600, 500, 1.5)
    return LimitState(*[allowance] * 6, charged=7, unix_s=1_795_300_000.0)


def test_the_table_of_limits_says_what_the_sources_do() -> None:
    for name, dialect in DIALECTS.items():
        if name.startswith("custom"):
            continue
        [row] = re.findall(rf"^\| {name} \| .* \| .* \| .* \| .* \| .* \| \d+ \|$", PAGE, re.MULTILINE)
        _, shared_by, bucket, charge, told_in, _, out_of_quota = (
            cell.strip() for cell in row[1:-1].split("|")
        )
        model = dialect.default_models[0]
        assert (dialect.pool(model) == model) == (shared_by == "nothing: each model")
        assert (bucket, charge) == (dialect.default_bucket, dialect.default_charge)
        assert out_of_quota == str(dialect.out_of_quota(full_limits()).status)
        names = [header for header, _ in dialect.limit_headers(full_limits())]
        prefix = told_in.split("*")[0].strip("`")
        assert bool(names) == (told_in != "nowhere")
        assert all(header.startswith(prefix) for header in names)


def test_the_page_says_who_refuses_unknown_fields() -> None:
    request_headers = {b"anthropic-version": b"2026-10-21"}
    refusing = []
    for name, dialect in DIALECTS.items():
        path, body = requests_of(name)[0]
        body = {key: value for key, value in body.items() if key not in ("temperature", "top_k")}
        request = HttpRequest("POST", path, "", request_headers, b"")
        models = (*dialect.default_models, body.get("model", ""))
        dialect.read(request, body, models)
        try:
            dialect.read(request, {**body, "no_such_field": 1}, models)
        except Refused:
            refusing.append(name)
    assert f"Unknown fields are refused by {', '.join(refusing)} and ignored" in " ".join(PAGE.split())


def test_every_source_has_its_base_url() -> None:
    for name in DIALECTS:
        assert f"`{{url}}/{name}" in PAGE
