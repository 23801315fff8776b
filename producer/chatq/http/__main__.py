"""`python -m chatq.http`: serves the front, or is the process that runs its batches."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Final

from chatq import logs
from chatq.contract.config_file import load_settings
from chatq.contract.errors import ChatQueueError
from chatq.processes import follow_parent
from chatq.traces import traces

_PROCESSES: Final = {"serve": "front", "keeper": "keeper"}


def main() -> int:
    """Parse, load, hand over."""
    parser = argparse.ArgumentParser(prog="chatq serve", allow_abbrev=False)
    parser.add_argument("role", choices=("serve", "keeper"))
    parser.add_argument("--config", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    try:  # a keeper needs half of what a front imports
        if arguments.role == "keeper":
            from chatq.http.batch_keeper import keep
        else:
            from chatq.http.serving import serve
    except ModuleNotFoundError as error:
        print(  # noqa: T201
            f"chatq serve: {error.name} is not installed.\nInstall the HTTP front: pip install 'chatq[http]'",
            file=sys.stderr,
        )
        return 2
    try:
        settings = load_settings(arguments.config)
        logs.set_up(level=settings.log.level, form=settings.log.format, process=_PROCESSES[arguments.role])
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        traces(f"chatq-{_PROCESSES[arguments.role]}")
        if arguments.role == "keeper":
            keep(settings)
            return 0
        follow_parent()
        return serve(settings, host=arguments.host, port=arguments.port)
    except ChatQueueError as error:
        print(f"chatq serve: {error}", file=sys.stderr)  # noqa: T201
        return 2 if error.wrong_use else 1


if __name__ == "__main__":
    sys.exit(main())
