"""docs/reliability.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from chatq_sandbox.verify.faults import FAULTS

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")


def lasts(least_s: float, most_s: float) -> str:
    if most_s == 0:
        return ""
    return f"{most_s:g} s" if least_s == most_s else f"{least_s:g} to {most_s:g} s"


def test_the_table_has_every_fault_as_it_is() -> None:
    rows = [
        f"| {name} | {fault.meaning} | {lasts(*fault.lasts_s)} | {f'{fault.bar_s:g} s' if fault.bar_s else ''} |"
        for name, fault in FAULTS.items()
    ]
    assert "\n".join(rows) in PAGE
