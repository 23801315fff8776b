"""`chatq demo`: the main job on this machine, with real parts and no key.

An embedded server, a worker and the provider simulator, each a process of its own, in a throw-away folder; two
connections in two dialects; a provider that says 429 and 500 on the way. The records are then held against the
simulator's own count of calls. It uses chatq, and only as a caller does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from typing import Any, Final

from chatq import Batch, ChatQueue, ChatQueueError, JobRecord
from chatq.cli.own_command import own_command
from chatq.cli.table import print_table
from chatq.processes import Children
from chatq_sandbox.process import SimulatorError, SimulatorProcess
from chatq_sandbox.throwaway import throwaway_folder

_KEY_VARIABLE: Final = "SIMULATED_OPENAI_KEY"
_KEY: Final = "sim-openai-key"
_DATA: Final = "data"
_CONFIG: Final = f"""\
redis:
  url: embedded:{_DATA}
worker:
  slots: 50
  grace: 5s
connections:
  local-model:                 # an OpenAI-compatible server of one's own, without a key
    source: custom
    url: simulator
    model: demo
    post_processing: strict
    limits: {{concurrency: 8}}
  openai-main:
    source: openai
    url: simulator
    model: gpt-5-mini
    api_key: env:{_KEY_VARIABLE}
"""
_SIMULATOR: Final = {
    "defaults": {"latency": {"uniform": [0.2, 0.9]}},
    "sources": {"custom": {"models": ["demo"]}, "openai": {"keys": [_KEY], "models": ["gpt-5-mini"]}},
}
_PROMPTS: Final = (
    ("local-model", "Name a river in Norway."),
    ("local-model", "Write one line about rain."),
    ("local-model", "What is 6 times 7? [sim: server_error 500 first 1]"),
    ("local-model", "Translate 'good morning' into French."),
    ("local-model", "Give me a name for a ship."),
    ("openai-main", "Say hello to the reader."),
    ("openai-main", "Suggest a title for a story. [sim: rate_limit 1 first 1]"),
    ("openai-main", "Name three colours."),
    ("openai-main", "Write a haiku about queues. [sim: server_error 503 first 1]"),
    ("openai-main", "What is the capital of Peru?"),
    ("openai-main", "Count from one to five."),
    ("local-model", "Describe the sea in four words."),
)
_TIMEOUT_S: Final = 50.0


def main() -> int:
    """Run the demo. Exit code 0 when every job succeeded and the counts agree, else 1."""
    try:
        with Children() as children:
            return _run(children)
    except KeyboardInterrupt:
        _say("\nstopped; nothing is left behind")
        return 130
    except (ChatQueueError, SimulatorError) as error:
        _say(f"chatq demo: {error}")
        return 1


def _run(children: Children) -> int:
    with contextlib.ExitStack() as cleanup:
        folder = cleanup.enter_context(throwaway_folder("chatq-demo-", _DATA)).path
        config = folder / "config.yaml"
        config.write_text(_CONFIG, "utf-8")
        _say("starting: provider simulator, embedded server, one worker ...")
        simulator = cleanup.enter_context(SimulatorProcess(_SIMULATOR))
        queue = cleanup.enter_context(ChatQueue(config))
        cleanup.callback(children.stop)
        children.start(
            "worker",
            "chatq_worker",
            ["worker", "--config", str(config)],
            environ={
                "CHATQ_INTERNAL_SIMULATOR_URL": simulator.url,
                "CHATQ_LOG_LEVEL": os.environ.get("CHATQ_LOG_LEVEL", "warning"),
                _KEY_VARIABLE: _KEY,
            },
        )
        return _run_jobs(queue, simulator, children)


def _run_jobs(queue: ChatQueue, simulator: SimulatorProcess, children: Children) -> int:
    jobs = (
        {
            "connection": connection,
            "prompt": f"{prompt} (job:demo-{number})",
            "metadata": {"number": str(number)},
        }
        for number, (connection, prompt) in enumerate(_PROMPTS, 1)
    )
    started = time.monotonic()
    batch = queue.enqueue_batch(jobs, metadata={"made by": "chatq demo"})
    _say(f"enqueued {batch.counts.total} jobs on 2 connections")
    _follow(queue, batch, children)
    took_s = time.monotonic() - started
    records = sorted(queue.results(batch.id), key=lambda record: int(record.metadata["number"]))
    return _report(records, simulator.counts(), took_s)


def _follow(queue: ChatQueue, batch: Batch, children: Children) -> None:
    """Wait for the batch's end; on a terminal, with a line that counts."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not batch.ended:
        if time.monotonic() > deadline:
            raise SimulatorError(f"the jobs did not end within {_TIMEOUT_S:g} s: {batch.counts}")
        if (ended := children.first_ended()) is not None:
            raise SimulatorError(f"the {ended[0]} ended with exit code {ended[1]}")
        time.sleep(0.1)
        batch = queue.batch(batch.id)
        if sys.stderr.isatty():
            counts = batch.counts
            print(
                f"\r{counts.succeeded}/{counts.total} done, {counts.running} running ",
                end="",
                file=sys.stderr,
                flush=True,
            )
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _report(records: list[JobRecord], counted: dict[str, Any], took_s: float) -> int:
    """Print what happened to each job, and whether the simulator counted the same calls; the exit code."""
    rows = [
        (
            record.connection,
            str(record.state),
            " then ".join(str(attempt.http_status) for attempt in record.attempts),
            f"{record.result.latency_s:.2f} s" if record.result else "",
            _shortened(record.result.text if record.result else record.error.message if record.error else ""),
        )
        for record in records
    ]
    print_table(("CONNECTION", "STATE", "ANSWERS", "LAST CALL", "TEXT"), rows)
    attempts = Counter(_kind(attempt.http_status) for record in records for attempt in record.attempts)
    calls = _calls(counted["total"])
    succeeded = sum(record.state == "succeeded" for record in records)
    print()
    print(f"{succeeded} of {len(records)} jobs succeeded in {took_s:.1f} s, with {attempts.total()} calls:")
    print(f"  the records say    {_in_words(attempts)}")
    print(f"  the simulator says {_in_words(calls)}")
    agree = calls == attempts and all(
        counted["jobs"][f"demo-{number}"]["received"] == len(record.attempts)
        for number, record in enumerate(records, 1)
    )
    print("  they agree, job by job" if agree else "  THEY DIFFER: please report this")
    _say(f'next: {own_command()} up, and in another terminal: {own_command()} submit demo "hello" --wait')
    return 0 if agree and succeeded == len(records) else 1


def _kind(http_status: int | None) -> str:
    return {200: "answered", 429: "rate limited (429)"}.get(http_status or 0, "server errors (5xx)")


def _calls(total: dict[str, Any]) -> Counter[str]:
    """The simulator's counts, by the same kinds."""
    return Counter(
        {
            "answered": total["answered"],
            "rate limited (429)": total["misbehaved"].get("rate_limit", 0),
            "server errors (5xx)": total["misbehaved"].get("server_error", 0),
        }
    )


def _in_words(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 48 else f"{text[:47]}…"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
