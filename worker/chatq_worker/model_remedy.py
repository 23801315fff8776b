"""Which models of a list a mistyped name may have meant."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import orjson

_MOST: Final = 3
_LIKENESS: Final = 0.5


def nearest_models(model: str, models: Sequence[str]) -> str:
    """A sentence that names the models most like `model`, to be put behind a remedy; empty when none is."""
    near = get_close_matches(model, models, n=_MOST, cutoff=_LIKENESS)
    return f" The nearest of the list: {', '.join(near)}." if near else ""


def nearest_of_last_check(model: str, outcome: bytes | None) -> str:
    """The same with the models of the last status outcome (JSON) of the connection; None: it was never checked."""
    return nearest_models(model, orjson.loads(outcome)["models"]) if outcome else ""
