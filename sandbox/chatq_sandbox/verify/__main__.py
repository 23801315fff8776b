"""What `chatq verify` becomes: a run of `python -m chatq_sandbox.verify --seed N --jobs N --workers N`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from redis.exceptions import RedisError

from chatq import ChatQueueError
from chatq.processes import Children
from chatq_sandbox.process import SimulatorError
from chatq_sandbox.throwaway import throwaway_folder
from chatq_sandbox.verify.evidence import Evidence
from chatq_sandbox.verify.faults import FAULTS
from chatq_sandbox.verify.installation import DATA
from chatq_sandbox.verify.plan import make_plan
from chatq_sandbox.verify.printing import print_json, print_ledger
from chatq_sandbox.verify.reckoning import Ledger, reckon
from chatq_sandbox.verify.run import run


def main() -> int:
    """Run and print. Exit code 0 when the ledger holds, 1 when not, 2 for wrong use, 130 when interrupted."""
    arguments = _arguments()
    # The settings are the run's own, whatever the shell that it is started from says.
    for name in [name for name in os.environ if name.startswith("CHATQ_") and name != "CHATQ_LOG_LEVEL"]:
        del os.environ[name]
    try:
        with Children() as children:
            return _run(arguments, children)
    except KeyboardInterrupt:
        print("\nstopped; nothing is left behind", file=sys.stderr)
        return 130
    except (ChatQueueError, RedisError, SimulatorError, RuntimeError) as error:
        print(f"chatq verify: {error}", file=sys.stderr)
        return 1


def _arguments() -> argparse.Namespace:
    """As `chatq verify` has them, which says what they mean and has the defaults."""
    parser = argparse.ArgumentParser(prog="chatq verify", allow_abbrev=False)
    for name in ("--seed", "--jobs", "--workers"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), metavar="NAME")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, children: Children) -> int:
    plan = make_plan(arguments.seed, arguments.jobs, arguments.fault or tuple(FAULTS))
    started = time.monotonic()
    with throwaway_folder("chatq-verify-", DATA) as folder:
        evidence = run(plan, folder, children, workers=arguments.workers)
        ledger = reckon(evidence)
        took_s = time.monotonic() - started
        if arguments.json:
            print_json(plan.seed, ledger, took_s)
        else:
            print_ledger(plan.seed, ledger, took_s)
        if arguments.keep or not ledger.holds:
            folder.keep()
            _write_down(folder.path, evidence, ledger)
            print(
                f"seed {plan.seed}, {arguments.jobs} jobs: see {folder.path}/evidence.json, the workers' logs and the "
                "server's data beside it",
                file=sys.stderr,
            )
    return 0 if ledger.holds else 1


def _write_down(folder: Path, evidence: Evidence, ledger: Ledger) -> None:
    """What a stranger needs who looks into it."""
    known = {"ledger": asdict(ledger), **asdict(evidence), "ends": {}}
    (folder / "evidence.json").write_text(json.dumps(known, indent=1), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
