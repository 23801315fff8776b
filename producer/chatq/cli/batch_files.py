"""`chatq batch run|submit|results`: batches from files and into files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatq.batch_input import BatchInput, Estimate
from chatq.batch_run import BatchRun
from chatq.batch_sidecar import Sidecar
from chatq.cli.bad_lines import BadLines
from chatq.cli.batch_progress import BatchProgress
from chatq.cli.prices import Price, prices
from chatq.cli.status import standstill
from chatq.cli.table import print_table
from chatq.client.blocking import ChatQueue
from chatq.contract.batch_line import output_line
from chatq.contract.connection import Connection
from chatq.contract.dollars import dollars
from chatq.contract.duration import format_duration
from chatq.contract.errors import ChatQueueError, InvalidJob
from chatq.contract.record import Batch
from chatq.contract.settings import Settings


def run(arguments: argparse.Namespace) -> int:
    """Run a batch from a file into a file; exit code 1 when a job did not succeed."""
    with ChatQueue(arguments.config) as queue:
        source = _source(queue, arguments)
        if arguments.dry_run:
            return _dry_run(source, queue.settings(), skip_bad=arguments.skip_bad, as_json=arguments.json)
        if arguments.output is None:
            raise InvalidJob(
                "No output is named.", remedy="Name it: -o OUTPUT.jsonl (or look only: --dry-run)."
            )
        progress = BatchProgress(source.path, queue)
        work = BatchRun(
            queue,
            source,
            arguments.output,
            progress,
            in_order=arguments.ordered,
            skip_bad=arguments.skip_bad,
            max_cost=arguments.max_cost,
            max_tokens=arguments.max_tokens,
        )
        try:
            batch = work.run()
        except KeyboardInterrupt:
            progress.end()
            _interrupted(arguments, is_paused=progress.is_paused)
            raise
        except ChatQueueError:
            progress.end()
            raise
        progress.end()
    if batch is None:
        print(f"{arguments.output} has all results already", file=sys.stderr)
        return 0
    return _ended(batch, arguments.output, as_json=arguments.json)


def submit(arguments: argparse.Namespace) -> int:
    """Enqueue a file as a batch, and print its id."""
    with ChatQueue(arguments.config) as queue:
        source = _source(queue, arguments)
        _validate(source, skip_bad=arguments.skip_bad)
        batch = queue.enqueue_batch(
            source.jobs(),
            metadata={"input": source.path.name},
            max_cost=arguments.max_cost,
            max_tokens=arguments.max_tokens,
        )
    print(batch.model_dump_json() if arguments.json else batch.id)
    return 0


def results(arguments: argparse.Namespace) -> int:
    """Print the results of a batch as lines of the output format, in the order in which they came."""
    cursor, over, printed = arguments.cursor, False, 0
    with ChatQueue(arguments.config) as queue:
        try:
            if arguments.follow and not queue.batch(arguments.batch).ended:
                for why in standstill(queue):
                    print(why, file=sys.stderr)
            while not over:
                following, over, records = queue.results_page(
                    arguments.batch, cursor, follow=arguments.follow
                )
                for record in records:
                    line = (
                        record.model_dump_json().encode() + b"\n" if arguments.json else output_line(record)
                    )
                    sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
                printed += len(records)
                if not arguments.follow and following == cursor:
                    break
                cursor = following
        except KeyboardInterrupt:
            back = f"chatq batch results {arguments.batch} --follow --cursor {cursor}"
            print(f"The batch goes on; come back with: {back}", file=sys.stderr)
            raise
        if not printed:
            _say_why_none(queue.batch(arguments.batch), arguments.cursor)
    return 0


def _say_why_none(batch: Batch, cursor: int) -> None:
    final = batch.counts.final
    if final > cursor:
        gone = final - cursor
        told = (
            f"{gone:,} result{' is' if gone == 1 else 's are'} not on the server: chatq batch run wrote them"
        )
    elif batch.ended_at is None:
        told = f"no result yet beyond the first {cursor:,}" if cursor else "no result yet"
    else:
        told = f"there are no more: it has {final:,} results in all"
    print(f"{batch.id}: {told}", file=sys.stderr)


def _source(queue: ChatQueue, arguments: argparse.Namespace) -> BatchInput:
    if arguments.prompts and arguments.connection is None:
        raise InvalidJob("Prompts name no connection.", remedy="Name one for all of them: -c CONNECTION")
    return BatchInput(
        arguments.input, queue.settings(), connection=arguments.connection, prompts=arguments.prompts
    )


def _validate(source: BatchInput, *, skip_bad: bool) -> None:
    _look_at_lines(source)
    if (refusal := source.refusal(skip_bad=skip_bad)) is not None:
        raise refusal


def _look_at_lines(source: BatchInput) -> None:
    bad = BadLines(source.path)
    for line in source.validate():
        bad.add(line)
    bad.tell()


def _interrupted(arguments: argparse.Namespace, *, is_paused: bool) -> None:
    sidecar = Sidecar.load(arguments.output)
    if sidecar is None:
        print("Nothing was enqueued.", file=sys.stderr)
        return
    goes = "goes on" if sidecar.sealed else "goes on with what was enqueued"
    if is_paused:
        goes = "is paused, and waits"
    print(
        f"Batch {sidecar.batch} {goes}. Come back to it with the same command, or stop it: "
        f"chatq batch cancel {sidecar.batch}",
        file=sys.stderr,
    )


def _ended(batch: Batch, output: Path, *, as_json: bool) -> int:
    counts = batch.counts
    if as_json:
        print(batch.model_dump_json())
    else:
        others = [f"{count:,} {name}" for name, count in _others(batch) if count]
        print(
            f"{output}: {counts.succeeded:,} of {counts.total:,} succeeded{''.join(f', {one}' for one in others)}"
        )
        sidecar = Sidecar.load(output)
        if sidecar is not None and sidecar.skipped:
            print(f"{sidecar.skipped:,} bad lines were left out: {output}.errors", file=sys.stderr)
        if counts.failed:
            told = "Try those that failed again, as a new batch"
            print(f"{told}: chatq batch retry {batch.id}", file=sys.stderr)
    return 0 if counts.succeeded == counts.total else 1


def _others(batch: Batch) -> list[tuple[str, int]]:
    counts = batch.counts
    return [("failed", counts.failed), ("cancelled", counts.cancelled), ("expired", counts.expired)]


def _dry_run(source: BatchInput, settings: Settings, *, skip_bad: bool, as_json: bool) -> int:
    """Say what the batch would be. Nothing is sent, and nothing enqueued; exit code 2 when it would be refused."""
    _look_at_lines(source)
    found = source.summary
    known = prices(settings.source_path, found.estimates) if found.estimates else {}
    told = [
        _estimated(
            settings.connections[name],
            {"connection": name, "model": model or None},
            estimate,
            known[name, model],
        )
        for (name, model), estimate in found.estimates.items()
    ]
    if as_json:
        print(json.dumps({"jobs": found.jobs, "bad": found.bad, "connections": told}))
    else:
        print(f"{source.path}: {found.jobs:,} jobs, {found.bad:,} bad lines; nothing was enqueued")
        if told:
            heads = ("CONNECTION", "MODEL", "JOBS", "PROMPT TOKENS", "ANSWER TOKENS", "COST", "SHORTEST TIME")
            print_table(heads, [_row(one) for one in told])
    refusal = source.refusal(skip_bad=skip_bad) if found.bad else None
    if refusal is not None:
        print(refusal.remedy, file=sys.stderr)
    return 0 if refusal is None else 2


def _estimated(
    connection: Connection, of: Mapping[str, str | None], estimate: Estimate, price: Price | None
) -> dict[str, Any]:
    """What jobs of one connection and model (`of`) will take, as far as it can be said. null: it cannot."""
    limits = connection.limits
    answers = estimate.answer_tokens if not estimate.unbounded else None
    prompts = most = None
    if price is not None:
        prompts = estimate.jobs * price.call + estimate.prompt_tokens * price.input_per_million / 1e6
        most = None if answers is None else prompts + answers * price.output_per_million / 1e6
    minutes = [
        amount / limit
        for amount, limit in (
            (estimate.jobs, limits.requests_per_minute),
            (estimate.prompt_tokens, limits.tokens_per_minute),
        )
        if limit is not None
    ]
    days = 0 if limits.requests_per_day is None else (estimate.jobs - 1) // limits.requests_per_day
    shortest_s = max([minute * 60 for minute in minutes] + [days * 86400.0] * bool(days), default=None)
    return {
        **of,
        "jobs": estimate.jobs,
        "prompt_tokens": round(estimate.prompt_tokens),
        "most_answer_tokens": answers,
        "prompts_cost_usd": prompts,
        "most_cost_usd": most,
        "shortest_s": shortest_s,
    }


def _row(told: Mapping[str, Any]) -> list[str]:
    answers, shortest_s = told["most_answer_tokens"], told["shortest_s"]
    return [
        told["connection"],
        told["model"] or "",
        f"{told['jobs']:,}",
        f"about {told['prompt_tokens']:,}",
        "not bounded" if answers is None else f"at most {answers:,}",
        _cost(told["prompts_cost_usd"], told["most_cost_usd"]),
        "no limit is set" if shortest_s is None else format_duration(round(shortest_s)),
    ]


def _cost(prompts: float | None, most: float | None) -> str:
    if prompts is None or most is not None:
        return dollars(most) if most is None else f"at most {dollars(most)}"
    return f"{dollars(prompts)} and the answers"
