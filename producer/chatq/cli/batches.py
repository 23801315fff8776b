"""`chatq batch status|list|cancel|pause|resume|move|retry`, and `chatq retry`: many jobs together."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

from chatq.cli.table import print_table
from chatq.client.blocking import ChatQueue
from chatq.contract.budget_words import used_up
from chatq.contract.dollars import cost, dollars
from chatq.contract.record import Batch, rfc3339

_MOST_LISTED = 100


def batch(arguments: argparse.Namespace) -> int:
    """Do one of the actions, and print the batch as it is then."""
    with ChatQueue(arguments.config) as queue:
        if arguments.action == "list":
            return _list(queue, as_json=arguments.json)
        _print(_ACTIONS[arguments.action](queue, arguments), as_json=arguments.json)
    return 0


_ACTIONS: dict[str, Callable[[ChatQueue, argparse.Namespace], Batch]] = {
    "status": lambda queue, arguments: queue.batch(arguments.batch),
    "cancel": lambda queue, arguments: queue.cancel_batch(arguments.batch),
    "pause": lambda queue, arguments: queue.pause_batch(arguments.batch),
    "resume": lambda queue, arguments: queue.resume_batch(
        arguments.batch, max_cost=arguments.max_cost, max_tokens=arguments.max_tokens
    ),
    "move": lambda queue, arguments: queue.move_batch(arguments.batch, arguments.connection, arguments.model),
    "retry": lambda queue, arguments: queue.retry_batch(
        arguments.batch,
        code=arguments.code,
        connection=arguments.connection,
        max_cost=arguments.max_cost,
        max_tokens=arguments.max_tokens,
    ),
}


def retry(arguments: argparse.Namespace) -> int:
    """Try failed jobs that are in no batch again; print their number."""
    with ChatQueue(arguments.config) as queue:
        count = queue.retry_failed(code=arguments.code, connection=arguments.connection)
    told = f"{count:,} failed job{' is' if count == 1 else 's are'} enqueued again"
    print(json.dumps({"retried": count}) if arguments.json else told)
    return 0


def _list(queue: ChatQueue, *, as_json: bool) -> int:
    batches = queue.batches(_MOST_LISTED)
    if as_json:
        print(json.dumps([batch.model_dump(mode="json") for batch in batches]))
        return 0
    rows = [
        (
            batch.id,
            rfc3339(batch.created_at),
            _condition(batch),
            *(
                str(getattr(batch.counts, name))
                for name in ("total", "queued", "running", "succeeded", "failed", "cancelled", "expired")
            ),
        )
        for batch in batches
    ]
    states = ("TOTAL", "WAITING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
    print_table(("BATCH", "CREATED", "CONDITION", *states), rows)
    return 0


def _print(batch: Batch, *, as_json: bool) -> None:
    if as_json:
        print(batch.model_dump_json())
        return
    # In a record `queued` is a state; what a batch counts so, and people call waiting, is `retrying` too.
    named = {
        ("waiting" if state == "queued" else state): count
        for state, count in batch.counts.model_dump().items()
    }
    counts = ", ".join(f"{count} {name}" for name, count in named.items())
    print(f"{batch.id}: {_condition(batch)}; {counts}; {spent(batch)}")
    if (told := used_up(batch)) is not None:
        print(f"  It is paused: {told[0]}.\n  {told[1]}")


def spent(batch: Batch) -> str:
    """Tokens and cost so far, in words."""
    tokens = f"{batch.usage.total_tokens:,} tokens"
    told = f"cost {cost(batch.cost_usd, batch.uncosted)}"
    budget = batch.budget
    if budget is not None:
        if budget.max_tokens is not None:
            tokens += f" of at most {budget.max_tokens:,}"
        if budget.maybe_charged_usd:
            told += f" and perhaps {dollars(budget.maybe_charged_usd)} of calls whose answers were lost"
        if budget.max_cost_usd is not None:
            told += f" of at most {dollars(budget.max_cost_usd)}"
    return f"{tokens}, {told}"


def _condition(batch: Batch) -> str:
    if batch.ended_at is not None:
        return "cancelled" if batch.cancel_requested else "ended"
    if batch.cancel_requested:
        return "being cancelled"
    if batch.paused_at is not None:
        return "paused" if used_up(batch) is None else f"paused: {batch.budget.used_up} is used up"  # type: ignore[union-attr]
    return "running" if batch.sealed else "open"
