"""`chatq status`: workers, connections and backlog at a glance."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from chatq.cli.table import print_table
from chatq.client.blocking import ChatQueue
from chatq.contract.spending import ConnectionSpending, told_spending
from chatq.contract.status import StatusState
from chatq.contract.why import LEFT_BEHIND_REMEDY, ConnectionPause, left_behind, pause_remedy


def status(arguments: argparse.Namespace) -> int:
    """Print the status of the whole."""
    with ChatQueue(arguments.config) as queue:
        overview = queue.overview()
    if arguments.json:
        print(json.dumps(overview))
        return 0
    workers, slots = overview["workers"], overview["slots"]
    print(
        f"{workers} worker{'' if workers == 1 else 's'}, {slots} slots; {overview['running']} running, "
        f"{overview['waiting']} waiting"
    )
    for hindrance in _told(overview["hindrances"]):
        print(hindrance)
    if elsewhere := overview["elsewhere"]:
        print(f"{left_behind(elsewhere)}\n  {LEFT_BEHIND_REMEDY}")
    for problem in overview["config_problems"]:
        print(f"The workers go on with older settings: {problem}")
    for name, facts in overview["connections"].items():
        if 0 < len(facts["without_key"]) < workers:
            print(f"{', '.join(facts['without_key'])}: no key of {name} there; other workers have its jobs")
    rows = [
        (
            name,
            facts["source"],
            str(facts["waiting"]),
            str(facts["running"]),
            *told_spending(ConnectionSpending(**facts["spending"])),
            condition(name, facts),
        )
        for name, facts in overview["connections"].items()
    ]
    print_table(("CONNECTION", "SOURCE", "WAITING", "RUNNING", "COST TODAY", "COST", "CONDITION"), rows)
    for name, facts in overview["connections"].items():
        if facts["paused"] is not None:
            pause = ConnectionPause(**facts["paused"])
            print(f"\n{name} is paused since {facts['paused']['since']}: {pause.message}")
            print(f"  {pause_remedy(name, pause)}")
    return 0


def standstill(queue: ChatQueue) -> list[str]:
    """Where no jobs go although they may: why, and what to do, the worst first. For who waits for some."""
    overview = queue.overview()
    return [] if overview["ready"] else _told(overview["hindrances"])


def _told(hindrances: Sequence[Mapping[str, str]]) -> list[str]:
    return [f"{hindrance['message']}\n  {hindrance['remedy']}" for hindrance in hindrances]


def condition(name: str, facts: Mapping[str, Any], check: StatusState = StatusState.UNKNOWN) -> str:
    """Whether jobs of a connection go: the worst first, and who stands in.

    `facts`: as in the overview. `check`: what its last check found, where that is told.
    """
    served_by = facts["served_by"]
    stands_in = f"; {served_by} stands in" if served_by not in {None, name} else ""
    if facts["paused"] is not None:
        return f"paused: {facts['paused']['code']}{stands_in}"
    if facts["breaker"] == "open":
        return f"failing; next try at {facts['next_probe_at']}{stands_in}"
    if facts["cooling_until"]:
        return f"cooling until {facts['cooling_until']}{stands_in}"
    if facts["spending"]["goes_on_at"]:
        return f"its budget of the day is used up; goes on at {facts['spending']['goes_on_at']}"
    if facts["breaker"] == "half_open":
        return "failing; being tried"
    return "check failed" if check.is_failure else "ready"
