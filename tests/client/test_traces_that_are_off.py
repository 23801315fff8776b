"""Traces where none are sent: the variable is not set, or the extra is not installed."""

from __future__ import annotations

import json
import os

from for_each import for_each
from forked import run

PROGRAM = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from chatq import logs
from chatq.traces import traces
logs.set_up(level="info", form="json", process="worker")
assert traces("chatq-worker") is None
assert traces() is None
"""


def messages(**environ: str) -> list[str]:
    """What a process that could send traces logs, twice asked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = run("-c", PROGRAM, environ={**kept, **environ})
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["message"] for line in done.stderr.splitlines()]


@for_each("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_without_the_extra_one_line_says_what_to_install(variable: str) -> None:
    [line] = messages(**{variable: "http://127.0.0.1:4318"})
    assert line.startswith(f"no traces are sent: {variable} is set, and opentelemetry.sdk")
    assert line.endswith(" is not installed. Install it: pip install 'chatq[otel]'")


def test_without_the_variable_nothing_is_said() -> None:
    assert messages() == []


@for_each("switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_who_switches_opentelemetry_off_hears_nothing_of_it(switch: dict[str, str]) -> None:
    assert messages(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318", **switch) == []
