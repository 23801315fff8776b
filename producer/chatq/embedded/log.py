"""The server's log file: bounded, and read for the reason when a start fails."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_MAXIMUM_BYTES = 1024**2
_TAIL_BYTES = 16 * 1024
# "123:M 23 Nov 2026 18:22:31.005 # text"; the sign is the level, "#" a warning.
_LINE = re.compile(r"^\d+:[A-Z] .*?\d\d:\d\d:\d\d\.\d+ ([.\-*#]) (.*)$")
# Said at every start, or about the machine, or after the fact: never the reason.
_CHATTER = re.compile(
    r"is starting|overcommit|Transparent Huge|exiting now|bye bye|Module .* unloaded", re.IGNORECASE
)


def log_path(folder: Path) -> Path:
    return folder / "server.log"


def trim_log(folder: Path) -> None:
    """Put a log of more than 1 MiB aside as `server.log.1`, in place of an older one.

    The server opens the file anew for every line, so it may be running.
    """
    log = log_path(folder)
    with contextlib.suppress(OSError):  # a log is not worth an error
        if log.stat().st_size > _MAXIMUM_BYTES:
            log.replace(log.with_name("server.log.1"))


def open_log(folder: Path) -> int:
    """Return a descriptor that appends to the log. Raises OSError."""
    return os.open(log_path(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def last_words(folder: Path) -> str:
    """Return the last warning of the last start, without time and level; "" when the log says nothing."""
    try:
        with log_path(folder).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    warning = anything = ""
    for line in lines:
        level, text = found.groups() if (found := _LINE.match(line)) else ("#", line.strip())
        if "is starting" in text:
            warning = anything = ""
        if not text or _CHATTER.search(text):
            continue
        anything = text
        if level == "#":
            warning = text
    return warning or anything
