"""`chatq status`: workers, connections and backlog at a glance."""

from __future__ import annotations

import argparse
import json

from chatq.cli.table import print_table
from chatq.client import ChatQueue


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
    if not workers and overview["waiting"]:
        print("No worker is alive: the jobs wait. Start one: chatq worker")
    for problem in overview["config_problems"]:
        print(f"The workers go on with older settings: {problem}")
    rows = [
        (name, facts["source"], str(facts["waiting"]), str(facts["running"]), _condition(facts))
        for name, facts in overview["connections"].items()
    ]
    print_table(("CONNECTION", "SOURCE", "WAITING", "RUNNING", "CONDITION"), rows)
    return 0


def _condition(facts: dict[str, object]) -> str:
    if facts["cooling_until"]:
        return f"cooling until {facts['cooling_until']}"
    return "ready"
