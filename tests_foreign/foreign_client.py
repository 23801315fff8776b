"""A client that is not ours, in a process of its own environment: it is told which scene to play, and tells what it
found.

A line in, `{"scene", "url", "key", "given"}`; a line out, `{"found"}` or `{"error"}`. Scenes are functions of the
client's program that do what a user would write, with the client as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self


class Refused(Exception):
    """The client raised an error. `error`: its `class`, and the facts that it carries or None: `status`, `code`,
    `param`, `type`, `message`."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(error)
        self.error = error


class ForeignClient:
    """A client's program. `url`: of the front that it asks, without /v1. `environ`: beside this process's."""

    def __init__(self, command: Sequence[str], url: str, *, environ: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._url = url
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CHATQ_", "OPENAI_"))
        }
        self._environ = {**kept, **(environ or {})}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()

    def plays(self, scene: str, *, url: str | None = None, key: str = "any", **given: Any) -> Any:
        """What a scene finds. `url`: of another front; `key`: the client's API key. Raises `Refused`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"scene": scene, "url": f"{url or self._url}/v1", "key": key, "given": given}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client's program ended while it played {scene}; see its standard error"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["found"]

    def error_of(self, scene: str, **given: Any) -> Mapping[str, Any]:
        """The error that a scene must end with; as `plays`."""
        try:
            found = self.plays(scene, **given)
        except Refused as refused:
            return refused.error
        raise AssertionError(f"{scene} found {found}; an error was expected")
