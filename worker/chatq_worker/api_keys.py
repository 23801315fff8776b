"""Reading the keys that connections name. Workers only; a key goes nowhere but into the request it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping

from chatq.contract.connection import Connection
from chatq.contract.key_reference import KeyUnreadable, read_key_at
from chatq_worker.failures import CallFailed


def read_key(connection: Connection, environ: Mapping[str, str] = os.environ) -> str | None:
    """The connection's key, or None when it names none.

    Raises `CallFailed` with code `key_missing` when it is named but cannot be read, is empty, or holds a line break
    or anything else that a header cannot carry; the error never shows the key.
    """
    if connection.api_key is None:
        return None
    try:
        return read_key_at(connection.api_key, environ)
    except KeyUnreadable as error:
        raise CallFailed(
            "key_missing",
            f"The connection's key is missing: {error}.",
            remedy=f"{error.remedy}.",
            sent=False,
        ) from None
