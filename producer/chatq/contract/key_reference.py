"""Where a key is found: `env:NAME` or `file:PATH`. Settings hold that, and never the key."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from chatq.contract.addresses import resolved
from chatq.contract.redaction import remember

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class KeyReference(NamedTuple):
    """Where a key is found. The key itself is read by who needs it only, and never kept in settings."""

    kind: Literal["env", "file"]
    name: str
    """The environment variable, or the file (absolute once settings are loaded)."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def _key_reference(value: object, info: ValidationInfo) -> KeyReference:
    if isinstance(value, KeyReference):
        return value
    if not isinstance(value, str):
        raise ValueError("expected null, env:NAME or file:PATH")
    kind, colon, name = value.partition(":")
    if colon and kind == "env":
        if not _ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(
                "expected env:NAME with the name of an environment variable, such as env:OPENAI_API_KEY"
            )
        return KeyReference("env", name)
    if colon and kind == "file":
        if not name.strip() or "\n" in name:
            raise ValueError("expected file:PATH with the path of a file that holds nothing but the key")
        return KeyReference("file", resolved(name, info))
    raise ValueError(
        "a key is not written here, where it would be copied and committed; put it into an environment "
        "variable and write env:NAME, or into a file of its own and write file:PATH"
    )


Reference = Annotated[
    KeyReference,
    PlainValidator(_key_reference),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
"""A setting that says where a key is found."""


class KeyUnreadable(Exception):
    """A key that is named cannot be read. `remedy`: what to do. Neither shows anything of it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def read_key_at(
    reference: KeyReference, environ: Mapping[str, str] = os.environ, *, reader: str = "the workers"
) -> str:
    """The key, of printable characters on one line. `reader`: whose key it is, in words. Raises `KeyUnreadable`."""
    if reference.kind == "env":
        key = environ.get(reference.name)
        if not key:
            raise KeyUnreadable(
                f"the environment variable {reference.name} is not set",
                f"Set {reference.name} where {reader} run, and restart them",
            )
    else:
        key = _read_file(Path(reference.name))
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise KeyUnreadable(
            f"{reference} holds no key of printable characters on one line",
            f"Correct {reference}" + (f" and restart {reader}" if reference.kind == "env" else ""),
        )
    remember((key,))
    return key


def is_open_to_others(found: os.stat_result) -> bool:
    """Whether more may read or change a file with a secret than its owner; or than root, and those whom it lets read.

    As PostgreSQL has it for private keys (documentation, "Secure TCP/IP Connections with SSL"): mode 0600 at most, or
    0640 when root owns it. So systemd's credentials and Kubernetes' secrets come to who is not root.
    """
    beyond = stat.S_IRWXG | stat.S_IRWXO
    if found.st_uid == 0 and os.geteuid() != 0:
        beyond &= ~stat.S_IRGRP
    return bool(found.st_mode & beyond)


def _read_file(path: Path) -> str:
    try:
        if is_open_to_others(path.stat()):
            raise KeyUnreadable(f"the key file {path} can be read by others", f"Run: chmod 600 {path}")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise KeyUnreadable(
            f"the key file {path} cannot be read: {reason}", f"Put the key into {path}"
        ) from None
