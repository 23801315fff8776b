"""Reading the keys that connections name. Workers only; a key goes nowhere but into the request it belongs to."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from chatq.contract.connection import Connection
from chatq_worker.failures import CallFailed


def read_key(connection: Connection, environ: Mapping[str, str] = os.environ) -> str | None:
    """The connection's key, or None when it names none.

    Raises `CallFailed` with code `key_missing` when it is named but cannot be read, is empty, or holds a line break
    or anything else that a header cannot carry; the error never shows the key.
    """
    reference = connection.api_key
    if reference is None:
        return None
    if reference.kind == "env":
        key = environ.get(reference.name)
        if not key:
            raise _missing(
                f"the environment variable {reference.name} is not set",
                f"Set {reference.name}, then restart the workers",
            )
    else:
        key = _read_file(Path(reference.name))
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise _missing(
            f"{reference} holds no key of printable characters on one line",
            f"Correct {reference}; a variable is read when a worker starts",
        )
    return key


def _read_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _missing(f"the key file {path} can be read by others", f"Run: chmod 600 {path}")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise _missing(f"the key file {path} cannot be read: {reason}", f"Put the key into {path}") from None


def _missing(what: str, remedy: str) -> CallFailed:
    return CallFailed(
        "key_missing",
        f"The connection's key is missing: {what}.",
        remedy=f"{remedy}.",
        sent=False,
    )
