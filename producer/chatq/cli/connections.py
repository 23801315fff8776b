"""`chatq connections ACTION`: is a connection set up right, and may it work?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Final

from chatq.cli.connection_limits import print_limits
from chatq.cli.status import condition
from chatq.cli.table import print_table
from chatq.client.blocking import ChatQueue
from chatq.contract.dollars import dollars
from chatq.contract.record import rfc3339
from chatq.contract.sources import KEY_PAGES
from chatq.contract.spending import ConnectionSpending, told_spending
from chatq.contract.status import StatusOutcome, StatusState

_TOLD: Final = ("spending", "paused", "cooling_until", "breaker", "without_key")
"""What `list --json` tells beside the table's first columns, as `chatq status --json` does."""


def connections(arguments: argparse.Namespace) -> int:
    """Do one of the actions."""
    actions: dict[str, Callable[[ChatQueue, argparse.Namespace], int]] = {
        "list": _list,
        "check": _check,
        "models": _models,
        "limits": _limits,
        "test": _test,
        "pause": _pause,
        "resume": _resume,
    }
    with ChatQueue(arguments.config) as queue:
        for notice in queue.settings().notices:
            print(f"note: {notice}", file=sys.stderr)
        return actions[arguments.action](queue, arguments)


def _names(queue: ChatQueue, arguments: argparse.Namespace) -> Sequence[str]:
    return [arguments.connection] if arguments.connection else list(queue.settings().connections)


def _named(arguments: argparse.Namespace) -> bool:
    """Whether a connection was named; says so when not."""
    if arguments.connection is None:
        print(f"chatq connections {arguments.action}: name a connection.", file=sys.stderr)
    return arguments.connection is not None


def _list(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """Each connection with its source, model, key, last check, whether jobs go, and what it has cost."""
    settings, keys = queue.settings(), queue.key_facts()
    whole = queue.overview()
    overview, workers = whole["connections"], whole["workers"]
    rows = []
    for name in _names(queue, arguments):
        status = queue.status(name)  # the error for a connection that is none
        connection = settings.connections[name]
        key = keys.get(name, "unknown")
        if key == "missing" and len(overview[name]["without_key"]) < workers:
            key = "set"  # not where the settings are published, but where its jobs go
        rows.append((name, connection.source, connection.model or "", key, str(status.state)))
    facts = [overview[row[0]] for row in rows]
    if arguments.json:
        heads = ("connection", "source", "model", "key", "status")
        told = [
            {**dict(zip(heads, row, strict=True)), **{name: fact[name] for name in _TOLD}}
            for row, fact in zip(rows, facts, strict=True)
        ]
        print(json.dumps(told))
        return 0
    print_table(
        ("CONNECTION", "SOURCE", "MODEL", "KEY", "LAST CHECK", "COST TODAY", "COST", "CONDITION"),
        [
            (
                *row,
                *told_spending(ConnectionSpending(**fact["spending"])),
                condition(row[0], fact, StatusState(row[-1])),
            )
            for row, fact in zip(rows, facts, strict=True)
        ],
    )
    missing = {source for _, source, _, key, _ in rows if key == "missing"}
    for source in sorted(missing):
        print(f"keys for {source}: {KEY_PAGES[source]}", file=sys.stderr)
    if not keys:
        print("No worker has said which keys are set; start one: chatq worker", file=sys.stderr)
    return 0


def _check(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """Check one connection, or all; exit code 1 when one is not fine."""
    fine = True
    for name in _names(queue, arguments):
        outcome = queue.check(name, arguments.timeout)
        print(outcome.model_dump_json() if arguments.json else _told(outcome), flush=True)
        fine = fine and outcome.state.is_fine
        pause = queue.overview()["connections"][name]["paused"]
        if pause is not None:
            # The check went past the pause; jobs do not.
            print(
                f"note: {name} is paused: {pause['message']}\n"
                f"  Its jobs wait. Resume it: chatq connections resume {name}",
                file=sys.stderr,
            )
    return 0 if fine else 1


def _told(outcome: StatusOutcome) -> str:
    took = f" in {outcome.latency_s:.2f} s" if outcome.latency_s is not None else ""
    models = f", {_models_in(outcome.models)}" if outcome.models else ""
    lines = [f"{outcome.connection}: {outcome.state}{took}{models}"]
    lines += [f"  {text}" for text in (outcome.message, outcome.remedy) if text]
    return "\n".join(lines)


def _models_in(models: Sequence[str]) -> str:
    return f"{len(models)} model{'' if len(models) == 1 else 's'}"


def _models(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """The models of one connection, an id on each line."""
    if not _named(arguments):
        return 2
    models, fetched_at = queue.model_list(arguments.connection, arguments.timeout)
    print(json.dumps(models) if arguments.json else "\n".join(models))
    if models:
        print(f"{_models_in(models)}, as listed at {rfc3339(fetched_at)}", file=sys.stderr)
    else:
        print(
            "No list of models came. If this says that the connection works, name the model yourself: "
            f"chatq connections check {arguments.connection}",
            file=sys.stderr,
        )
    return 0


def _limits(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """The limits of one connection, or of all; with --json the keys of `contract/connection_limits.py`."""
    for name in _names(queue, arguments):
        limits = queue.limits(name)
        if arguments.json:
            print(limits.model_dump_json())
        else:
            print_limits(limits)
    return 0


def _test(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """Send one short message; exit code 1 for a failure, and for an empty answer."""
    if not _named(arguments):
        return 2
    print(f"a test message goes to {arguments.connection}; waiting", file=sys.stderr)
    record = queue.test_message(arguments.connection, arguments.timeout)
    if arguments.json:
        print(record.model_dump_json())
    elif record.result is not None:
        usage = record.result.usage
        print(record.result.text or "(an empty answer)")
        print(
            f"{record.result.model}: {record.result.latency_s:.2f} s, {usage.prompt_tokens} + "
            f"{usage.completion_tokens} tokens, cost {dollars(record.result.cost_usd)}",
            file=sys.stderr,
        )
    elif record.error is not None:
        words = f"\n  {record.error.provider_message}" if record.error.provider_message else ""
        print(f"{record.state}: {record.error.message}{words}\n{record.error.remedy}", file=sys.stderr)
    return 0 if record.result is not None and record.result.text.strip() else 1


def _pause(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """Pause one connection."""
    if not _named(arguments):
        return 2
    queue.pause(arguments.connection, **({"message": arguments.message} if arguments.message else {}))
    if arguments.json:
        print(json.dumps({"connection": arguments.connection, "paused": True}))
    else:
        print(f"{arguments.connection} is paused. Resume it: chatq connections resume {arguments.connection}")
    return 0


def _resume(queue: ChatQueue, arguments: argparse.Namespace) -> int:
    """Resume one connection."""
    if not _named(arguments):
        return 2
    resumed = queue.resume(arguments.connection)
    if arguments.json:
        print(json.dumps({"connection": arguments.connection, "paused": False, "resumed": resumed}))
    else:
        print(f"{arguments.connection} {'is resumed' if resumed else 'was not paused'}.")
    return 0
