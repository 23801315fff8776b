"""One installation with a connection for every source that the simulator speaks; see `installation.py` of the
integration tests.

Connections are named after the simulator's dialects: `openai`, `claude`, `perplexity-sonar`, `custom-vllm` ... What is
added to the simulator's registry joins by itself, with its first model unless `MODELS` names another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self, get_args

import pytest
from installation import Installation

from chatq import ChatQueue
from chatq.contract.connection import Source
from chatq_sandbox.dialects.registry import DIALECTS
from forked import ForkedSimulator

DIALECT_OF: Final = {name.replace("/", "-"): name for name in DIALECTS}
"""The simulator's dialect of each connection."""
NAMES: Final = tuple(DIALECT_OF)
STREAMED: Final = {f"streamed-{name}": name for name in ("claude", "fireworks")}
"""Connections whose answers come as streams, and those beside whose they are to be the same."""
LONG: Final = 30_000
"""A cap with which the answers come as streams."""
MODELS: Final = {
    "openai": "gpt-5-mini",
    "claude": "claude-sonnet-4-5",
    "mistralai": "mistral-medium-3.5",
    "deepseek": "deepseek-flash",
    "cohere": "command-a-03-2025",
    "perplexity": "openai/gpt-5.2",
    "perplexity-sonar": "sonar-pro",
}


def source_of(name: str) -> str:
    """The source of a connection: `perplexity` of `perplexity-sonar`."""
    return name if name in get_args(Source) else name.partition("-")[0]


def rows(names: Iterable[str]) -> list[Any]:
    """Connections as rows of a table. Servers of one's own have one adapter: all but one of them are `thorough`."""
    return [
        pytest.param(name, marks=pytest.mark.thorough) if name.startswith("custom-") else name
        for name in names
    ]


def model_of(name: str) -> str:
    """A model that the connection's dialect knows."""
    return MODELS.get(name) or DIALECTS[DIALECT_OF[name]].default_models[0]


def canary_of(name: str, *, wrong: bool = False) -> str:
    """A key that is found nowhere by accident, and shares no six characters with another: good, or wrong."""
    place = 2 * NAMES.index(name) + wrong
    return f"sk-{hashlib.sha256(f'canary {place}'.encode()).hexdigest()[:32]}"


def key_variable(name: str, *, wrong: bool = False) -> str:
    """The environment variable that holds the key."""
    return f"TEST_{'WRONG' if wrong else 'GOOD'}_{name.upper().replace('-', '_')}"


class SourceInstallation(Installation):
    """`others`: connections beside three for each dialect: NAME, `wrong-NAME` with a wrong key, `cooling-NAME`; and
    beside `STREAMED`.

    `{simulator}` in an url stands for the simulator's address.
    """

    def __init__(
        self,
        folder: Path,
        *,
        others: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        **sections: Mapping[str, Any],
    ) -> None:
        keys = {
            key_variable(name, wrong=wrong): canary_of(name, wrong=wrong)
            for name in NAMES
            for wrong in (False, True)
        }
        super().__init__(folder, environ={**keys, **(environ or {})}, **sections)
        self.simulator = ForkedSimulator(
            {
                "remember_requests": 1000,
                "sources": {DIALECT_OF[name]: {"keys": [canary_of(name)]} for name in NAMES},
            }
        )
        self._others = others or {}

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.queue.close()
            settings = json.loads(self.config.read_text())
            settings["connections"] = {
                **{name: self.connection(name) for name in NAMES},
                **{
                    f"wrong-{name}": self.connection(name, wrong=True, retry={"max_attempts": 1})
                    for name in NAMES
                },
                # A lane of its own: while it cools down, the source's other jobs go on.
                **{
                    f"cooling-{name}": self.connection(name, limits={"scope": f"cooling-{name}"})
                    for name in NAMES
                },
                **{
                    f"{prefix}{streamed}": self.connection(
                        name, params={"max_tokens": LONG}, limits={"scope": f"{prefix}{streamed}"}
                    )
                    for streamed, name in STREAMED.items()
                    for prefix in ("", "cooling-")
                },
                **self._others,
            }
            self.config.write_text(json.dumps(settings).replace("{simulator}", self.simulator.url))
            self.queue = ChatQueue(self.config)
        except BaseException:
            self.__exit__(ValueError, None, None)
            raise
        return self

    def connection(self, name: str, *, wrong: bool = False, **more: Any) -> dict[str, Any]:
        """The configuration of a connection of that name."""
        source = source_of(name)
        settings = {
            "source": source,
            # The source's own connection shows where `simulator` leads; variants need their address.
            "url": "simulator" if source == name else f"{{simulator}}/{DIALECT_OF[name]}/v1",
            "model": model_of(name),
            "api_key": f"env:{key_variable(name, wrong=wrong)}",
            **more,
        }
        return {**settings, "api": "sonar"} if name == "perplexity-sonar" else settings
