"""Reading a JSON object that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any

from chatq.contract.shown import shown


class NotAnObject(ValueError):
    """The text is no JSON object; the message says why. `line`: where, counted from 1; None when it is the whole."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def read_object(text: str) -> dict[str, Any]:
    """The object that `text` is. Raises `NotAnObject`, whatever it is instead."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotAnObject(error.msg[:1].lower() + error.msg[1:], error.lineno) from None
    except RecursionError:
        raise NotAnObject("it is nested too deeply") from None
    except ValueError:
        # Python refuses to read a number of more than 4300 digits.
        raise NotAnObject("a number is far too long") from None
    if not isinstance(found, dict):
        raise NotAnObject(f"it is {shown(found)}")
    return found
