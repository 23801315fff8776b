"""`chatq status`: workers, connections and backlog at a glance."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
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
    if not workers:
        print("No worker is alive: jobs wait. Start one: chatq worker")
    if elsewhere := overview["elsewhere"]:
        print(f"{left_behind(elsewhere)}\n  {LEFT_BEHIND_REMEDY}")
    for hindrance in overview["hindrances"] if workers else ():
        print(f"{hindrance['message']}\n  {hindrance['remedy']}")
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


def tell_no_worker(queue: ChatQueue, what: str) -> None:
    """Say on stderr that `what` waits for a worker, where none is alive."""
    if not queue.overview()["workers"]:
        print(f"No worker is alive: {what} waits. Start one: chatq worker", file=sys.stderr)


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
