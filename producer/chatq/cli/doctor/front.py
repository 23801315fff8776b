"""Of the HTTP front: whether it would start as it is set up here, and who may read what."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from chatq.cli.doctor.finding import Finding
from chatq.cli.doctor.here import is_here
from chatq.contract.addresses import is_loopback
from chatq.contract.config_problems import ConfigError
from chatq.contract.settings import Settings
from chatq.http.access import Access


def look(settings: Settings) -> Iterator[Finding]:
    """Its tokens, the secret of its webhooks, its folder; nothing where it is not installed."""
    if importlib.util.find_spec("fastapi") is None:
        return
    try:
        Access.of(settings, settings.http.host)
    except ConfigError as error:
        yield from _would_not_start(error, may_be_elsewhere=settings.http.tokens_file is None)
    secret = settings.http.webhooks.secret
    if secret is not None and settings.http.webhooks.hosts:
        from chatq.http.webhooks import read_secret

        try:
            read_secret(settings.http.webhooks)
        except ConfigError as error:
            yield from _would_not_start(error, may_be_elsewhere=not is_here(secret))
    if not is_loopback(settings.http.host):
        yield Finding(
            "note",
            f"HTTP front: on {settings.http.host} it is reached from elsewhere, and speaks no TLS: tokens and prompts "
            "can be read on the way",
            "Put a proxy with TLS before it, and let it listen on 127.0.0.1 (http.host).",
        )
    yield from _folder(Path(settings.http.folder))


def _would_not_start(error: ConfigError, *, may_be_elsewhere: bool) -> Iterator[Finding]:
    """`may_be_elsewhere`: what is missing is a variable or file that only the machine with the front has to have."""
    for problem in error.problems:
        yield Finding(
            "note" if may_be_elsewhere else "wrong",
            str(problem),
            "Correct it where the front runs; chatq serve does not start before.",
        )


def _folder(folder: Path) -> Iterator[Finding]:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "wrong",
            f"HTTP front: {folder} (http.folder) cannot be written: {there} does not allow it",
            "Name another folder, or give the front's user the right to write there.",
        )
    for inside in (folder / "files", folder / "batches"):
        if inside.is_dir() and inside.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding(
                "wrong",
                f"HTTP front: {inside} can be read by others: prompts and answers are in it",
                f"Run: chmod 700 {inside}",
            )
