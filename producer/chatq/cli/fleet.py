"""`chatq up` and `down`: all processes of one machine."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from chatq.cli.own_command import own_command
from chatq.contract.addresses import SIMULATOR
from chatq.contract.config_file import load_settings
from chatq.contract.settings import Settings
from chatq.ledger.ledger import Ledger
from chatq.ledger.locate import locator
from chatq.ledger.server import Server
from chatq.processes import KILL_AFTER_S, Children

SIMULATOR_VARIABLE = "CHATQ_INTERNAL_SIMULATOR_URL"
"""Tells the workers where the simulator listens."""
_POLL_S = 0.05


def up(arguments: argparse.Namespace) -> int:
    """Start everything for one machine; end all when one ends or Ctrl-C comes."""
    settings = load_settings(arguments.config)
    for notice in settings.notices:
        print(f"note: {notice}", file=sys.stderr)
    with Children() as children:
        try:
            _start_all(settings, children)
            name, code = children.wait_for_any()
            print(
                f"chatq up: {name} ended with exit code {code}; stopping the rest.\n"
                f"Nothing is lost. See what it said above, and start all again: {own_command()} up",
                file=sys.stderr,
            )
            return 1
        except KeyboardInterrupt:
            print("\nstopping; Ctrl-C again hands running jobs back at once", file=sys.stderr)
            return 0
        finally:
            # The provider simulator last: calls that are running need its answers.
            grace_s = settings.worker.grace + KILL_AFTER_S
            children.stop("Flower", "the HTTP front", "worker", grace_s=grace_s, on_wait=_say_waiting)
            children.stop(on_wait=_say_waiting)
            _stop_server(settings)


def _start_all(settings: Settings, children: Children) -> None:
    """Start all; return when a worker is ready for jobs, having said so, or when one of them has ended."""
    overview = Ledger(settings.redis.key_prefix).overview(())
    with contextlib.closing(Server(locator(settings.redis))) as server:
        server.client()
        config = ["--config", str(settings.source_path)]
        # Where a port is taken, nothing has taken a job yet.
        listening = [
            children.start_and_hear("Flower", "chatq_worker", ["flower", *config]),
            _front(children, config),
        ]
        environ = _simulator(settings, children)
        flower, front = [hear() for hear in listening]
        children.start("worker", "chatq_worker", ["worker", *config], environ=environ)
        while not server.run(overview).workers:
            if children.first_ended() is not None:
                return
            time.sleep(_POLL_S)
    connection = next(iter(settings.connections), "CONNECTION")
    print(
        f"chatq is up; Ctrl-C stops all. {flower}\n{front}\n"
        f'Try in another terminal: {own_command()} submit {connection} "hello" --wait',
        file=sys.stderr,
    )


def _front(children: Children, config: list[str]) -> Callable[[], str]:
    """Start the HTTP front, where it is installed; what waits for a line about it."""
    if importlib.util.find_spec("fastapi") is None:
        return lambda: "There is no HTTP front: pip install 'chatq[http]'"
    return children.start_and_hear("the HTTP front", "chatq.http", ["serve", *config])


def _say_waiting(names: Sequence[str]) -> None:
    print(f"waiting for {', '.join(names)} to end; running calls have their time", file=sys.stderr)


def _stop_server(settings: Settings) -> None:
    """Stop the embedded server, unless others use it."""
    from chatq.embedded import FolderUnusable, ServerInUse, SocketTaken, stop

    if settings.redis.embedded_folder is None:
        return
    try:
        stop(settings.redis.embedded_folder)
    except ServerInUse:
        print(
            f"The embedded server goes on, since others use it. To stop it: {own_command()} down",
            file=sys.stderr,
        )
    except (FolderUnusable, SocketTaken):
        pass  # It could not be started, and whoever tried has heard why.


def down(arguments: argparse.Namespace) -> int:
    """Stop the embedded server; refused while others use it, unless forced."""
    from chatq.embedded import stop

    settings = load_settings(arguments.config)
    folder = settings.redis.embedded_folder
    if folder is None:
        print(
            f"chatq down: the server at {settings.redis.masked_url} is not an embedded one; stop it where it runs.",
            file=sys.stderr,
        )
        return 2
    stopped = stop(folder, force=arguments.force)
    print("stopped" if stopped else "no embedded server was running", file=sys.stderr)
    return 0


def _simulator(settings: Settings, children: Children) -> dict[str, str]:
    """Start the simulator when a connection uses it; what the workers have to know of it."""
    models: dict[str, set[str]] = {}
    for connection in settings.connections.values():
        if connection.url == SIMULATOR:
            models.setdefault(connection.source, set()).add(connection.model or "demo")
    if not models:
        return {}
    config = {
        "defaults": {"latency": {"uniform": [0.3, 1.5]}},
        "sources": {source: {"models": sorted(names)} for source, names in models.items()},
    }
    line = children.start_and_hear(
        "the provider simulator",
        "chatq_sandbox.simulator",
        ["--config", "-", "--exit-with-parent", str(os.getpid())],
        standard_input=json.dumps(config).encode(),
    )()
    return {SIMULATOR_VARIABLE: str(json.loads(line)["url"])}
