"""`chatq demo`, `verify`, `worker`, `flower`, `serve`, `render`: commands that become another package's process.

The worker, Flower and the simulator are heavy: nothing of them, or of what they import, is imported here.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn


def demo(arguments: argparse.Namespace) -> NoReturn:
    """Hand over to the sandbox's demo."""
    _become("chatq_sandbox.demo", [])


def verify(arguments: argparse.Namespace) -> NoReturn:
    """Hand over to the sandbox: faults are no caller's business."""
    options = [f"--{name}={getattr(arguments, name)}" for name in ("seed", "jobs", "workers")]
    options += [f"--fault={name}" for name in arguments.fault]
    options += [f"--{name}" for name in ("json", "keep") if getattr(arguments, name)]
    _become("chatq_sandbox.verify", options)


def worker(arguments: argparse.Namespace) -> NoReturn:
    """Become a worker process, or what starts several."""
    given = {"--slots": arguments.slots, "--processes": arguments.processes}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    _become("chatq_worker", ["worker", *_config(arguments), *options])


def flower(arguments: argparse.Namespace) -> NoReturn:
    """Become Flower."""
    given = {"--address": arguments.address, "--port": arguments.port}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    if arguments.read_only is not None:
        options.append("--read-only" if arguments.read_only else "--no-read-only")
    _become("chatq_worker", ["flower", *_config(arguments), *options])


def serve(arguments: argparse.Namespace) -> NoReturn:
    """Become the HTTP front."""
    given = {"--host": arguments.host, "--port": arguments.port}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    _become("chatq.http", ["serve", *_config(arguments), *options])


def render(arguments: argparse.Namespace) -> NoReturn:
    """Hand over to the worker's side: it knows the sources."""
    options = ["--file", str(arguments.file)] if arguments.file else []
    options += ["--json"] if arguments.json else []
    _become("chatq_worker", ["render", arguments.connection, *_config(arguments), *options])


def _config(arguments: argparse.Namespace) -> list[str]:
    return ["--config", str(arguments.config)] if arguments.config else []


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Replace this process, so that signals and exit code are the other's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own module
