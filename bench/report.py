"""Measure chatq beside a bare loop and its peers, and write docs/performance.md.

    python bench/report.py [CASE ...] [--quick] [--long] [--repetitions N] [--into FOLDER]

Each case has contenders that do the same work. They take turns: one after the other, and again. What was measured is
kept in performance.json beside the page; a case that is measured anew takes the place of its last measurement.

`--quick` does little of everything, so as to see that it works; its figures say nothing, and go to a folder of their own.
A contender that cannot be run here is named in the report, with what it said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_installation import circumstances
from cases import CASES, Case
from contenders import NotMeasured
from page import page

ROOT = Path(__file__).parent.parent


def measure(case: Case, repetitions: int, quick: bool) -> dict[str, Any]:
    """Let the contenders of a case take turns; what is kept of it."""
    figures: dict[str, list[dict[str, Any]]] = {}
    not_measured: dict[str, str] = {}
    versions: dict[str, str] = {}
    contenders = case.contenders(quick)
    for _ in range(repetitions):
        for who, run in contenders.items():
            if who in not_measured:
                continue
            print(f"  {who} ...", end=" ", file=sys.stderr, flush=True)
            try:
                one = run()
            except NotMeasured as error:
                not_measured[who] = str(error)
                print(error, file=sys.stderr)
                continue
            versions |= one.pop("versions", {})
            figures.setdefault(who, []).append(one)
            print(
                ", ".join(f"{name} {one[name]:,.4g}" for name in case.figures if name in one), file=sys.stderr
            )
    return {
        "contenders": {who: each for who, each in figures.items() if who not in not_measured},
        "not_measured": not_measured,
        "repetitions": repetitions,
        "circumstances": {**circumstances(), **versions, "chatq": _commit()},
    }


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
    kept = folder / "performance.json"
    data = json.loads(kept.read_text()) if kept.exists() else {}
    for name in names:
        case = CASES[name]
        print(f"{name}: {case.title}", file=sys.stderr)
        repetitions = stated.repetitions or (1 if stated.quick else case.repetitions)
        measured = measure(case, repetitions, stated.quick)
        data[name] = measured
        # After every case: whoever interrupts the rest keeps what was measured.
        kept.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
        (folder / "performance.md").write_text(page(data))
    print(folder / "performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
