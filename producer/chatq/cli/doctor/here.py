"""Of this machine: who may read and change config.yaml, the keys that it names, open files, room on the disk."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chatq.cli.doctor.finding import Finding
from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.key_reference import KeyReference, KeyUnreadable, read_key_at
from chatq.contract.settings import Redis, Settings

_BESIDE_CALLS: Final = 200
"""Open files of a worker that are no calls."""
_SCARCE: Final = 0.05
_SCARCE_BYTES: Final = 2 * 2**30
_NONE_LEFT_BYTES: Final = 256 * 2**20


def look(settings: Settings) -> Iterator[Finding]:
    """All of it."""
    yield from _rights(settings)
    yield from _keys(settings)
    yield from _open_files(settings)
    yield from _room(settings)


def _rights(settings: Settings) -> Iterator[Finding]:
    """Whoever may write config.yaml has keys sent wherever he likes."""
    path = settings.source_path
    if path is None or not path.is_file():  # a pipe
        return
    mode = path.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            "wrong",
            f"settings: {path} can be changed by others, who could have keys sent to an address of their own",
            f"Run: chmod go-w {path}",
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and _holds_a_password(path):
        yield Finding(
            "wrong",
            f"settings: {path} holds the password of Redis and can be read by others",
            f"Run: chmod 600 {path}; or take the URL out and set CHATQ_REDIS_URL.",
        )


def _holds_a_password(path: Path) -> bool:
    try:
        written: Redis = load_settings(path, environ={}).redis
    except ConfigError:
        return False  # whole only with the environment's variables
    return any("@" in url for url in (written.url, written.broker_url or ""))


def _keys(settings: Settings) -> Iterator[Finding]:
    """Whether each named key is here; workers elsewhere have an environment and files of their own."""
    for name, connection in settings.connections.items():
        reference = connection.api_key
        if reference is None:
            continue
        try:
            read_key_at(reference)
        except KeyUnreadable as error:
            if is_here(reference):
                yield Finding("wrong", f"connection {name}: {error}", f"{error.remedy}.")
            else:
                yield Finding(
                    "note", f"connection {name}: its key {reference} is not set here", _set_it(reference)
                )
        else:
            yield Finding("ok", f"connection {name}: its key {reference} is set here")


def is_here(reference: KeyReference) -> bool:
    """Whether there is something here, good or not, in the place that is named."""
    if reference.kind == "env":
        return bool(os.environ.get(reference.name))
    return os.access(reference.name, os.R_OK)


def _set_it(reference: KeyReference) -> str:
    if reference.kind == "env":
        return f"Set {reference.name} where the workers run; only this connection waits for it."
    return f"Put the key into {reference.name}, readable by the workers' user only (chmod 600)."


def _open_files(settings: Settings) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.worker.slots + _BESIDE_CALLS
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield Finding(
            "wrong",
            f"open files: the limit is {hard:,}, and worker.slots of {settings.worker.slots:,} need {needed:,}",
            f"Raise it (ulimit -Hn {needed}, or LimitNOFILE= in the unit file), or lower worker.slots.",
        )
    else:
        yield Finding("ok", "open files: the limit is high enough for worker.slots")


def _room(settings: Settings) -> Iterator[Finding]:
    """Room for the embedded server's data, and for the front's files."""
    for setting, folder in (
        ("redis.url", settings.redis.embedded_folder),
        ("http.folder", Path(settings.http.folder)),
    ):
        if folder is None or not folder.is_dir():
            continue
        usage = shutil.disk_usage(folder)
        if usage.free >= min(_SCARCE_BYTES, _SCARCE * usage.total):
            continue
        yield Finding(
            "wrong" if usage.free < _NONE_LEFT_BYTES else "note",
            f"disk: {usage.free / 2**20:,.0f} MiB are free for {folder} ({setting}); when none is, what is "
            "new is refused",
            "Free some, or move the folder; what is stored is safe.",
        )
