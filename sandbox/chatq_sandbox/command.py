"""The command `python -m chatq_sandbox.simulator`: options in, one ready line out, a clean stop on a
signal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import yaml

from chatq_sandbox.section import ConfigError
from chatq_sandbox.simulator import Simulator

_PARENT_LOOK_S = 0.25


class _WrongUse(Exception):
    pass


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code (2: wrong options or configuration)."""
    options = _parser().parse_args(arguments)
    try:
        config = _config(options)
        simulator = Simulator(config, host=options.host, port=options.port)
        _raise_open_file_limit()
        _runner()(_serve(simulator, options.exit_with_parent))
    except ConfigError as error:
        where = options.config or "options"
        for problem in error.problems:
            print(f"chatq-simulator: {where}: {problem}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 2
    except (_WrongUse, OSError) as error:
        print(f"chatq-simulator: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


async def _serve(simulator: Simulator, parent: int | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stopped.set)
    async with simulator:
        ready = {"url": simulator.url, "pid": os.getpid(), "seed": simulator.config.seed}
        print(orjson.dumps(ready).decode(), flush=True)  # noqa: T201
        # Thousands of calls in flight are thousands of living objects: looking through them often costs more
        # than the garbage is worth.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        if parent is not None:
            _stop_without(parent, stopped)
        await stopped.wait()


def _stop_without(parent: int, stopped: asyncio.Event) -> None:
    # Looked at, not told: a death signal comes from the parent's thread, which may end long before its
    # process.
    if os.getppid() == parent:
        asyncio.get_running_loop().call_later(_PARENT_LOOK_S, _stop_without, parent, stopped)
    else:
        stopped.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chatq_sandbox.simulator",
        description="A chat provider that is not one: see docs/simulator.md.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one (default)")
    parser.add_argument("--config", metavar="FILE", help="YAML or JSON; - reads standard input")
    parser.add_argument(
        "--seed", type=int, help="fixes every random choice (default: the configuration's, else 0)"
    )
    parser.add_argument(
        "--exit-with-parent",
        nargs="?",
        type=int,
        const=os.getppid(),
        metavar="PID",
        help="stop when the process that started this ends; PID is its id, should it end before this has begun",
    )
    return parser


def _config(options: argparse.Namespace) -> dict[str, Any]:
    if not 0 <= options.port <= 65535:
        raise _WrongUse(f"--port: expected 0 to 65535, got {options.port}")
    config: Any = {}
    if options.config:
        try:
            text = (
                sys.stdin.read()
                if options.config == "-"
                else Path(options.config).read_text(encoding="utf-8")
            )
            config = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            raise _WrongUse(f"--config {options.config}: {error}") from None
        except yaml.YAMLError as error:
            raise _WrongUse(f"--config {options.config}: not YAML: {error}") from None
        if config is None:
            config = {}
        if not isinstance(config, dict):
            raise _WrongUse(f"--config {options.config}: expected a mapping at the top")
    return config if options.seed is None else {**config, "seed": options.seed}


def _raise_open_file_limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 1 << 20 if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
