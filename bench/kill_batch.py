"""A batch file whose command, worker and server are killed on the way: each line of it in the output exactly once.

    python bench/kill_batch.py [--lines 100000] [--slots 100]

`chatq batch run` is killed while it enqueues, and again when half of the results are written, each time in the middle
of a line; one of two workers is killed at a quarter, the server at three quarters. The same command goes on each time.
Prints JSON: lines that are missing or doubled, jobs that were called more than once, and the seconds that it took.
Exit code 1 when a line is not there exactly once, did not succeed, or more jobs were called twice than were in flight
when their worker or the server died.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from bench_installation import circumstances, installation, until

from chatq import ChatQueue
from chatq.batch_sidecar import Sidecar
from chatq.ledger.locate import locator

WORKERS = 2
BATCH_S = 7200.0
LATENCY = "[sim: latency 0..0.3]"
"""So that calls are in flight whenever something dies."""


class Run:
    """`chatq batch run`, as often as it is started again."""

    def __init__(self, folder: Path, config: Path, lines: int) -> None:
        self._source, self.output = folder / "in.jsonl", folder / "out.jsonl"
        with self._source.open("w") as source:
            for number in range(lines):
                line = {"custom_id": f"c{number}", "connection": "sim", "prompt": f"job:k-{number} {LATENCY}"}
                source.write(json.dumps(line) + "\n")
        self._command = [sys.executable, "-m", "chatq", "batch", "run", str(self._source)]
        self._command += ["-o", str(self.output), "--config", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """SIGKILL it, in the middle of a line."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        with self.output.open("ab") as torn:
            torn.write(b'{"id": "cut o')

    def end(self) -> int:
        """Wait until it ends; its exit code."""
        assert self._process is not None
        return self._process.wait(BATCH_S)

    def results(self) -> int:
        """How many results are written and let go."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the command ended with exit code {self._process.returncode}")
        sidecar = Sidecar.load(self.output)
        return 0 if sidecar is None else sidecar.cursor


def enqueued(queue: ChatQueue, output: Path) -> int:
    """How many jobs of the batch there are so far."""
    sidecar = Sidecar.load(output)
    made = [] if sidecar is None else [batch for batch in queue.batches() if batch.id == sidecar.batch]
    return made[0].counts.total if made else 0


def measure(lines: int, slots: int) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="chatq-bench-batch-") as name,
        installation(slots=slots, workers=WORKERS, supervised=True) as (queue, simulator, workers),
    ):
        data = queue.settings().redis.embedded_folder
        assert data is not None
        run = Run(Path(name), data.parent / "config.yaml", lines)
        started_s = time.monotonic()

        def goes_on_to(results: float, what: str) -> None:
            until(lambda: run.results() >= results, within_s=BATCH_S)
            seconds[what] = round(time.monotonic() - started_s, 1)

        run.start()
        until(lambda: enqueued(queue, run.output) >= 0.4 * lines, within_s=BATCH_S)
        run.kill()
        seconds["command_killed"] = round(time.monotonic() - started_s, 1)
        run.start()
        goes_on_to(0.25 * lines, "worker_killed")
        os.kill(workers[0], signal.SIGKILL)
        goes_on_to(0.5 * lines, "command_killed_again")
        run.kill()
        run.start()
        goes_on_to(0.75 * lines, "server_killed")
        with redis.Redis.from_url(locator(queue.settings().redis)()) as client:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        exit_code = run.end()
        seconds["ended"] = round(time.monotonic() - started_s, 1)
        calls = simulator.control("GET", "counts", timeout_s=BATCH_S)["jobs"]
        found: Counter[str] = Counter()
        succeeded = 0
        with run.output.open("rb") as output:
            for line in output:
                result = json.loads(line)
                found[result["custom_id"]] += 1
                succeeded += (result["response"] or {}).get("status_code") == 200
    return {
        "lines": lines,
        "exit_code": exit_code,
        "in_the_output": found.total(),
        "missing": sum(f"c{number}" not in found for number in range(lines)),
        "doubled": sum(times - 1 for times in found.values()),
        "succeeded": succeeded,
        "called_more_than_once": sum(tally["received"] > 1 for tally in calls.values()),
        "may_be_called_twice": (1 + WORKERS) * slots,
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=100)
    arguments = parser.parse_args()
    figures = measure(arguments.lines, arguments.slots)
    missed = [
        bar
        for bar, kept in {
            "each line once": (figures["missing"], figures["doubled"], figures["in_the_output"])
            == (0, 0, arguments.lines),
            "each succeeded": (figures["succeeded"], figures["exit_code"]) == (arguments.lines, 0),
            "no more paid twice than were in flight": figures["called_more_than_once"]
            <= figures["may_be_called_twice"],
        }.items()
        if not kept
    ]
    print(json.dumps({**figures, "missed": missed, **circumstances()}, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
