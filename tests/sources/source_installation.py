"""One installation with a connection for every source that the simulator speaks; see `tests/integration/installation.py`.

Connections are named after the simulator's dialects: `openai`, `claude`, `perplexity-sonar` ... A dialect that is added
to the simulator's registry joins by itself, with its first model unless `MODELS` names another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, get_args

from installation import Installation

from chatq import ChatQueue
from chatq.contract.connection import Source
from chatq_sandbox.dialects.registry import DIALECTS
from chatq_sandbox.process import SimulatorProcess

DIALECT_NAMES: Final = tuple(DIALECTS)
PATHS: Final = {"ai21": "/studio/v1", "fireworks": "/inference/v1", "claude": "", "cohere": "", "perplexity": ""}
"""The providers' own base paths; others: /v1."""
MODELS: Final = {
    "openai": "gpt-5-mini",
    "claude": "claude-sonnet-4-5",
    "mistralai": "mistral-medium-3.5",
    "deepseek": "deepseek-flash",
    "cohere": "command-a-03-2025",
    "perplexity": "openai/gpt-5.2",
    "perplexity-sonar": "sonar-pro",
}
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def source_of(dialect: str) -> str:
    """The source whose adapter speaks a dialect: `perplexity` for `perplexity-sonar`."""
    return dialect if dialect in get_args(Source) else dialect.partition("-")[0]


def model_of(dialect: str) -> str:
    """A model of the dialect."""
    return MODELS.get(dialect) or DIALECTS[dialect].default_models[0]


def canary_of(dialect: str, *, wrong: bool = False) -> str:
    """A key that is found nowhere by accident: no source's key resembles another's, or the wrong one of its own."""
    turned = LETTERS[DIALECT_NAMES.index(dialect) :] + LETTERS[: DIALECT_NAMES.index(dialect)]
    return f"sk-{'wrong' if wrong else 'valid'}{turned[::-2]}{turned[::3]}{7919 * (len(turned) + ord(turned[0]))}"


def key_variable(dialect: str, *, wrong: bool = False) -> str:
    """The environment variable that holds the key."""
    return f"TEST_{'WRONG' if wrong else 'KEY'}_{dialect.upper().replace('-', '_')}"


class SourceInstallation(Installation):
    """`others`: connections beside one for each dialect, and one with a wrong key for each (`wrong-DIALECT`).

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
            key_variable(dialect, wrong=wrong): canary_of(dialect, wrong=wrong)
            for dialect in DIALECT_NAMES
            for wrong in (False, True)
        }
        super().__init__(folder, environ={**keys, **(environ or {})}, **sections)
        self.simulator = SimulatorProcess(
            {
                "remember_requests": 1000,
                "sources": {dialect: {"keys": [canary_of(dialect)]} for dialect in DIALECT_NAMES},
            }
        )
        self._others = others or {}

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.queue.close()
            settings = json.loads(self.config.read_text())
            settings["connections"] = {
                **{dialect: self.connection(dialect) for dialect in DIALECT_NAMES},
                **{
                    f"wrong-{dialect}": self.connection(dialect, wrong=True, retry={"max_attempts": 1})
                    for dialect in DIALECT_NAMES
                },
                **self._others,
            }
            self.config.write_text(json.dumps(settings).replace("{simulator}", self.simulator.url))
            self.queue = ChatQueue(self.config)
        except BaseException:
            self.__exit__(ValueError, None, None)
            raise
        return self

    def connection(self, dialect: str, *, wrong: bool = False, **more: Any) -> dict[str, Any]:
        """The configuration of a connection that speaks a dialect."""
        source = source_of(dialect)
        settings = {
            "source": source,
            # The source's own connection shows where `simulator` leads; variants need their address.
            "url": "simulator" if source == dialect else f"{{simulator}}/{dialect}{PATHS.get(dialect, '/v1')}",
            "model": model_of(dialect),
            "api_key": f"env:{key_variable(dialect, wrong=wrong)}",
            **more,
        }
        return {**settings, "api": "sonar"} if dialect == "perplexity-sonar" else settings
