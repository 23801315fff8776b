"""Requests as `chatq render` shows them, and what the SDKs' types say of them: each program in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from provider_testing import SOURCES, exchanges
from wire_jobs import job_of

SDK_TYPES = Path(__file__).with_name("sdk_types")
SONAR = "perplexity-sonar"

CONNECTIONS: Mapping[str, Any] = {
    **{source: {"source": source} for source in SOURCES},
    SONAR: {"source": "perplexity", "api": "sonar"},
    "custom": {"source": "custom", "url": "http://127.0.0.1:5000/v1"},
}
"""A connection for each type of request, named as `request_types.request_type` names it."""


def sample_jobs() -> dict[str, dict[str, Any]]:
    """The job behind each sample request, by `CONNECTION/SAMPLE`."""
    jobs = {}
    for source, exchange in exchanges("response", "response_extra", "error"):
        if exchange["request"]["method"] != "POST":
            continue
        connection = SONAR if exchange.get("source") == SONAR else source
        chat = job_of(source, exchange["request"]["json"], sonar=connection == SONAR)
        job = {
            "connection": connection,
            "messages": chat.messages,
            "model": chat.model,
            "params": chat.params,
            "tools": chat.tools,
            "tool_choice": chat.tool_choice,
            "response_format": chat.response_format,
        }
        jobs[f"{connection}/{exchange['name']}"] = {
            name: value for name, value in job.items() if value not in (None, "")
        }
    return jobs


def rendered(jobs: Iterable[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What `chatq render` writes for each job, in order. `folder`: for the settings."""
    config = folder / "config.yaml"
    config.write_text(json.dumps({"connections": CONNECTIONS}))
    command = [str(Path(sys.executable).with_name("chatq")), "render", "openai", "--json", "--file", "-"]
    return _lines([*command, "--config", str(config)], jobs, may_fail=True)


def problems(requests: Iterable[Mapping[str, Any]], sdk_python: Path) -> list[list[str]]:
    """What is wrong with each `{"source", "headers", "body"}`, in order."""
    return _lines([str(sdk_python), str(SDK_TYPES)], requests)


def _lines(command: list[str], given: Iterable[Mapping[str, Any]], *, may_fail: bool = False) -> list[Any]:
    """The JSON lines that a program makes of JSON lines, one of each. `may_fail`: 1 says that one line is an error."""
    given = list(given)
    done = subprocess.run(
        command,
        input="".join(json.dumps(line) + "\n" for line in given),
        env={name: value for name, value in os.environ.items() if not name.startswith("CHATQ_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in ({0, 1} if may_fail else {0}), done.stderr
    lines = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(lines) == len(given), done.stderr
    return lines
