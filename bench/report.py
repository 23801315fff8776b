"""Measure chatq beside a bare loop and its peers, and write docs/performance.md.

    python bench/report.py [CASE ...] [--quick] [--long] [--repetitions N] [--into FOLDER]

Each case has contenders that do the same work. They take turns: one after the other, and again. What was measured is
kept in performance.json beside the page; a case that is measured anew takes the place of its last measurement.

`--quick` does little of everything, so as to see that it works; its figures say nothing, and go to a folder of their
own. A contender that cannot be run here is named in the report, with what it said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_installation import circumstances
from cases import CASES
from page import page

ROOT = Path(__file__).parent.parent


def say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def measured(name: str, quick: bool, repetitions: int | None) -> dict[str, Any]:
    """A case as it is kept."""
    case = CASES[name]
    repetitions = repetitions or (1 if quick else case.repetitions)
    around = {**circumstances(), "chatq": _commit()}
    figures = case.measure(quick, repetitions, say)
    around |= figures.pop("versions")
    return {**figures, "repetitions": repetitions, "quick": quick, "circumstances": around}


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all but the long"
    )
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--long", action="store_true", help="those that take long as well")
    parser.add_argument("--repetitions", type=int, metavar="N", help="default: each case's own number")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="for page and data; default: docs")
    stated = parser.parse_args()
    if unknown := [name for name in stated.cases if name not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    names = stated.cases or [name for name, case in CASES.items() if stated.long or not case.long]
    folder = stated.into or (Path(tempfile.mkdtemp(prefix="chatq-bench-")) if stated.quick else ROOT / "docs")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "performance.json"
    data = json.loads(kept.read_text()) if kept.exists() else {}
    # Nobody is to compile his modules anew at every start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in names:
        print(f"{name}: {CASES[name].title}", file=sys.stderr, flush=True)
        data[name] = measured(name, stated.quick, stated.repetitions)
        # After every case: whoever interrupts the rest keeps what was measured.
        kept.write_text(json.dumps(data, indent=1) + "\n")
        (folder / "performance.md").write_text(page(data))
    print(folder / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
