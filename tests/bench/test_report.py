"""`python bench/report.py`, with little work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "bench" / "report.py"


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_it_measures_a_worker_and_a_bare_loop_and_a_second_run_keeps_the_first_ones_cases(
    tmp_path: Path,
) -> None:
    for case in ("calls-0-ms", "disk"):
        subprocess.run([sys.executable, str(REPORT), case, "--quick", "--into", str(tmp_path)], check=True)
    kept = json.loads((tmp_path / "performance.json").read_text())
    [bare] = kept["calls-0-ms"]["contenders"]["bare loop"]
    [chatq] = kept["calls-0-ms"]["contenders"]["chatq"]
    for one in (bare, chatq):
        assert (one["done"], one["calls"]) == (100, 100)
        assert one["cpu_us"] > 0
        assert one["wall_s"] > 0
    assert chatq["server_cpu_us"] > 0
    assert 20 < kept["disk"]["contenders"]["chatq"][0]["disk_mb"] < 200
    page = (tmp_path / "performance.md").read_text()
    assert "## A provider that answers at once" in page
    assert "## What is on disk" in page
