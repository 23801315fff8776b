"""What calls of a model cost, as the worker's side knows it, which has the price library: nothing of it is imported.

No server is needed, and none is asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Price(NamedTuple):
    """US dollars: of each call, and of a million tokens of prompts and of answers."""

    call: float
    input_per_million: float
    output_per_million: float


def prices(config: Path | None, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Price | None]:
    """The price of each connection and model; None: nobody knows it."""
    asked = list(wanted)
    options = ["--config", str(config)] if config is not None else []
    done = subprocess.run(
        [sys.executable, "-m", "chatq_worker", "prices", *options],
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout)
    return {one: None if price is None else Price(*price) for one, price in zip(asked, told, strict=True)}
