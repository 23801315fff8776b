"""The ledger for people, and for machines."""

from __future__ import annotations

import json
from dataclasses import asdict

from chatq.cli.table import print_table
from chatq_sandbox.verify.reckoning import Ledger, Recovery

_SHOWN = 20


def print_json(seed: int, ledger: Ledger, took_s: float) -> None:
    """One line of JSON: the fields of `Ledger`, the seed, the seconds that it took, whether it holds."""
    print(json.dumps({"seed": seed, "holds": ledger.holds, "took_s": round(took_s, 1), **asdict(ledger)}))


def print_ledger(seed: int, ledger: Ledger, took_s: float) -> None:
    """Text."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(ledger.states.items()))
    beyond = ", ".join(f"{count} on {connection}" for connection, count in ledger.refused_beyond.items())
    rows = [
        ("jobs enqueued", f"{ledger.acknowledged} of {ledger.jobs}"),
        ("  not acknowledged, and there", str(ledger.unacknowledged)),
        ("final", states),
        ("lost", str(ledger.lost)),
        ("doubled records", str(ledger.doubled)),
        ("changed after final", str(ledger.changed_after_final)),
        ("announced twice", str(ledger.announced_twice)),
        ("calls", str(ledger.calls)),
        ("paid twice", str(ledger.paid_twice)),
        ("  in flight at a kill, maybe_charged", str(ledger.in_flight_at_a_kill)),
        ("  answer broken by the provider", str(ledger.answer_broken)),
        ("  unexplained", str(ledger.paid_unexplained)),
        ("calls that no record lists", str(ledger.unlisted_calls)),
        ("429s by the provider's limits", beyond or "0"),
    ]
    print_table((f"SEED {seed}", f"{took_s:.0f} s"), rows)
    print()
    print_table(
        ("FAULT", "STRUCK", "ALONE", "LONGEST", "BAR"), [_row(recovery) for recovery in ledger.recoveries]
    )
    for finding in ledger.findings:
        print(f"\nWRONG: {finding.what}: {len(finding.jobs)}")
        for job in finding.jobs[:_SHOWN]:
            print(f"  {job}")
    print()
    print("nothing was lost, doubled or changed" if ledger.holds else "IT DOES NOT HOLD")


def _row(recovery: Recovery) -> tuple[str, ...]:
    longest = "" if recovery.longest_s is None else f"{recovery.longest_s:.1f} s"
    bar = "" if recovery.bar_s is None else f"{recovery.bar_s:g} s{'' if recovery.met else '  MISSED'}"
    return recovery.name, str(recovery.struck), str(recovery.judged), longest, bar
