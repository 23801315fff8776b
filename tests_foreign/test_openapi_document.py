"""Schemathesis over the front's OpenAPI document: whatever it sends, every answer is one that the document has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from front_process import FrontProcess

HERE = Path(__file__).parent
AUTHORIZATION = "Bearer acme-token-1"
LEFT_OUT = "positive_data_acceptance"
"""Of schemathesis's checks all but this: a request that fits the document may still name a connection that is not
there, or give a job both a prompt and messages."""
EXAMPLES = 10
"""For each operation, beside the boundaries of every value. Fifty times as many find no more (seed 7, 2026-11-26)."""


def test_no_answer_is_a_servers_error_or_undocumented(
    guarded: FrontProcess, schemathesis_command: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            str(schemathesis_command),
            "run",
            f"{guarded.url}/openapi.json",
            f"--header=Authorization: {AUTHORIZATION}",
            "--checks=all",
            f"--exclude-checks={LEFT_OUT}",
            f"--max-examples={EXAMPLES}",
            "--generation-deterministic",
            "--request-timeout=60",
            "--continue-on-failure",
            "--warnings=missing_test_data",
            "--no-color",
        ],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(HERE),
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "FRONT_URL": guarded.url,
            "FRONT_AUTHORIZATION": AUTHORIZATION,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # It warns of operations that found nothing of what they were asked for: then little of them was tried.
    assert "WARNINGS" not in done.stdout, done.stdout
    assert "No issues found" in done.stdout, done.stdout
