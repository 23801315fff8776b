"""How a contender is run: a program that does so many calls, in an environment of its own.

It gets ready (imports, clients, a few calls), says so, waits for a line, does its jobs, says how they went, and ends
with its standard input. What is between is measured from outside. Only the standard library is needed here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

WARM_UP = 50

# What libraries print is not for who listens.
_said = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


@dataclass(frozen=True)
class Work:
    """`jobs` prompts of `prompt_bytes`, `at_once` of them at the same time, at the provider at `url` (ends in /v1).

    `extra`: the words of the command line that are the contender's own.
    """

    url: str
    jobs: int
    at_once: int
    prompt_bytes: int
    extra: Sequence[str]

    def prompts(self) -> list[str]:
        return [f"job:{number} ".ljust(self.prompt_bytes, ".") for number in range(self.jobs)]

    def warm_up(self) -> Work:
        """A few jobs that the provider answers at once."""
        url = self.url.partition("/latency/")[0] + "/v1"
        return replace(self, url=url, jobs=min(WARM_UP, self.jobs))


def work_stated() -> Work:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--prompt-bytes", type=int, default=500)
    stated, extra = parser.parse_known_args()
    return Work(**vars(stated), extra=extra)


def contend(run: Callable[[Work], int], *packages: str) -> None:
    """Run `run`, which does the work given and returns how many jobs have their answer; with these packages."""
    work = work_stated()
    run(work.warm_up())
    contend_with(lambda: {"done": run(work)}, os.getpid(), *packages)


def contend_with(run: Callable[[], dict[str, Any]], process: int, *packages: str) -> None:
    """Ready: `run` does the work and returns what is to be said of it; `process` is the one to measure."""
    _ready(process, packages)
    sys.stdin.readline()
    _say(run())
    sys.stdin.read()


async def contend_async(run: Callable[[Work], Awaitable[int]], *packages: str) -> None:
    """As `contend`, in one loop."""
    work = work_stated()
    await run(work.warm_up())
    _ready(os.getpid(), packages)
    await asyncio.to_thread(sys.stdin.readline)
    _say({"done": await run(work)})
    sys.stdin.read()


def _ready(process: int, packages: Sequence[str]) -> None:
    _say({"process": process, "versions": {package: version(package) for package in packages}})


def _say(what: dict[str, Any]) -> None:
    _said.write(json.dumps(what) + "\n")
