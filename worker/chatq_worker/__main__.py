"""`python -m chatq_worker worker|flower|render|prices|health`: what the commands of these names become; the last two
have none."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chatq.contract.config_file import load_settings
from chatq.contract.errors import ChatQueueError
from chatq.processes import follow_parent


def main() -> int:
    """Parse, load the settings, run. Exit code 2 for wrong settings, 1 when the work failed."""
    parser = argparse.ArgumentParser(prog="python -m chatq_worker", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="worker processes")
    worker.add_argument("--slots", type=int, help="calls in flight in each (default: worker.slots)")
    worker.add_argument("--processes", type=int, help="default: worker.processes")
    flower = commands.add_parser("flower", help="Flower for this queue")
    flower.add_argument("--address", help="default: $FLOWER_ADDRESS, else 127.0.0.1")
    flower.add_argument("--port", type=int, help="default: $FLOWER_PORT, else 5555")
    flower.add_argument("--read-only", action=argparse.BooleanOptionalAction)
    render = commands.add_parser("render", help="the request that would be sent")
    render.add_argument("connection")
    render.add_argument("--file", type=Path)
    render.add_argument("--json", action="store_true")
    prices = commands.add_parser(
        "prices", help="what calls of connections and models cost, for who counts before"
    )
    health = commands.add_parser("health", help="exit code 0 when a worker of this host is alive")
    for command in (worker, flower, render, prices, health):
        command.add_argument("--config", type=Path, help="the config.yaml to use")
    arguments = parser.parse_args()
    follow_parent()
    try:
        if arguments.command == "worker":
            from chatq_worker.prices import unpriced_budgets

            settings = load_settings(arguments.config, also=unpriced_budgets)
            processes = arguments.processes or settings.worker.processes
            if processes > 1:
                from chatq_worker.processes import run_processes

                given = {"--config": settings.source_path, "--slots": arguments.slots}
                options = [f"{name}={value}" for name, value in given.items() if value is not None]
                return run_processes(settings, processes, options)
            from chatq_worker.main import run_worker

            return run_worker(settings, slots=arguments.slots)
        settings = load_settings(arguments.config)
        if arguments.command == "flower":
            from chatq_worker.flower import run_flower

            run_flower(
                settings, address=arguments.address, port=arguments.port, read_only=arguments.read_only
            )
        if arguments.command == "health":
            from chatq_worker.health import check_health

            check_health(settings)
            return 0
        if arguments.command == "prices":
            from chatq_worker.prices import run_prices

            run_prices(settings)
            return 0
        from chatq_worker.render import run_render

        return run_render(
            settings, connection=arguments.connection, file=arguments.file, as_json=arguments.json
        )
    except ChatQueueError as error:
        print(f"chatq {arguments.command}: {error}", file=sys.stderr)  # noqa: T201
        return 2 if error.wrong_use else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
