"""`chatq doctor`: what is wrong with this installation, and the remedy.

Each file looks at one thing, and yields what it found: `here.py` (config.yaml, keys, this machine), `front.py` (the
HTTP front's tokens and folder), `server.py` (Redis), `workers.py`, `connections.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from chatq.cli.doctor import connections, front, here, server, workers
from chatq.cli.doctor.finding import Finding, Level
from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Settings
from chatq.ledger.locate import locator
from chatq.ledger.server import Server, translate

_MARKS: Final[dict[Level, str]] = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything and print it; exit code 1 when something is wrong."""
    findings = list(examine(arguments.config))
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.level]}  {finding.what}")
            if finding.remedy:
                print(f"       -> {finding.remedy}")
    return 1 if any(finding.level == "wrong" for finding in findings) else 0


def examine(config: Path | None) -> Iterator[Finding]:
    """Look at settings, this machine, the front, the server, the workers and the connections, in this order."""
    try:
        settings = load_settings(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(
                "wrong",
                str(problem),
                "Correct it; nothing starts before, and workers go on with what they have.",
            )
        return
    count = len(settings.connections)
    yield Finding("ok", f"settings: {settings.source_path}, {count} connection{'' if count == 1 else 's'}")
    for notice in settings.notices:
        yield Finding("note", notice)
    yield from here.look(settings)
    yield from front.look(settings)
    yield from _beyond(settings)


def _beyond(settings: Settings) -> Iterator[Finding]:
    """What only the server can tell."""
    with contextlib.closing(Server(locator(settings.redis), patience_s=0)) as asked:
        try:
            yield from server.look(settings, asked.client())
            yield from workers.look(settings, asked)
            yield from connections.look(settings, asked)
        except (ChatQueueError, RedisError) as error:
            told = translate(error, asked.url) if isinstance(error, RedisError) else error
            yield Finding("wrong", told.message, told.remedy)
