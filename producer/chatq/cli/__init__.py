"""The command `chatq`: parse into arguments, call one function, print. Results on stdout, all else on stderr.

Exit codes: 0 it worked, 1 the work failed, 2 wrong use (arguments, settings, a connection, job or batch that is not
there, a job that can never run).
Commands are imported when they are used, so that `chatq --help` is quick.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any, NoReturn

from chatq.contract.errors import ChatQueueError


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="chatq",
        description="A self-hosted queue for chat completions. Start with: chatq demo",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    _common(parser)
    # What stands before the command is not taken back behind it.
    common = _common(argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, module: str, help_text: str) -> Any:
        added = commands.add_parser(
            name, parents=[common], help=help_text, description=help_text, allow_abbrev=False
        )
        added.set_defaults(module=module, function=name)
        return added

    command("demo", "become", "run the main job on this machine: no key, no network needed")
    command(
        "up", "fleet", "embedded server, worker, Flower, HTTP front: all for one machine; Ctrl-C stops all"
    )
    worker = command("worker", "become", "worker processes; Ctrl-C stops them")
    worker.add_argument(
        "--processes",
        type=_count,
        metavar="N",
        help="how many, one for each core it may use (default: worker.processes)",
    )
    worker.add_argument(
        "--slots", type=_count, metavar="N", help="calls in flight in each process (default: worker.slots)"
    )
    flower = command("flower", "become", "Flower, which shows each job that a worker has had in hand")
    flower.add_argument(
        "--address", help="default: $FLOWER_ADDRESS, else 127.0.0.1; another than loopback needs a login"
    )
    flower.add_argument("--port", type=_port, help="default: $FLOWER_PORT, else 5555")
    flower.add_argument(
        "--read-only",
        action=argparse.BooleanOptionalAction,
        help="only show jobs (the default, but for FLOWER_READ_ONLY=0), or let its users cancel jobs and stop workers",
    )
    serve = command("serve", "become", "the HTTP front: OpenAI's API over this queue")
    serve.add_argument("--host", help="default: http.host; another than loopback needs tokens")
    serve.add_argument("--port", type=_port, help="default: http.port")
    down = command("down", "fleet", "stop the embedded server")
    down.add_argument("--force", action="store_true", help="also while others use it")

    submit = command("submit", "jobs", "enqueue a job")
    submit.add_argument("connection", metavar="CONNECTION", nargs="?", help="a connection ID of config.yaml")
    submit.add_argument("prompt", metavar="PROMPT", nargs="?", help="default: read from standard input")
    submit.add_argument("--file", type=Path, metavar="JOB.json", help="a job as JSON; - reads standard input")
    submit.add_argument("--wait", action="store_true", help="wait for the answer and print it")
    submit.add_argument(
        "--timeout", type=_seconds, metavar="S", help="with --wait: seconds (default: no end)"
    )
    result = command("result", "jobs", "print a job's result")
    result.add_argument("job", metavar="JOB")
    result.add_argument("--wait", action="store_true", help="wait until it is final")
    result.add_argument(
        "--timeout", type=_seconds, metavar="S", help="with --wait: seconds (default: no end)"
    )
    why = command("why", "jobs", "why a job does not run, and when it will")
    why.add_argument("job", metavar="JOB")
    cancel = command("cancel", "jobs", "cancel a job, or a batch")
    cancel.add_argument("job", metavar="JOB|BATCH")

    batch = command(
        "batch", "batches", "run a file as a batch; look at, cancel, pause, resume, move, or retry batches"
    )
    actions = batch.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, help_text: str, *, of_one: bool = True) -> Any:
        added = actions.add_parser(
            name, parents=[common], help=help_text, description=help_text, allow_abbrev=False
        )
        if of_one:
            added.add_argument("batch", metavar="BATCH")
        return added

    run = action(
        "run", "run a file of requests into a file of results; run it again to go on with it", of_one=False
    )
    submit = action("submit", "enqueue a file as a batch, and print its id", of_one=False)
    run.add_argument("-o", dest="output", type=Path, metavar="OUTPUT.jsonl", help="the file for the results")
    run.add_argument("--ordered", action="store_true", help="results in the order of the input")
    run.add_argument("--dry-run", action="store_true", help="say what it would be; enqueue nothing")
    for added in (run, submit):
        added.set_defaults(module="batch_files", function=added.prog.rsplit(" ", 1)[-1])
        added.add_argument(
            "input", type=Path, metavar="INPUT.jsonl", help="requests or jobs, one on each line"
        )
        added.add_argument(
            "-c",
            dest="connection",
            metavar="CONNECTION",
            help="for lines that name none; then any model will do",
        )
        added.add_argument("--prompts", action="store_true", help="each line is a prompt, as it stands")
        added.add_argument("--skip-bad", action="store_true", help="go on without lines that are bad")
        _budgets(added)
    results = action("results", "its results so far, as lines of the output format")
    results.set_defaults(module="batch_files", function="results")
    results.add_argument("--follow", action="store_true", help="go on until it has ended")
    results.add_argument("--cursor", type=_position, default=0, metavar="N", help="how many were read before")
    action("list", "the batches that were made last", of_one=False)
    action("status", "its jobs by state")
    action("cancel", "cancel what is not final of it")
    action("pause", "begin no more of its jobs; what runs goes on")
    _budgets(action("resume", "go on with it"))
    move = action("move", "move what is not final of it to another connection")
    move.add_argument("connection", metavar="CONNECTION")
    move.add_argument("--model", metavar="MODEL", help="default: that connection's")
    again = action("retry", "try its failed jobs again, as a new batch")
    _budgets(again)
    every = command("retry", "batches", "try failed jobs that are in no batch again, as new jobs")
    every.add_argument("--failed", action="store_true", required=True, help="all that failed")
    for retry in (again, every):
        retry.add_argument("--code", metavar="CODE", help="only those that failed with this error code")
        retry.add_argument(
            "-c", dest="connection", metavar="CONNECTION", help="only those of this connection"
        )

    render = command("render", "become", "the request that would be sent, key masked; nothing is sent")
    render.add_argument("connection", metavar="CONNECTION")
    render.add_argument(
        "--file", type=Path, metavar="JOB.json", help="a job, or a job on each line; default: standard input"
    )
    render.add_argument("--stdin", action="store_true", help=argparse.SUPPRESS)

    connections = command(
        "connections", "connections", "list, check, try, limits, pause or resume connections"
    )
    actions = ["list", "check", "models", "limits", "test", "pause", "resume"]
    connections.add_argument("action", choices=actions)
    connections.add_argument("connection", metavar="CONNECTION", nargs="?", help="default: all of them")
    connections.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="default: 60 s")
    connections.add_argument("--message", metavar="TEXT", help="with pause: why, for whoever asks")

    verify = command(
        "verify", "become", "run the fault ledger: thousands of jobs while everything fails, and the count"
    )
    verify.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the jobs and faults (default: 1)"
    )
    verify.add_argument(
        "--jobs", type=_count, default=5000, metavar="N", help="default: 5000, in some three minutes"
    )
    verify.add_argument(
        "--workers", type=_count, default=3, metavar="N", help="worker processes (default: 3)"
    )
    verify.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME",
        help="only these faults; see docs/reliability.md",
    )
    verify.add_argument("--keep", action="store_true", help="keep the folder also when nothing was wrong")
    command("status", "status", "workers, connections, backlog at a glance")
    command("doctor", "doctor", "what is wrong with this installation, and the remedy")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"chatq {version('chatq')}")
        parser.exit()


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What every command takes."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: $CHATQ_CONFIG, else ./config.yaml"
    )
    quiet = {} if parser.argument_default is None else {"default": parser.argument_default}
    parser.add_argument("--json", action="store_true", help="machine-readable output", **quiet)
    return parser


def _budgets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-cost", type=_dollars, metavar="USD", help="what it may cost; then it is paused"
    )
    parser.add_argument(
        "--max-tokens", type=_tokens, metavar="N", help="the tokens that it may take; then it is paused"
    )


def _dollars(text: str) -> float:
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = 0.0
    if not 0 < amount <= 1e9:
        raise argparse.ArgumentTypeError(f"expected US dollars, more than 0, got {text!r}")
    return amount


def _tokens(text: str) -> int:
    digits = text.replace("_", "").replace(",", "")
    if not digits.isdecimal() or not 1 <= int(digits) <= 10**12:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(digits)


def _position(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port number up to 65535, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    from chatq.contract.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _with_dash(argv: list[str]) -> list[str]:
    """`chatq render CONNECTION -`: argparse takes no lone dash behind an option, so it becomes one itself."""
    if argv[:1] != ["render"]:
        return argv
    pairs = zip(["", *argv], argv, strict=False)
    return ["--stdin" if word == "-" and before != "--file" else word for before, word in pairs]


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    arguments = parser().parse_args(_with_dash(sys.argv[1:] if argv is None else argv))
    try:
        module = importlib.import_module(f"chatq.cli.{arguments.module}")
        code = getattr(module, arguments.function)(arguments)
        sys.stdout.flush()
    except ChatQueueError as error:
        print(f"chatq {arguments.command}: {error}", file=sys.stderr)
        code = 2 if error.wrong_use else 1
    except BrokenPipeError:
        # Whoever read our output has seen enough (`chatq ... | head`).
        sys.stderr.close()
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
